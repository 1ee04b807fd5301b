"""A table on standard output: rich's on a terminal, aligned lines elsewhere."""

import os
import sys
from collections.abc import Sequence

Row = Sequence[str]


def show(heads: Row, rows: Sequence[Row]) -> None:
    """Print the rows under their heads, the first column to the left and the others to the right.

    A row without its other columns stands alone, as a title of those below it.
    """
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        _show_on_terminal(heads, rows)
        return
    table = [heads, *rows]
    widths = [max(len(r[i]) for r in table if len(r) == len(heads)) for i in range(len(heads))]
    for row in table:
        first = row[0].ljust(widths[0])
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False))
        print("  ".join((first, *others)).rstrip())


def _show_on_terminal(heads: Row, rows: Sequence[Row]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE)
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # no markup: a cell may hold brackets
    Console(highlight=False, markup=False, emoji=False).print(table)
