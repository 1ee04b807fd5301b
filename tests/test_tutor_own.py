"""The pupil's own problem: the loop in a thread, its rules checked, its verdict told honestly."""

import os
import signal
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from lorid_local.calibration import Sureness
from lorid_local.engine import Cancelled, Role
from lorid_local.errors import InputError, ModelError
from lorid_local.solving import Flags, Setup
from lorid_local.trace import Trace
from lorid_local.tutor import advice, thinking, wording
from lorid_local.tutor.state import Own
from lorid_local.tutor.task import of_trace
from tests.scripted import (
    QUESTION,
    Line,
    ScriptedEngine,
    loop_settings,
    run,
    run_events,
    script,
    table,
)

RULES = "- Find half of the amount.\n- Subtract 24 from the eggs.\n- Read it carefully."
SURE = Sureness(1, 3, 6, 79, "dev problems", "agreed in round 1")


def think(engine: ScriptedEngine, rounds: int = 2, sure: Sureness | None = SURE) -> Any:
    """Return a Think that runs the real loop on a scripted engine."""
    setup = Setup(table(), loop_settings(rounds), None, 0, None)

    def thought(
        question: str, on_rules: Callable[[tuple[str, ...]], None], cancelled: Cancelled
    ) -> tuple[Trace, Sureness | None]:
        trace, _ = thinking.consult(question, engine, setup, on_rules, cancelled)
        return trace, sure

    return thought


def engine(ir: str, dr: str, rules: str = RULES) -> ScriptedEngine:
    lines: dict[Role, list[Line]] = {Role.IR: [ir] * 2, Role.KG: [rules] * 2, Role.DR: [dr] * 2}
    return ScriptedEngine(lines)


def settled(made: Any, question: str = QUESTION) -> tuple[Own, Any]:
    thinker = thinking.Thinker(question, made)
    thinker.wait()
    news = thinker.news()
    thinker.stop()
    return news.own, news.task


def test_agreement_gives_a_task_and_the_measured_sentence() -> None:
    own, task = settled(think(engine("<<48/2=24>>\n#### 24", "Half is <<48/2=24>>24.\n#### 24")))
    assert own == Own(
        QUESTION,
        "agreed",
        ("Find half of the amount.",),
        "I can be wrong: of 3 test problems where my two ways agreed like this, 1 was right. So "
        "check it yourself.",
    )
    assert (task.answer, task.answer_text, task.rules) == (24, "24", own.rules)
    assert [(s.expression, s.calculation, s.value) for s in task.steps] == [
        ("48/2", "48 / 2", Fraction(24))
    ]
    assert task.source is None


def test_the_steps_are_those_of_the_longer_chain() -> None:
    dr = "It is <<50%*48=24>>24, then <<48-24=24>>24, so <<24+1.00=25>>25.\n#### 25"
    trace = run(engine("<<24+1=25>>\n#### 25", dr))
    task = of_trace(trace, ())
    assert task is not None
    assert [step.expression for step in task.steps] == ["(50 / 100)*48", "48-r0", "r1+1.00"]


def test_large_numbers_are_read_whole() -> None:
    chain = "<<1,200*2.50=3000>>\n#### 3,000"
    trace, _ = run_events(
        engine(chain, chain), loop_settings(1), question="1,200 pens at $2.50 and .5?"
    )
    task = of_trace(trace, ())
    assert task is not None
    assert list(task.numbers.values()) == [1200, Fraction(5, 2), Fraction(1, 2)]
    assert (task.steps[0].expression, task.steps[0].value) == ("1200*2.50", 3000)


def test_no_agreement_gives_no_task_but_the_checked_rules() -> None:
    own, task = settled(think(engine("#### 24", "#### 20")))
    assert task is None
    assert own == Own(QUESTION, "unsettled", ("Find half of the amount.",))
    assert of_trace(run(script([1, 2], [3, 4])), ()) is None


def test_an_error_of_the_engine_is_told() -> None:
    def broken(*_: Any) -> Any:
        raise ModelError("base.gguf: no such file")

    own, task = settled(broken)
    assert own == Own(QUESTION, "failed", (), "", "base.gguf: no such file")
    assert task is None


