"""The `lorid` command: shows a LoridError as "Error / Hint" with its exit code.

Imports nothing heavy, so that Ctrl-C during start-up also ends without a traceback.
"""

import errno
import os
import sys

FULL = (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Run the command line; never returns."""
    try:
        _open_streams()
        sys.exit(_run())
    except KeyboardInterrupt:
        _say("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        # the reader has gone (`| head -1`): no message, and none from Python's exit either
        _drop_stdout()
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        _drop_stdout()
        _say(f"Error: the answer cannot be written ({error.strerror})")
        sys.exit(1)


def _open_streams() -> None:
    """A stream that was closed before the start, as by `<&-`, is None: read and write nothing."""
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115 - open until the process ends
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    # a letter that the terminal's encoding lacks must not cost the answer
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run() -> int:
    import click

    from lorid_local.commands.group import group
    from lorid_local.errors import EXIT_USAGE, LoridError

    try:
        result = group.main(prog_name="lorid", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except LoridError as error:
        _say(f"Error: {error.message}")
        if error.hint:
            _say(f"Hint: {error.hint}")
        if error.exit_code == EXIT_USAGE:
            _say_environment(error.message)
        return error.exit_code
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        if "unexpected extra argument" in error.message and sys.argv[1:2] in (["solve"], ["tutor"]):
            _say(f'Hint: put the problem in quotes: lorid {sys.argv[1]} "..."')
        negative = any(a.startswith("-") and a[1:2].isdigit() for a in sys.argv)
        if negative and "No such option" in error.format_message():
            _say(f'Hint: a problem that begins so goes behind --: lorid {sys.argv[1]} -- "-5 ..."')
        _say_environment(error.format_message())
        return error.exit_code


def _say_environment(message: str) -> None:
    """Tell of a flag that `message` refuses and that does not stand in the command."""
    flags = message.replace("'", " ").replace(":", " ").split()
    for name in sorted(os.environ):
        flag = "--" + name.removeprefix("LORID_").lower().replace("_", "-")
        given = any(a.startswith((flag, flag[1:3])) for a in sys.argv[1:])  # a short form: -t
        if name.startswith("LORID_") and flag in flags and not given:
            _say(f"Note: the environment sets {name}={os.environ[name]}")


def _say(text: str) -> None:
    try:  # noqa: SIM105 - Ctrl-C while contextlib is imported, before main, would be a traceback
        print(_printable(text), file=sys.stderr, flush=True)
    except OSError:  # stderr closed or full: there is nobody left to tell
        pass


def _printable(text: str) -> str:
    """A message may quote what the user gave, escape sequences included."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)
