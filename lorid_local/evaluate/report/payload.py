"""The samples inside the report: JSON, deflated, in base64; texts are left out where they would
make the file too large.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from lorid_local.answers import Answer
from lorid_local.engine import Role
from lorid_local.evaluate.methods import lorid
from lorid_local.evaluate.sampled import Sampled
from lorid_local.judging import Protocol
from lorid_local.loop import MAX_ROUNDS
from lorid_local.trace import Round, Sample

MOST = 2_300_000  # bytes of the samples, so that the whole file stays under 3 MB
# what is tried in turn: texts of the first so many rounds, and how that is said
EVERY, FEW, SETTLED = "every round", "the first 4 rounds and the settling one", "the settling round"
STEPS = ((MAX_ROUNDS, EVERY), (4, FEW), (0, SETTLED))


def packed(problems: Sequence[Sampled], protocol: Protocol, t: int) -> tuple[str, str]:
    """Return the samples in base64, and of which rounds they hold the texts."""
    data, which = "", ""
    for first, which in STEPS:  # noqa: B007 - the last one is told
        records = [record(p, protocol, t, first) for p in problems]
        text = json.dumps(records, ensure_ascii=False, separators=(",", ":"))
        data = base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")
        if len(data) <= MOST:
            break
    return data, which


def record(sampled: Sampled, protocol: Protocol, t: int, first: int) -> dict[str, Any]:
    """Return a problem with its rounds; of rounds behind `first` the settling one has texts."""
    played = lorid(sampled, protocol, t)
    settled = played.agreed or 1
    drawn = sampled.whole[: played.rounds]
    votes = [s.answer for r in drawn for s in (r.ir, r.dr) if s]
    return {
        "id": str(sampled.case.id),
        "q": sampled.case.question,
        "gold": sampled.case.gold.shown,
        "topic": sampled.case.topic,
        "agreed": played.agreed,
        "right": played.right,
        "answer": played.answer.shown if played.answer else None,
        "unparsed": sum(not isinstance(v, Answer) for v in votes),
        "rounds": [_round(r, texts=r.number <= first or r.number == settled) for r in drawn],
    }


def _round(drawn: Round, *, texts: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"n": drawn.number}
    for sample in drawn.samples:
        found[sample.role.value] = _sample(sample, texts=texts)
    return found


def _sample(sample: Sample, *, texts: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"t": sample.text} if texts else {}
    if sample.role is not Role.KG and sample.answer:
        voted = isinstance(sample.answer, Answer)
        found["a" if voted else "why"] = (
            sample.answer.shown if isinstance(sample.answer, Answer) else sample.answer.reason
        )
    return found