def test_a_bug_in_the_thread_is_not_hidden() -> None:
    def bug(*_: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        settled(bug)


def test_rules_without_numbers_come_before_the_verdict() -> None:
    go_on = threading.Event()

    def slow(
        question: str, on_rules: Callable[[tuple[str, ...]], None], cancelled: Cancelled
    ) -> Any:
        on_rules(("Share it in equal groups.", "Add two and 24 to it then."))
        go_on.wait(10)
        return think(engine("#### 24", "#### 24"))(question, on_rules, cancelled)

    thinker = thinking.Thinker(QUESTION, slow)
    thinker.wait(rules=0)
    assert thinker.news().own == Own(QUESTION, "thinking", ("Share it in equal groups.",))
    go_on.set()
    thinker.wait()
    rules = ("Share it in equal groups.", "Find half of the amount.")
    assert thinker.news().own.rules == rules  # what was shown early stays first
    thinker.stop()


def test_stopping_ends_the_thread() -> None:
    started = threading.Event()

    def endless(question: str, on_rules: Any, cancelled: Cancelled) -> Any:
        started.set()
        while not cancelled():
            pass
        return think(engine("#### 1", "#### 1"))(question, on_rules, cancelled)

    thinker = thinking.Thinker(QUESTION, endless)
    assert started.wait(10)
    thinker.stop()
    assert thinker.news().own.status != "thinking"


def test_ctrl_c_while_waiting_never_leaves_the_thread_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted where a lock is held, the thread would wait for it for ever, and stop for it."""
    monkeypatch.setattr(thinking, "POLL", 0.0)  # waiting is nothing but looking now

    def press(after: float) -> None:
        time.sleep(after)
        os.kill(os.getpid(), signal.SIGINT)

    def slow(question: str, on_rules: Any, cancelled: Cancelled) -> Any:
        while not cancelled():
            time.sleep(0.0005)
        return think(engine("#### 1", "#### 1"))(question, on_rules, cancelled)

    for number in range(150):
        thinker = thinking.Thinker(QUESTION, slow)
        pressing = threading.Thread(target=press, args=(number * 2e-5,))
        with pytest.raises(KeyboardInterrupt):
            pressing.start()
            while True:
                thinker.wait()
        pressing.join()
        stopping = threading.Thread(target=thinker.stop, daemon=True)
        stopping.start()
        stopping.join(10)
        assert not stopping.is_alive(), number


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("Multiply the groups by what is in each.", True),
        ("An hour has 60 minutes, so divide the minutes by 60.", True),
        ("Subtract the 48 eggs from the total.", True),  # 48 stands in the question
        ("Subtract 24 from the eggs that are left.", False),  # a candidate
        ("Subtract twenty-four from the eggs.", False),
        ("The total is 33 more than before.", False),  # where from?
        ("Half of 48 = 24 eggs are left", False),
        ("Add.", False),
        ("Read the problem carefully and add up.", False),
        ("Think about what the total may be.", False),
        ("The answer is half of the eggs.", False),
        ("The number of boxes is the number of boxes multiplied by the boxes.", False),
        ("The total number of boxes equals the number of boxes multiplied by the number of boxes "
         "in each.", False),
        ("The total number of eggs is the number of eggs in a box times the boxes.", True),
        ("Eggs come from hens on a farm.", False),
        ("Add " + "and add " * 40, False),
    ],
)  # fmt: skip
def test_which_rules_may_be_shown(rule: str, shown: bool) -> None:
    assert advice.checked([rule], QUESTION, {Fraction(24)}) == ((rule,) if shown else ())


def test_a_number_everybody_knows_is_held_back_where_it_may_be_the_answer() -> None:
    rule = "An hour has 60 minutes, so divide by them."
    assert advice.checked([rule], QUESTION, {Fraction(60)}) == ()


def test_every_marked_answer_is_a_candidate() -> None:
    rounds = run(script([24, 25], [20, 21])).rounds
    assert advice.candidates(rounds) == {24, 25, 20, 21}


def test_what_was_not_measured_is_said() -> None:
    own, _ = settled(think(engine("#### 24", "#### 24"), sure=None))
    assert own.sure == (
        "Nobody has measured how often I am right in such a case, so check it yourself."
    )
    assert wording.own_other(own) == (
        "I get another number, in both my ways of solving it. But nobody has measured how often I "
        "am right in such a case, so check it yourself."
    )
    assert "of 1 test problem where" in wording.sure((0, 1)) and "0 were" in wording.sure((0, 1))


def test_a_bundle_there_is_not_is_refused_at_once() -> None:
    with pytest.raises(ModelError, match="no bundle 'nope'"):
        thinking.with_bundle(Flags(bundle="nope"))
    with pytest.raises(InputError, match="rounds must lie in"):
        thinking.with_bundle(Flags(rounds=0))
