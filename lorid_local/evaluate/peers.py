"""Our answer extraction beside lm-evaluation-harness's, on the same texts.

Its regular expressions and what it ignores are those of its task gsm8k (lm_eval/tasks/gsm8k/
gsm8k.yaml: strict-match and flexible-extract, exact_match with regexes_to_ignore).
"""

import re
from collections.abc import Sequence
from typing import Any

from lorid_local.answers import Answer
from lorid_local.engine import Role
from lorid_local.evaluate.sampled import Sampled, answer_alone
from lorid_local.trace import Sample

SHOWN = 100  # differing cases that the report lists
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = tuple(map(re.compile, (r",", r"\$", r"(?s).*#### ", r"\.$")))
INVALID = "[invalid]"


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


HARNESS = {"strict-match": strict, "flexible-extract": flexible}


def extractors(problems: Sequence[Sampled]) -> dict[str, Any]:
    """Return how often theirs and ours call a sample right, and the samples where they differ."""
    counts = {name: {"both": 0, "ours": 0, "theirs": 0, "neither": 0} for name in HARNESS}
    differing: list[dict[str, Any]] = []
    for number, sampled in enumerate(problems):
        gold = normal(sampled.case.gold.shown)
        for role in (Role.IR, Role.DR):
            for sample in sampled.of(role):
                _compare(number, sampled, sample, gold, counts, differing)
    return {"counts": counts, "differing": differing[:SHOWN], "differ": len(differing)}


def _compare(
    number: int,
    sampled: Sampled,
    sample: Sample,
    gold: str,
    counts: dict[str, dict[str, int]],
    differing: list[dict[str, Any]],
) -> None:
    answer = answer_alone(sample)
    ours = sampled.right(answer)
    taken = {name: extract(sample.text) for name, extract in HARNESS.items()}
    theirs = {name: normal(text) == gold for name, text in taken.items()}
    for name, right in theirs.items():
        cell = "both" if ours and right else "ours" if ours else "theirs" if right else "neither"
        counts[name][cell] += 1
    if any(right != ours for right in theirs.values()):
        ours_shown = answer.shown if isinstance(answer, Answer) else f"none: {answer.reason}"
        case = {"problem": number, "role": sample.role.value, "round": sample.round}
        differing.append({**case, "gold": sampled.case.gold.shown, "ours": ours_shown, **taken})
