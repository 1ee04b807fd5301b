"""Who votes, who agrees and what is the best guess: the consensus on finished samples.

Protocols: `same-round` (the paper's text: IR and DR of one round agree), `pooled` (the authors'
code: any answers of rounds 1..j agree) and `pooled-3` to `pooled-5`, where the agreed answer must
also have so many votes, both systems' together.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Literal, get_args

from lorid_local import prompts, thoughts
from lorid_local.answers import Answer, Unparsed, find, same, vote
from lorid_local.engine import Completion, Request, Role
from lorid_local.latex_answers import latex_vote
from lorid_local.trace import Round, Sample

Protocol = Literal["same-round", "pooled", "pooled-3", "pooled-4", "pooled-5"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
VOTES = dict(zip(PROTOCOLS, (2, 2, 3, 4, 5), strict=True))  # that the agreed answer needs


def sample(request: Request, number: int, done: Completion) -> Sample:
    """Return a completion as a sample, with its vote or why it has none.

    What a thinking model thought is kept apart: it is neither a vote nor a rule.
    """
    parts = thoughts.split(thoughts.opened(request) + prompts.printable(done.text))
    text = parts.said.strip()
    answer: Answer | Unparsed | None = None
    if request.role is not Role.KG:
        votes = latex_vote if request.latex else vote
        answer = votes(text, done.finish_reason)
        if not parts.closed and done.finish_reason in ("stop", "length"):
            answer = Unparsed("its thought does not end")
    thought = parts.thought.strip()
    return Sample(
        request.role, number, text, done.finish_reason, done.tokens, answer, thought, done.logprob
    )


def joined(drawn: Round, sample: Sample) -> Round:
    """Return the round with one more sample."""
    if sample.role is Role.IR:
        return replace(drawn, ir=sample)
    if sample.role is Role.KG:
        whole = sample.finish_reason == "stop"
        return replace(drawn, kg=sample, rules=prompts.rules(sample.text, complete=whole))
    return replace(drawn, dr=sample)


def judge(drawn: Round, before: Sequence[Round], protocol: Protocol) -> tuple[Round, Answer | None]:
    """Return the round with its verdict, and the agreed answer if there is one."""
    if not (drawn.ir and drawn.dr):
        return replace(drawn, why="the round was cut short"), None
    pools = [drawn] if protocol == "same-round" else [*before, drawn]
    winner, votes = _shared([r.ir for r in pools], [r.dr for r in pools])
    if not winner:
        return replace(drawn, why=_why(drawn.ir.answer, drawn.dr.answer)), None
    if votes < VOTES[protocol]:
        why = f"both say {winner.shown}, in {votes} votes of the {VOTES[protocol]} needed"
        return replace(drawn, why=why), None
    return replace(drawn, agreed=True, why=f"both say {winner.shown}"), winner


def implies(one: Protocol, other: Protocol) -> bool:
    """True if whoever agrees by `one` has agreed by `other` too, in that round or before."""
    return one == other or (other != "same-round" and VOTES[other] <= VOTES[one])


def _why(ir: Answer | Unparsed | None, dr: Answer | Unparsed | None) -> str:
    if isinstance(ir, Answer) and isinstance(dr, Answer):
        return f"System 1 says {ir.shown}, System 2 says {dr.shown}"
    none = [f"System {n}: {a.reason}" for n, a in ((1, ir), (2, dr)) if isinstance(a, Unparsed)]
    return "; ".join(none)


def _shared(ir: Sequence[Sample | None], dr: Sequence[Sample | None]) -> tuple[Answer | None, int]:
    """Return the answer that both pools hold and its votes; of several, the one with the most."""
    left = [s.answer for s in ir if s and isinstance(s.answer, Answer)]
    right = [s.answer for s in dr if s and isinstance(s.answer, Answer)]
    keys = _keys([*left, *right])
    there = set(keys[len(left) :])
    shared = [i for i in range(len(left)) if keys[i] in there]
    winner = _first_of_most(shared, keys)
    return ([*left, *right][winner], keys.count(keys[winner])) if winner is not None else (None, 0)


def best_guess(rounds: Sequence[Round]) -> Answer | None:
    """Return the most frequent vote, the earliest of equals.

    Without any vote: the most frequent marked answer of samples that failed some other test.
    """
    samples = [s for r in rounds for s in (r.ir, r.dr) if s]
    return _most_frequent([s.answer for s in samples]) or _most_frequent(
        [find(s.text, marked_only=True) for s in samples if s.finish_reason == "stop"]
    )


def most_probable(rounds: Sequence[Round]) -> Answer | None:
    """Return the answer to which System 1's texts give the most probability together.

    A text that was drawn twice counts once (Wang et al. 2023, self-consistency's weighted sum).
    None where no text with a vote tells its probability.
    """
    told: dict[str, Sample] = {}
    for sample in (r.ir for r in rounds):
        if sample and sample.logprob is not None and isinstance(sample.answer, Answer):
            told.setdefault(sample.text, sample)
    answers = [s.answer for s in told.values() if isinstance(s.answer, Answer)]
    keys = _keys(answers)
    weights: dict[Hashable, float] = {}
    for key, sample in zip(keys, told.values(), strict=True):
        weights[key] = weights.get(key, 0.0) + math.exp(sample.logprob or 0.0)
    best = max(range(len(keys)), key=lambda i: weights[keys[i]], default=None)
    return None if best is None else answers[best]


def _most_frequent(answers: Sequence[Answer | Unparsed | None]) -> Answer | None:
    votes = [a for a in answers if isinstance(a, Answer)]
    best = _first_of_most(range(len(votes)), _keys(votes))
    return None if best is None else votes[best]


def _first_of_most(choices: Iterable[int], keys: Sequence[Hashable]) -> int | None:
    """Return the choice (an index of `keys`) whose key is most frequent, the first of equals."""
    counts = Counter(keys)
    return max(choices, key=lambda i: counts[keys[i]], default=None)


def number_key(answer: Answer) -> Hashable:
    """Return what two numbers, or two times, have in common if and only if they are the same."""
    return answer.kind, answer.value.numerator, answer.value.denominator


def _keys(answers: Sequence[Answer]) -> list[Hashable]:
    """Return a key an answer; two answers are the same if and only if their keys are.

    Numbers have one of their own, so that counting takes one pass; expressions are compared.
    """
    if all(a.kind != "latex" for a in answers):
        return [number_key(a) for a in answers]
    first: list[Answer] = []
    keys: list[Hashable] = []
    for answer in answers:
        at = next((i for i, b in enumerate(first) if same(answer, b)), len(first))
        first += [answer] if at == len(first) else []
        keys.append(at)
    return keys
