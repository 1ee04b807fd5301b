"""Many problems side by side: the same traces as one by one, in order, with full batches."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

import pytest

from lorid_local.batch import solve_all
from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, Role, never
from lorid_local.errors import ContextOverflow, EngineError
from lorid_local.loop import LoopSettings, finish, solve
from lorid_local.trace import Trace
from tests.scripted import table

# a question's answers by IR and DR, round after round
ANSWERS = {
    "At once?": ([1], [1]),
    "In round 3?": ([1, 2, 3], [4, 5, 3]),
    "Never?": ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]),
    "In round 2?": ([5, 6], [7, 6]),
    "Again at once?": ([2], [2]),
}
SETTINGS = LoopSettings(rounds=5)
TOO_LONG = "Too long?"


class ByQuestion:
    """Answers each question as ANSWERS says; a request's seed tells its round."""

    def __init__(self) -> None:
        self.calls: list[tuple[Request, ...]] = []

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        assert len({r.role for r in requests}) == 1
        if any(TOO_LONG in r.prompt[1].text for r in requests):
            raise ContextOverflow("too many tokens")
        self.calls.append(tuple(requests))
        done: dict[int, Completion] = {}
        for i, request in enumerate(requests):
            if i in done:
                continue
            done[i] = self.answer(request) if not cancelled() else Completion("", "cancelled", 0)
            for needless in on_done(i, done[i]) if on_done and done[i].text else ():
                done.setdefault(needless, Completion("", "cancelled", 0))
        return [done[i] for i in range(len(requests))]

    def answer(self, request: Request) -> Completion:
        number = next(n for n in count(1) if SEEDS[request.role, n] == request.seed)
        question = next(q for q in ANSWERS if q in request.prompt[1].text)
        if request.role is Role.KG:
            return Completion(f"Rule {number}.", "stop", 3)
        answers = ANSWERS[question][request.role is Role.DR]
        others = [*range(100, 105)] if request.role is Role.IR else [*range(200, 205)]
        return Completion(f"#### {(answers + others)[number - 1]}", "stop", 4)


def seeds() -> dict[tuple[Role, int], int]:
    from lorid_local.loop import round_seed

    return {(role, n): round_seed(0, role, n) for role in Role for n in range(1, 6)}


SEEDS = seeds()


def timeless(trace: object) -> Trace:
    assert isinstance(trace, Trace)
    return replace(trace, seconds=0.0)


def one_by_one() -> Iterator[Trace]:
    for question in ANSWERS:
        events = solve(question, ByQuestion(), table(), SETTINGS)
        yield timeless(finish(events, lambda event: None))


@pytest.mark.parametrize("window", [1, 2, 3, 32])
def test_the_traces_are_those_of_one_problem_after_another(window: int) -> None:
    engine = ByQuestion()
    traces = list(solve_all(ANSWERS, engine, table(), SETTINGS, window=window))
    assert [timeless(t) for t in traces] == list(one_by_one())
    assert [timeless(t).agreed_round for t in traces] == [1, 3, None, 2, 1]


def test_what_all_ask_of_a_role_is_one_call() -> None:
    engine = ByQuestion()
    list(solve_all(ANSWERS, engine, table(), SETTINGS))
    shapes = [(call[0].role, len(call)) for call in engine.calls]
    assert shapes[:3] == [(Role.IR, 5), (Role.KG, 5), (Role.DR, 5)]
    # then rounds 2 and 3 of the three problems that disagreed
    assert shapes[3:6] == [(Role.IR, 6), (Role.KG, 6), (Role.DR, 6)]
    assert shapes[6:] == [(Role.IR, 2), (Role.KG, 2), (Role.DR, 2)]


def test_a_finished_problem_makes_room_for_the_next() -> None:
    engine = ByQuestion()
    results = solve_all(ANSWERS, engine, table(), SETTINGS, window=2)
    next(results)
    asked = {q for call in engine.calls for r in call for q in ANSWERS if q in r.prompt[1].text}
    assert asked == {"At once?", "In round 3?"}  # the third has not begun when the first is out
    assert len(list(results)) == 4


def test_a_problem_that_is_too_long_stops_no_other() -> None:
    questions = [*list(ANSWERS)[:2], TOO_LONG, *list(ANSWERS)[2:]]
    outcomes = list(solve_all(questions, ByQuestion(), table(), SETTINGS))
    assert isinstance(outcomes[2], ContextOverflow)
    assert [timeless(t) for t in outcomes[:2] + outcomes[3:]] == list(one_by_one())


def test_cancelled_problems_end_as_interrupted_and_no_other_starts() -> None:
    asked = count()
    outcomes = list(
        solve_all(ANSWERS, ByQuestion(), table(), SETTINGS, cancelled=lambda: next(asked) > 25,
                  window=2)
    )  # fmt: skip
    statuses = [timeless(t).status for t in outcomes]
    assert statuses[-1] == "interrupted"
    assert 0 < len(outcomes) < 5
    assert "interrupted" not in statuses[: statuses.index("interrupted")]


def test_cancelled_before_it_began_the_first_says_so() -> None:
    outcomes = list(solve_all(ANSWERS, ByQuestion(), table(), SETTINGS, cancelled=lambda: True))
    assert [timeless(t).status for t in outcomes] == ["interrupted"]
    assert timeless(outcomes[0]).rounds == ()


def test_a_timeout_ends_each_problem_by_its_own_clock() -> None:
    outcomes = list(solve_all(ANSWERS, ByQuestion(), table(), SETTINGS, timeout=1e-9, window=1))
    assert [timeless(t).status for t in outcomes] == ["timeout"] * 5


def test_no_questions_give_no_outcomes() -> None:
    assert list(solve_all([], ByQuestion(), table(), SETTINGS)) == []


def test_an_engine_error_reaches_the_caller() -> None:
    class Broken(ByQuestion):
        def answer(self, request: Request) -> Completion:
            raise EngineError("llama.cpp failed")

    with pytest.raises(EngineError, match=r"^llama\.cpp failed$"):
        list(solve_all(ANSWERS, Broken(), table(), SETTINGS))
