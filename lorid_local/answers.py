"""Finds the answer in a model's text, compares answers and decides whether a sample may vote.

Units are dropped and never converted ('18 cents' is 18, '$0.18' is 0.18); a percent sign is a
unit too, so '50%' is 50 and not 0.5. Exact on rationals; judges no prose and no algebra.
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from lorid_local.arithmetic import false_steps
from lorid_local.number import Pick, Refused, holds_number, show, the_number

__all__ = ["Answer", "Unparsed", "find", "read", "same", "show", "vote", "why_different"]

MAX_LENGTH = 400  # characters of one answer


@dataclass(frozen=True)
class Answer:
    """An exact value and the text it was read from.

    A time of day counts in minutes after midnight and equals no plain number. An expression in
    LaTeX (latex_answers) has no value: its text counts.
    """

    value: Fraction
    text: str
    kind: Literal["number", "time", "latex"] = "number"

    @property
    def shown(self) -> str:
        """The value in one spelling: '18', '0.5', '1/3'; a time on the 24-hour clock, '15:30'."""
        if self.kind == "latex":
            return self.text
        hours, minutes = divmod(int(self.value), 60)
        return f"{hours}:{minutes:02d}" if self.kind == "time" else show(self.value)


@dataclass(frozen=True)
class Unparsed:
    """There is no answer; `reason` says why, as the end of a sentence."""

    reason: str


def read(text: str) -> Answer | Unparsed:
    """Return the one number or time that `text` states; never raises.

    Takes decimals, thousands (1,200 or 1 200, never 1.200), fractions, mixed numbers, '3e5',
    ordinals, number words, simple LaTeX and any script's decimal digits. Of an equation it reads
    what stands right of the last '='; a remark in brackets behind the number is left out. A time
    without am or pm is read on the 24-hour clock. What could be two things ('1,5', '5-7',
    '3, 4', '6 x 3', '5k') is refused: an answer that is guessed must not count as agreement.
    """
    try:
        return _read(text)
    except Refused as refused:
        return Unparsed(str(refused))


def find(text: str, *, marked_only: bool = False) -> Answer | Unparsed:
    """Return the answer that a model's text states; never raises.

    Looked for, in this order: the first '#### X' (GSM8K, ours), the first line '--> X END' (LoRID,
    GSM8K targets), 'The answer is: X' or 'final answer: X' (LoRID, MATH targets), '\\boxed{X}'.
    Statements of one of the last two kinds that contradict each other are no answer. What follows
    a new line with 'Question:', 'Q:' or 'Problem:' is run-on text and not read. Without a marker,
    the last sentence's equation or else its last number is taken, unless `marked_only`.
    """
    text = _before_run_on(text)
    marked = _marked(text)
    if marked:
        return _agreed([_read_marked(piece[: 5 * MAX_LENGTH]) for piece in marked])
    if marked_only:
        return Unparsed("no marked answer")
    sentence = _last_sentence(text)
    return _read_last(sentence) if sentence else Unparsed("the text is empty")


def marked(text: str) -> list[str]:
    """Return what stands behind the markers that decide (see `find`), as it is written."""
    pieces = _marked(_before_run_on(text))
    return [boxed[0] if (boxed := _boxed(piece)) and boxed[0] else piece for piece in pieces]


def same(a: Answer, b: Answer) -> bool:
    """True if both are the same value of the same kind, exactly: 0.5 is 1/2; 50% is not.

    Expressions in LaTeX are compared by their text and then by math-verify, bounded in time.
    """
    if "latex" in (a.kind, b.kind):
        from lorid_local import latex  # starts processes, which numbers need not

        return latex.same(a.shown, b.shown)
    return a.kind == b.kind and a.value == b.value


def why_different(a: Answer | Unparsed, b: Answer | Unparsed) -> str:
    """Return a short clause such as '18 is not 20'; for the same answers 'both are 18'."""
    if isinstance(a, Unparsed) and isinstance(b, Unparsed):
        return f"neither has an answer: {a.reason}; {b.reason}"
    if isinstance(a, Unparsed):
        return f"the first has no answer: {a.reason}"
    if isinstance(b, Unparsed):
        return f"the second has no answer: {b.reason}"
    return f"both are {a.shown}" if same(a, b) else f"{a.shown} is not {b.shown}"


def vote(text: str, finish_reason: str) -> Answer | Unparsed:
    """Return the answer a sample votes for, or why it has no vote; never raises.

    It votes if it ended by itself, its marked answer can be read and each of its `<<a=b>>` steps
    holds (DESIGN section 5). `finish_reason` is one of engine.FinishReason.
    """
    if finish_reason == "length":
        return Unparsed("was cut off at the token limit")
    if finish_reason == "repeated":
        return Unparsed("repeated itself")
    if finish_reason == "cancelled":
        return Unparsed("was cancelled")
    if finish_reason == "failed":
        return Unparsed("the engine failed on it")
    if finish_reason != "stop":
        return Unparsed(f"ended by {_quoted(finish_reason)}")
    answer = find(text, marked_only=True)
    if isinstance(answer, Unparsed):
        return answer
    wrong = false_steps(text)
    return Unparsed(f"its arithmetic fails: {_short(wrong[0])}") if wrong else answer


# --- where the answer stands ---

_RUN_ON = re.compile(
    r"\n[ \t>*#]{0,9}(?:question|problem|instruction|exercise|q)[ \t]{0,9}\d{0,4}[ \t*]{0,9}:", re.I
)
_RUN_ON_INLINE = re.compile(r"\b(?:question|problem|q)[ \t]?\d{0,4}:|####", re.I)
_HASHES = re.compile(r"(?<!#)####(?!#)([^\n]*)")
_HEADING = re.compile(r"\W{0,9}(?:step|part|solution|explanation|problem|question)\b", re.I)
_ARROW = re.compile(r"^[ \t]*-->([^\n]*)", re.M)
_STATED = re.compile(
    r"\b(?:the (?:final |correct )?answer is(?! not\b)|final answer(?: is)?)[ \t*]{0,9}(:?)", re.I
)
_BULLET = re.compile(r"^\s*[-*•]\s+")
_BOXED = re.compile(r"\\f?boxed\s{0,9}\{")
_SENTENCE = re.compile(
    r"(?<=[\w)}\]$%*'\".])(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!?]\s+(?=[\"'(\\*]?[A-Z])"
)
_MOST = 20  # statements of one kind that are looked at


def _before_run_on(text: str) -> str:
    text = text.strip()
    match = _RUN_ON.search(text)
    return text[: match.start()] if match else text


def _marked(text: str) -> list[str]:
    """Return what stands behind the markers that decide."""
    for piece in _HASHES.findall(text):
        if not _HEADING.match(piece):  # '#### Step 1' is Markdown
            return [piece]
    for piece in _ARROW.findall(text):
        return [re.split(r"\bEND\b", piece, maxsplit=1)[0]]
    return _stated(text) or _boxed(text)


def _stated(text: str) -> list[str]:
    """Return what stands behind 'the answer is', up to the next one; those with a colon decide.

    In prose 'the answer is 1000' may be a condition of the problem (MATH targets have some).
    """
    matches = list(_STATED.finditer(text))
    matches = [match for match in matches if match[1]] or matches
    ends = [match.start() for match in matches[1:]] + [len(text)]
    pieces = [text[match.end() : end] for match, end in zip(matches, ends, strict=False)]
    return [_first_line(piece) for piece in pieces[-_MOST:]]


def _first_line(text: str) -> str:
    """Return the first line that says something: Markdown and LaTeX may put it on the next."""
    for line in text[: 2 * MAX_LENGTH].splitlines():
        if line.strip(" \t*$[]\\"):
            return line
    return ""


def _boxed(text: str) -> list[str]:
    starts = [match.end() for match in _BOXED.finditer(text)][-_MOST:]
    return [_balanced(text[start : start + MAX_LENGTH]) for start in starts]


def _balanced(text: str) -> str:
    """Return `text` up to the brace that closes it, or '' if none does."""
    depth = 1
    for at, c in enumerate(text):
        depth += (c == "{") - (c == "}")
        if not depth:
            return text[:at]
    return ""


@lru_cache(4096)  # samples of one problem answer the same few things; pieces are short
def _read_marked(piece: str) -> Answer | Unparsed:
    piece = _RUN_ON_INLINE.split(piece, maxsplit=1)[0]
    piece = _SENTENCE.split(piece, maxsplit=1)[0].strip()
    if not piece.strip("*$ .:"):
        return Unparsed("the marked answer is empty")
    boxed = _boxed(piece)
    return read(boxed[0]) if boxed and boxed[0] else read(piece)


def _agreed(answers: list[Answer | Unparsed]) -> Answer | Unparsed:
    read_ones = [answer for answer in answers if isinstance(answer, Answer)]
    for answer in read_ones:
        if not same(answer, read_ones[-1]):
            return Unparsed(f"its marked answers differ: {why_different(answer, read_ones[-1])}")
    return read_ones[-1] if read_ones else answers[-1]


def _last_sentence(text: str) -> str:
    line = text.rstrip().rpartition("\n")[2].strip()
    if len(line) > MAX_LENGTH:
        line = line[-MAX_LENGTH:].partition(" ")[2]  # not from the middle of a number
    return _BULLET.sub("", _SENTENCE.split(line)[-1]).strip()


# --- how it is read ---


def _read(text: str, *, prose: bool = False) -> Answer:
    text = _LEAD.sub("", text.strip(), count=1).strip()
    if not text:
        raise Refused("the answer is empty")
    if len(text) > MAX_LENGTH:
        raise Refused(f"the answer is longer than {MAX_LENGTH} characters")
    quote = _quoted(text)
    plain = _without_remarks(_plain(text))
    pick: Pick = "only"
    if prose:  # 'a total of 36 + 51 = 87 towels in 1 hour': what an equation comes to is meant
        pick = "first" if "=" in plain and not _ROUNDED.search(plain) else "last"
    found = the_number(_right_side(plain, quote), quote, pick=pick)
    return Answer(found.value, _short(_EDGES.sub("", text)), found.kind)


def _read_last(text: str) -> Answer | Unparsed:
    """Return what `read` returns or, where it refuses, a number of the sentence.

    It is the first one behind the last '=', unless it is rounded then, else the last one.
    """
    answer = read(text)
    if isinstance(answer, Unparsed):
        try:
            answer = _read(text, prose=True)
        except Refused as refused:
            return Unparsed(str(refused))
    return replace(answer, text=answer.shown)


def _quoted(text: str) -> str:
    return f"'{_short(text)}'"


def _short(text: str, limit: int = 40) -> str:
    """Return `text` printable, on one line and cut to `limit` characters."""
    printable = (c if c.isprintable() else " " for c in text[: 4 * limit])
    text = " ".join("".join(printable).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."


_LEAD = re.compile(r"(?:####|-->|(?:the )?(?:final )?answer(?: is:?|:))\s{0,9}", re.I)
_MINUS = "\u2212\u2010\u2011\u2012\u2013\u2014\u2015\ufe63"  # hyphens and dashes too
_EQUALS = "\u2248\u2245\u2243"
_SLASH = "\u2044"
_CHARACTERS = str.maketrans(
    dict.fromkeys(_MINUS, "-")
    | dict.fromkeys(_EQUALS, "=")
    | dict.fromkeys(f"{_SLASH}\u2215\u00f7", "/")
    | dict.fromkeys("\u00b7\u22c5\u2217", "*")
    | {"\u00d7": "x", "\u066b": ".", "\u066c": ","}  # Arabic decimal point and thousands
)
_EDGES = re.compile(r"^[*`]+|(?<=\d)\.$|(?:(?<=\d)\.)?[*`]+\.?$")
_NOISE = re.compile(r"<<[^<>]*>>|<\|[^<>|]*\|>|</s>|\*\*|`")
_FRAC = re.compile(r"\\[dtc]?frac\s*(?:\{\s*([^{}]*)\}|(\d))\s*(?:\{\s*([^{}]*)\}|(\d))")
_LATEX = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\(?:text|textbf|mathrm|mathbf|mbox|boxed|fbox)\b\s*|\\(?:left|right)\b"), " "),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\^?\{?\\(?:circ|degree)\b\}?|\\[][()]|\\[,;:\s]|\\q?quad\b"), " "),
    (re.compile(r"\\(?:times|cdot)\b"), "*"),
    (re.compile(r"\\div\b"), "/"),
    (re.compile(r"\\approx\b"), "="),
    (re.compile(r"\\([$%#&{}])"), r"\1"),
)
_CURRENCY = "$€£¥₹¢"
_SIGNED_MONEY = re.compile(rf"(^|[\s(=:])([-+]) ?[{_CURRENCY}] ?")
_MONEY = re.compile(rf"[{_CURRENCY}]")
_HALF_DAY = re.compile(r"(?<=\d) ?([ap])(?:\.? ?m\b\.?)", re.I)
_PRODUCT = re.compile(r"(?<=\d) ?[xX] ?(?=[\d.(])")
_SPACED = re.compile(r"(?<![\d.,/:-])([1-9]\d{0,2})((?: \d{3})+)(?![\d,/:]|-\w| \d)")


def _characters(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text  # as nearly all are; none of these is replaced
    return "".join(map(_character, text.translate(_CHARACTERS)))


def _character(c: str) -> str:
    if " " <= c <= "~":
        return c
    if "\uff01" <= c <= "\uff5e":  # full-width forms
        return chr(ord(c) - 0xFEE0)
    category = unicodedata.category(c)
    if category == "Nd":
        return str(unicodedata.decimal(c))
    if category == "Cf":
        return ""
    if category[0] in "CZ":
        return " "
    parts = unicodedata.decomposition(c).split()
    if parts[:1] == ["<fraction>"] and len(parts) > 3:
        return " " + "".join(chr(int(part, 16)) for part in parts[1:]).replace(_SLASH, "/")
    return c


def _plain(text: str) -> str:
    plain = _NOISE.sub("", _characters(text))
    for pattern, new in _LATEX if "\\" in plain or "{" in plain else ():
        plain = pattern.sub(new, plain)
    plain = _FRAC.sub(_slashed, plain).strip("*_ ")
    plain = re.sub(r"[{}]", " ", plain)
    plain = _SIGNED_MONEY.sub(r"\1\2", plain)
    plain = " ".join(_MONEY.sub(" ", plain).split())
    plain = _PRODUCT.sub(" * ", _HALF_DAY.sub(r" \1m", plain))
    return _SPACED.sub(lambda match: match[0].replace(" ", ""), plain)


def _slashed(match: re.Match[str]) -> str:
    before = match.string[: match.start()].rstrip()[-1:]
    gap = " " if before.isdigit() else ""
    return f"{gap}{match[1] or match[2] or ''}/{match[3] or match[4] or ''} "


def _without_remarks(plain: str) -> str:
    """Leave out what stands in brackets, unless the number itself stands there."""
    outside, depth = [], 0
    for at, c in enumerate(plain):
        if c in "([":
            outside.append("*" if not depth and at and plain[at - 1].isdigit() else " ")
            depth += 1
        elif c in ")]":
            depth = max(0, depth - 1)
        elif not depth:
            outside.append(c)
    rest = "".join(outside)
    if holds_number(rest):
        return rest
    return re.sub(r"[][()]", " ", plain).strip()


_ROUNDED = re.compile(r"\bround(?:s|ed)? (?:up |down |off )?to\b", re.I)
_ASSIGNED = re.compile(r"(?:^|[,;]|\band\b|\bor\b) ?[a-z] ?=", re.I)


def _right_side(plain: str, quote: str) -> str:
    if "=" not in plain:
        return plain
    if len(_ASSIGNED.findall(plain)) > 1:
        raise Refused(f"{quote} holds two answers")
    right = plain.rpartition("=")[2].strip(" >")
    if not right:
        raise Refused(f"nothing stands right of the last '=' in {quote}")
    return right
