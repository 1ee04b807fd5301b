"""An engine whose texts follow from the request alone, and problems to draw them for.

`python -m tests.eval_engine PATH SECONDS` draws into PATH and pauses so long behind each sample.
"""

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from lorid_local.answers import Answer
from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, Role, never
from lorid_local.errors import ContextOverflow
from lorid_local.evaluate import sampling, store
from lorid_local.evaluate.cases import Case
from lorid_local.evaluate.methods import Needs
from tests.scripted import table

SETTINGS: Mapping[str, Any] = {"bundle": "none", "seed": 0, "ir.temperature": 0.5}
LONG = "so long"  # what a problem's text holds that is too long for the context


def answer(number: int) -> Answer:
    return Answer(Fraction(number), str(number))


def cases(count: int) -> list[Case]:
    """Problems whose answer is their number plus one, with what a data set may know of them."""
    return [
        Case(
            n,
            f"Ann has {n} eggs and gets 1 more. How many eggs has she?",
            answer(n + 1),
            steps=("+", "*")[: n % 3],
            rules=("Add what comes.",),
            topic=("eggs", "farms")[n % 2],
            grade=3 + n % 2,
        )
        for n in range(count)
    ]


class HashedEngine:
    """Draws a text that depends on the request alone: right, wrong, false, cut off or unmarked.

    `skill` is P(right) in percent. `calls` holds each call's requests.
    """

    def __init__(self, skill: int = 40, pause: float = 0.0) -> None:
        self.skill, self.pause = skill, pause
        self.calls: list[tuple[Request, ...]] = []

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        if any(LONG in part.text for request in requests for part in request.prompt):
            raise ContextOverflow("too long")
        self.calls.append(tuple(requests))
        done: list[Completion] = []
        for i, request in enumerate(requests):
            if cancelled():
                done.append(Completion("", "cancelled", 0))
                continue
            done.append(self._written(request))
            if on_done:
                on_done(i, done[-1])
            time.sleep(self.pause)
        return done

    def _written(self, request: Request) -> Completion:
        text = "".join(part.text for part in request.prompt)
        digest = hashlib.sha256(f"{request.role} {request.seed} {text}".encode()).digest()
        if request.role is Role.KG:
            rules = f"- Rule {digest[0] % 5}.\n- Add {digest[1] % 3} to it."
            return Completion(rules, "stop", 20 + digest[2] % 10)
        number = int(text.partition("Ann has ")[2].partition(" ")[0])
        right, tokens = number + 1, 10 + digest[2] % 30
        if digest[3] % 100 < self.skill:
            return Completion(f"<<{number}+1={right}>>\n#### {right}", "stop", tokens)
        match digest[4] % 4:
            case 0:
                return Completion(f"<<{number}+1={right + 2}>>\n#### {right + 2}", "stop", tokens)
            case 1:
                return Completion(f"<<{number}+1={right}>>", "length", tokens)
            case 2:
                return Completion(f"She has {right} eggs.", "stop", tokens)
        wrong = right + 1 + digest[5] % 3
        return Completion(f"<<{wrong}-0={wrong}>>\n#### {wrong}", "stop", tokens)


NEEDS = Needs(ir=3, kg=3, dr=3, by=("teacher", "none", "other"))


def draw(
    path: Path, engine: HashedEngine, count: int = 9, needs: Needs = NEEDS, **more: Any
) -> None:
    """Draw the samples of `count` problems into a file, or go on with it."""
    todo = cases(count)
    with store.writer(path, "eggs", SETTINGS, todo) as writer:
        sampling.draw(engine, todo, needs, table(), writer, **more)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), HashedEngine(pause=float(sys.argv[2])))
