"""The vote of a text whose answer may be any LaTeX, as MATH's are."""

import re
from fractions import Fraction

from lorid_local import latex
from lorid_local.answers import Answer, Unparsed, find, marked, vote

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?")
MAX_LENGTH = 400  # characters of an expression


def latex_vote(text: str, finish_reason: str) -> Answer | Unparsed:
    """Return the answer a sample votes for, or why it has no vote; never raises.

    Like `answers.vote`, but what is marked may be any expression: a plain number is read as one,
    all else is kept as it is written and compared by `latex`.
    """
    said = vote(text, finish_reason)
    if isinstance(said, Unparsed) and finish_reason != "stop":
        return said
    pieces = [_stripped(piece) for piece in marked(text)]
    if not pieces:
        return Unparsed("no marked answer")
    if any(latex.plain(piece) != latex.plain(pieces[-1]) for piece in pieces):
        return Unparsed("its marked answers differ")
    return _read(pieces[-1])


def _stripped(piece: str) -> str:
    return piece.strip().strip("$").strip().removesuffix(".").strip()


def _read(piece: str) -> Answer | Unparsed:
    if not piece:
        return Unparsed("the marked answer is empty")
    if len(piece) > MAX_LENGTH:
        return Unparsed(f"the answer is longer than {MAX_LENGTH} characters")
    if _NUMBER.fullmatch(piece):
        return find(f"#### {piece}", marked_only=True)
    return Answer(Fraction(0), piece, "latex")
