"""Shows a training run on stderr: a bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LINE_EVERY = 20  # steps, where there is no terminal


@contextmanager
def bar(label: str) -> Iterator[Callable[[Any], None]]:
    """Yield a callback for `lorid_train.sft.Step`s."""
    if not sys.stderr.isatty():
        yield lambda step: _line(label, step)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, figures="", total=None)
        yield lambda step: progress.update(
            task, completed=step.number, total=step.total, figures=_figures(step)
        )


def _line(label: str, step: Any) -> None:
    if step.number % LINE_EVERY == 0 or step.number == step.total:
        print(f"{label} {_figures(step)}", file=sys.stderr, flush=True)


def _figures(step: Any) -> str:
    minutes, seconds = divmod(round(step.seconds_left), 60)
    return (
        f"{step.number}/{step.total} loss {step.loss:.3f} {step.tokens_per_second:.0f} tokens/s "
        f"{minutes}:{seconds:02d} left"
    )
