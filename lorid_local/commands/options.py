"""Flags: each is also read from the environment, as LORID_ and the flag's name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PROTOCOLS = ["same-round", "pooled", "pooled-3", "pooled-4", "pooled-5"]  # lorid_local.judging's
MOST_AT_ONCE = 16  # the engine's own width (lorid_local.llama.Options), which a flag cannot import


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """Like click.option, with an environment variable for each long name."""
    long = [name.split("/")[0].lstrip("-") for name in names if name.startswith("--")]
    variables = ["LORID_" + name.replace("-", "_").upper() for name in long]
    return click.option(*names, envvar=variables, **settings)


model_option = option("-m", "--model", type=click.Path(path_type=Path),
                      help="Another base: a .gguf file, or a name of `lorid models`.")  # fmt: skip

bundle_option = option("--bundle", help="A bundle's name or folder [default: the bundled one].")


def base(command: Any) -> Any:
    """The options of what is asked: a bundle, or another base, in some representation."""
    kinds = click.Choice(["as-shipped", "q8_0", "q4_0", "iq4_nl"])
    told = "Number type of the base, kept in the cache [default: the bundle's]."
    return bundle_option(model_option(option("--base-type", type=kinds, help=told)(command)))


def sampling(command: Any) -> Any:
    """The options of how a role draws."""
    for decorate in (
        option("-n", "--n-predict", type=int,
               help="Longest answer of a role, in tokens [default: the bundle's, by role]."),
        option("--top-k", type=int, help="Draw from so many tokens after round 1; 0: from all "
               "[default: the bundle's, by role]."),
        option("--top-p", type=float,
               help="Nucleus of sampling after round 1 [default: the bundle's, by role]."),
        option("--temp", "--temperature", "temperature", type=float,
               help="Temperature after round 1 [default: the bundle's, by role]."),
    ):  # fmt: skip
        command = decorate(command)
    return command


def server(command: Any) -> Any:
    """The options of an engine that is a server."""
    for decorate in (
        option("--in-flight", type=int, help="Requests to the server at once [default: 64]."),
        option("--server-models", metavar="NAME|ir=NAME,...",
               help="The server's name for each role [default: found out]."),
        option("--endpoint", metavar="URL", help="Solve on a server: llama-server, vLLM, SGLang or "
               "another one with OpenAI's interface."),
    ):  # fmt: skip
        command = decorate(command)
    return command


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


class Widths(click.ParamType):  # type: ignore[type-arg]  # as above
    """Numbers from 1 to 16 with commas between them, in rising order."""

    name = "N,N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            found = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            found = (0,)
        if not 1 <= found[0] <= found[-1] <= MOST_AT_ONCE:
            self.fail(
                f"{value!r}: expected numbers from 1 to {MOST_AT_ONCE} with commas", param, ctx
            )
        return found
