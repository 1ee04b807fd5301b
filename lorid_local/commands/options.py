"""Flags: each is also read from the environment, as LORID_ and the flag's name."""

from collections.abc import Callable
from typing import Any

import click


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Like click.option, with the environment variable of the first long name."""
    long = next(name for name in names if name.startswith("--"))
    variable = "LORID_" + long.split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, **settings)


class Width(click.ParamType):  # type: ignore[type-arg]  # generic only in newer clicks
    """A number of rounds, or `auto` (0)."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "auto":
            return 0
        if isinstance(value, int):
            return value
        try:
            return int(value) or self.fail("0: expected auto or a number from 1", param, ctx)
        except ValueError:
            self.fail(f"{value!r}: expected auto or a number from 1", param, ctx)
