"""What a solve found: samples, rounds and the outcome, as plain data that serialises.

Knows nothing of how samples are drawn or how a round is judged.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lorid_local.answers import Answer, Unparsed, same
from lorid_local.engine import FinishReason, Role

SCHEMA = "lorid-trace/1"
LOGPROB_DIGITS = 4  # as they are written
Status = Literal["agreed", "no-agreement", "timeout", "interrupted"]


@dataclass(frozen=True)
class Sample:
    """One text that a role wrote. `answer` is its vote, or why it has none; KG never votes.

    `thought` is what a thinking model wrote before it, which counts for nothing. `logprob` is the
    completion's.
    """

    role: Role
    round: int
    text: str
    finish_reason: FinishReason
    tokens: int
    answer: Answer | Unparsed | None = None
    thought: str = ""
    logprob: float | None = None

    def as_dict(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "text": self.text,
            "finish_reason": self.finish_reason,
            "tokens": self.tokens,
        }
        if self.thought:
            record["thought"] = self.thought
        if self.logprob is not None:
            record["logprob"] = round(self.logprob, LOGPROB_DIGITS)
        if self.answer is not None:
            record |= _answer_fields(self.answer)
        return record


def _answer_fields(answer: Answer | Unparsed) -> dict[str, Any]:
    if isinstance(answer, Answer):
        return {"answer": answer.shown, "no_vote": None}
    return {"answer": None, "no_vote": answer.reason}


@dataclass(frozen=True)
class Round:
    """One round: System 1's sample, the rules, System 2's sample, and what became of them.

    A sample is missing only where the round was cut short.
    """

    number: int
    ir: Sample | None
    kg: Sample | None
    rules: tuple[str, ...]
    dr: Sample | None
    agreed: bool
    why: str

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples that were drawn."""
        return tuple(s for s in (self.ir, self.kg, self.dr) if s is not None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "round": self.number,
            "agreed": self.agreed,
            "why": self.why,
            "rules": list(self.rules),
            **{s.role.value: s.as_dict() for s in self.samples},
        }


@dataclass(frozen=True)
class Trace:
    """The outcome of one problem. `answer` is a best guess unless `status` is 'agreed'."""

    question: str
    status: Status
    answer: Answer | None
    agreed_round: int | None
    rounds: tuple[Round, ...]
    protocol: str
    max_rounds: int
    seed: int
    seconds: float

    @property
    def probability(self) -> float | None:
        """The probability that System 1 gave its text with the answer (`probability`)."""
        return probability(self.rounds, self.answer)

    @property
    def samples(self) -> Iterator[Sample]:
        """All samples in the order of the rounds."""
        return (sample for r in self.rounds for sample in r.samples)

    @property
    def tokens(self) -> int:
        """Generated tokens of all samples."""
        return sum(sample.tokens for sample in self.samples)

    @property
    def shown_round(self) -> Round | None:
        """The round that agreed; else the first that holds the best guess, or the last one."""
        if self.agreed_round is not None:
            return self.rounds[self.agreed_round - 1]
        whole = [r for r in self.rounds if r.ir and r.dr]
        holding = [r for r in whole if any(self._is_guess(s) for s in r.samples)]
        found = holding[:1] or whole[-1:] or self.rounds[-1:]
        return found[0] if found else None

    def _is_guess(self, sample: Sample) -> bool:
        vote = sample.answer
        return isinstance(vote, Answer) and self.answer is not None and same(vote, self.answer)

    def as_dict(self) -> dict[str, Any]:
        """Return the trace as JSON-ready data, with a schema version."""
        return {
            "schema": SCHEMA,
            "question": self.question,
            "status": self.status,
            "answer": self.answer.shown if self.answer else None,
            "best_guess": self.status != "agreed" and self.answer is not None,
            "agreed_round": self.agreed_round,
            "protocol": self.protocol,
            "max_rounds": self.max_rounds,
            "seed": self.seed,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "rounds": [r.as_dict() for r in self.rounds],
        }


def probability(rounds: Sequence[Round], answer: Answer | None) -> float | None:
    """Return the largest probability that System 1 gave one of its texts with this answer.

    0.0 if it wrote none that votes for it; None where no sample of its tells (`Sample.logprob`).
    """
    told = [r.ir for r in rounds if r.ir and r.ir.logprob is not None]
    if not told:
        return None
    votes = [s for s in told if answer and isinstance(s.answer, Answer) and same(s.answer, answer)]
    return max((math.exp(s.logprob) for s in votes if s.logprob is not None), default=0.0)
