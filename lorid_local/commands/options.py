"""Flags: each is also read from the environment, as LORID_ and the flag's name."""

from collections.abc import Callable
from typing import Any

import click


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Like click.option, with the environment variable of the first long name."""
    long = next(name for name in names if name.startswith("--"))
    variable = "LORID_" + long.split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*names, envvar=variable, **settings)
