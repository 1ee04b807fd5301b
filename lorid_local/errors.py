"""Every error a user may meet, with the exit code it ends the process with.

An error's message says what was given and what was expected; its hint is the next
command to type. Only `LoridError` is shown without a traceback: anything else is a bug.
"""

import difflib
from collections.abc import Iterable

EXIT_AGREED = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_NO_AGREEMENT = 3
EXIT_MODEL = 4
EXIT_PAUSED = 75  # EX_TEMPFAIL of sysexits.h: try again
EXIT_INTERRUPTED = 130


class LoridError(Exception):
    """Base of all errors that a user can act on."""

    exit_code = EXIT_FAILURE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(LoridError):
    """The problem text or a flag cannot be used as given."""

    exit_code = EXIT_USAGE


class SettingsError(LoridError):
    """A TOML file (bundle, recipe) has an unknown key or a value of the wrong kind."""

    exit_code = EXIT_USAGE


class ModelError(LoridError):
    """A base, an adapter or a bundle is missing, damaged or does not fit."""

    exit_code = EXIT_MODEL


class EngineError(LoridError):
    """llama.cpp refused or failed while it ran."""


class ContextOverflow(EngineError):
    """Prompt plus new tokens exceed the model's context."""

    exit_code = EXIT_USAGE


class ConvertError(LoridError):
    """A PEFT adapter cannot be written as a GGUF LoRA; nothing was written."""


class TrainError(LoridError):
    """Training data or a training run cannot go on."""


class TrainPaused(LoridError):
    """The time given to a training run was over; its checkpoint is there to go on from."""

    exit_code = EXIT_PAUSED


class OutputError(LoridError):
    """A file that was asked for could not be written."""


class MissingExtra(LoridError):
    """A command needs packages of an optional extra."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return ' (did you mean X?)' for a near miss among `choices`, else ''."""
    near = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
