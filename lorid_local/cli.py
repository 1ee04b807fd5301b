"""The `lorid` command: shows a LoridError as "Error / Hint" with its exit code.

Imports nothing heavy, so that Ctrl-C during start-up also ends without a traceback.
"""

import contextlib
import os
import sys


def main() -> None:
    """Run the command line; never returns."""
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        _say("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        # the reader has gone (`| head -1`): no message, and none from Python's exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)


def _run() -> int:
    import click

    from lorid_local.commands.group import group
    from lorid_local.errors import LoridError

    try:
        result = group.main(prog_name="lorid", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except LoridError as error:
        _say(f"Error: {error.message}")
        if error.hint:
            _say(f"Hint: {error.hint}")
        return error.exit_code
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return error.exit_code


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # stderr closed or full: there is nobody left to tell
        print(_printable(text), file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    """A message may quote what the user gave, escape sequences included."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
