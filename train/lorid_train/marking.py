"""Marks calculations that a solution shows without `<<>>`, and mends marks that hold none."""

import re

from lorid_local import arithmetic

_NUMBER = r"\$?\d[\d,]*(?:\.\d+)?%?|\$?\.\d+"
_SUM = rf"\(*(?:{_NUMBER})\)*(?:\s*[-+*/x×÷–]\s*\(*(?:{_NUMBER})\)*)+"
_SHOWN = re.compile(
    rf"(?<![\w.,%>/*+=)-])(?<![-+*/x×÷=] )({_SUM})(\s*=\s*)(\$?)(\d[\d,]*(?:\.\d+)?)"
    r"(?![\w%]|\s*[-+*/=×÷]|\.\d|<)"
)
_EMPTY = re.compile(rf"({_SUM})(\s*=\s*\$?)<<\s*\$?(\d[\d,.]*)\s*=\s*(\d[\d,.]*)\s*>>")


def marked(rationale: str) -> str:
    """Return `rationale` with `12/3=4` written `12/3=<<12/3=4>>4`, where it is true.

    `60 - 10 = <<50=50>>50` is given its calculation back.
    """
    mended = _EMPTY.sub(_filled, rationale)
    parts = re.split(r"(<<[^<>]*>>)", mended)
    return "".join(part if part.startswith("<<") else _SHOWN.sub(_mark, part) for part in parts)


def misstated(rationale: str) -> bool:
    """True if the words of a rationale that was `marked` still show a calculation: a false one."""
    return any(_SHOWN.search(part) for part in re.split(r"<<[^<>]*>>", rationale))


def _filled(match: re.Match[str]) -> str:
    expression, equals, _, result = match.groups()
    step = f"<<{_clean(expression)}={result}>>"
    return match[0] if arithmetic.false_steps(step) else f"{expression}{equals}{step}"


def _mark(match: re.Match[str]) -> str:
    expression, equals, money, result = match.groups()
    result = result.rstrip(",")
    step = f"<<{_clean(expression)}={result}>>"
    if arithmetic.false_steps(step) or expression.count("(") != expression.count(")"):
        return match[0]
    return f"{expression}{equals}{money}{step}{match[4]}"


def _clean(expression: str) -> str:
    return (
        re.sub(r"[\s$]", "", expression)
        .replace("x", "*")
        .replace("×", "*")
        .replace("÷", "/")
        .replace("–", "-")
    )
