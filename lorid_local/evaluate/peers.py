"""Our answer extraction beside others' on the same texts: lm-evaluation-harness's, the authors'.

The harness's regular expressions and what it ignores are those of its task gsm8k (lm_eval/tasks/
gsm8k/gsm8k.yaml: strict-match and flexible-extract, exact_match with regexes_to_ignore).
"""

import math
import re
from collections.abc import Sequence
from typing import Any

from lorid_local.answers import Answer, find, read
from lorid_local.engine import Role
from lorid_local.evaluate.sampled import Sampled, answer_alone
from lorid_local.trace import Sample

SHOWN = 100  # differing cases that the report lists
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = tuple(map(re.compile, (r",", r"\$", r"(?s).*#### ", r"\.$")))
INVALID = "[invalid]"
AUTHORS = "LoRID's authors"
CLOSE = 1e-4  # the authors' relative tolerance (src/evaluation/grader.py)
_NUMBER = re.compile(r"-?\d*\.?\d+")


def strict(text: str) -> str:
    """Return what strict-match takes from a text: the first number behind '#### '."""
    match = _STRICT.search(text)
    return match[1].strip() if match else INVALID


def flexible(text: str) -> str:
    """Return what flexible-extract takes: the last thing that looks like a number."""
    found = _FLEXIBLE.findall(text)
    return next(part for part in found[-1] if part).strip() if found else INVALID


def normal(text: str) -> str:
    """Return a text as exact_match compares it."""
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()


def authors(text: str) -> Answer | None:
    """Return what the authors' extract_answer takes (src/evaluation/parser.py).

    That is a marked answer, read as ours is, or else the last number of the text.
    """
    marked = find(text, marked_only=True)
    if isinstance(marked, Answer):
        return marked
    numbers = _NUMBER.findall(text.replace(",", ""))
    last = read(numbers[-1]) if numbers else None
    return last if isinstance(last, Answer) else None


def lenient(value: float, gold: float) -> bool:
    """True if `value` is gold, gold/100 or 100 gold to four digits (the authors' math_equal)."""
    return any(math.isclose(value, g, rel_tol=CLOSE) for g in (gold / 100, gold, gold * 100))


HARNESS = {"strict-match": strict, "flexible-extract": flexible}


def extractors(problems: Sequence[Sampled]) -> dict[str, Any]:
    """Return how often theirs and ours call a sample right, and the samples where they differ.

    `otherwise` counts those from which another answer is read, or none where we read one.
    """
    cells = ("both", "ours", "theirs", "neither", "otherwise")
    counts = {name: dict.fromkeys(cells, 0) for name in (*HARNESS, AUTHORS)}
    differing: list[dict[str, Any]] = []
    for number, sampled in enumerate(problems):
        for role in (Role.IR, Role.DR):
            for sample in sampled.of(role):
                if row := _compared(sampled, sample, counts):
                    differing.append({"problem": number, **row})
    return {"counts": counts, "differing": differing[:SHOWN], "differ": len(differing)}


def _compared(
    sampled: Sampled, sample: Sample, counts: dict[str, dict[str, int]]
) -> dict[str, Any] | None:
    """Count one sample; return what each read from it, if they do not all call it the same."""
    gold, answer = sampled.case.gold, answer_alone(sample)
    ours = sampled.right(answer)
    own = answer.shown if isinstance(answer, Answer) else INVALID
    taken = {name: extract(sample.text) for name, extract in HARNESS.items()}
    right = {name: normal(text) == normal(gold.shown) for name, text in taken.items()}
    last = authors(sample.text)
    taken[AUTHORS] = last.shown if last else INVALID
    right[AUTHORS] = last is not None and lenient(float(last.value), float(gold.value))
    for name, theirs in right.items():
        cell = "both" if ours and theirs else "ours" if ours else "theirs" if theirs else "neither"
        counts[name][cell] += 1
        counts[name]["otherwise"] += normal(taken[name]) != own
    if all(theirs == ours for theirs in right.values()):
        return None
    shown = own if isinstance(answer, Answer) else f"none: {answer.reason}"
    where = {"role": sample.role.value, "round": sample.round}
    return {**where, "gold": gold.shown, "ours": shown, **taken}
