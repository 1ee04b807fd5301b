"""The consensus cut short by a person, the clock or the engine, and the trace it leaves."""

import json
from collections.abc import Callable, Sequence
from itertools import count

import pytest

from lorid_local.engine import Completion, Role
from lorid_local.errors import EngineError
from lorid_local.judging import best_guess
from lorid_local.loop import Judged, finish, solve
from lorid_local.trace import Trace
from tests.scripted import QUESTION, ScriptedEngine, loop_settings, run, run_events, script, table

IR, KG, DR = Role.IR, Role.KG, Role.DR
SILENT = Completion("I do not know.", "stop", 5)


def calls_of_a_whole_run(ir: Sequence[object], dr: Sequence[object]) -> int:
    asked = count()
    run(script(ir, dr), cancelled=lambda: next(asked) < 0)
    return next(asked)


def cancelled_after(calls: int) -> Callable[[], bool]:
    asked = count()
    return lambda: next(asked) >= calls


DIFFER, AGREE = ([1, 2], [3, 4]), ([24], [24])


@pytest.mark.parametrize("calls", range(calls_of_a_whole_run(*DIFFER)))
def test_cancelled_at_each_moment(calls: int) -> None:
    engine = script(*DIFFER)
    trace = run(engine, cancelled=cancelled_after(calls))
    assert trace.status == "interrupted"
    whole = list(run(script(*DIFFER)).samples)
    for sample, all_of_it in zip(trace.samples, whole[: len(list(trace.samples))], strict=True):
        assert (sample.role, sample.round) == (all_of_it.role, all_of_it.round)
        assert all_of_it.text.startswith(sample.text)
        assert sample.finish_reason == "cancelled" or sample == all_of_it
    assert trace.answer == best_guess(trace.rounds)
    assert len([s for s in trace.samples if s.finish_reason == "cancelled"]) <= 1
    for cut in [r for r in trace.rounds if not r.dr]:
        assert cut.why == "the round was cut short"


@pytest.mark.parametrize("calls", range(calls_of_a_whole_run(*AGREE)))
def test_cancelled_on_the_way_to_agreement(calls: int) -> None:
    trace = run(script(*AGREE), cancelled=cancelled_after(calls))
    whole = [s.finish_reason for s in trace.samples] == ["stop"] * 3
    assert trace.status == ("agreed" if whole else "interrupted")


@pytest.mark.parametrize("width", [1, 2])
def test_a_cancelled_batch_keeps_what_was_found(width: int) -> None:
    ir, dr = [1, 2, 3], [4, 5, 6]
    trace, _ = run_events(
        script(ir, dr), loop_settings(3, width=width), cancelled=cancelled_after(25)
    )
    assert trace.status == "interrupted"
    assert trace.as_dict()["answer"] == "1"
    assert [r.number for r in trace.rounds] == list(range(1, len(trace.rounds) + 1))


def test_timeout_by_the_clock() -> None:
    seconds = count(step=0.5)
    trace = run(script(*DIFFER), timeout=3.0, clock=lambda: next(seconds))
    assert trace.status == "timeout"
    assert trace.seconds >= 3.0
    assert len(trace.rounds) == 1


def test_a_timeout_that_is_over_at_once_draws_nothing() -> None:
    seconds = count()
    engine = script([], [])
    trace = run(engine, timeout=0.5, clock=lambda: next(seconds))
    assert (trace.status, trace.answer, trace.rounds) == ("timeout", None, ())
    assert engine.calls == []
    assert trace.shown_round is None


def test_time_that_runs_out_within_a_round() -> None:
    now = 0.0

    def heard(role: Role, number: int, _: str) -> None:
        nonlocal now
        now = 10.0 if (role, number) == ends_in else now

    def outcome() -> Trace:
        return run(script([1, 2], [3, 4]), timeout=5, clock=lambda: now, on_text=heard)

    ends_in = (IR, 2)  # KG and DR of round 2 are not asked
    trace = outcome()
    assert trace.status == "timeout"
    assert (trace.rounds[1].kg, trace.rounds[1].dr) == (None, None)
    now, ends_in = 0.0, (DR, 2)  # a sample that was cut used to count as a whole round
    trace = outcome()
    assert trace.status == "timeout"
    assert trace.rounds[1].why == "System 2: was cancelled"


def test_time_that_runs_out_after_the_last_round_changes_nothing() -> None:
    now = 0.0

    def on_event(event: object) -> None:
        nonlocal now
        now = 10.0 if isinstance(event, Judged) else 0.0

    events = solve(QUESTION, script([1], [2]), table(), loop_settings(1), timeout=5,
                   clock=lambda: now)  # fmt: skip
    trace = finish(events, on_event)
    assert (trace.status, trace.seconds) == ("no-agreement", 10.0)


def test_engine_errors_reach_the_caller() -> None:
    error = EngineError("llama.cpp refused a batch")
    with pytest.raises(EngineError) as raised:
        run(script([1, 2], [3, error]))
    assert raised.value is error


# --- the trace ---


def test_the_trace_is_json_with_a_schema() -> None:
    times = iter([100.0, 101.23456])
    trace = run(script([1, SILENT], [2, 3]), seed=5, clock=lambda: next(times))
    record = json.loads(json.dumps(trace.as_dict()))
    assert {k: v for k, v in record.items() if k != "rounds"} == {
        "schema": "lorid-trace/1", "question": QUESTION, "status": "no-agreement", "answer": "1",
        "best_guess": True, "agreed_round": None, "protocol": "same-round", "max_rounds": 2,
        "seed": 5, "tokens": trace.tokens, "seconds": 1.235,
    }  # fmt: skip
    first, second = record["rounds"]
    assert list(first) == ["round", "agreed", "why", "rules", "ir", "kg", "dr"]
    assert list(first["kg"]) == ["text", "finish_reason", "tokens"]
    assert first["ir"] == {
        "text": "<<48/2=24>>\n#### 1", "finish_reason": "stop", "tokens": 4,
        "answer": "1", "no_vote": None,
    }  # fmt: skip
    assert second["ir"]["no_vote"] == "no marked answer"
    assert record["tokens"] == sum(s.tokens for s in trace.samples)


def test_a_round_cut_short_has_no_key_for_what_is_missing() -> None:
    trace = run(script(*DIFFER), cancelled=cancelled_after(2))
    assert list(trace.rounds[0].as_dict()) == ["round", "agreed", "why", "rules", "ir"]


def test_control_characters_never_reach_the_trace() -> None:
    dirty = "\x1b[2J\x07one\u202e\x00\r\n#### 24\x9b\n"
    rules = "- Half \x1b]0;x\x07is.\r\n- \u200bAdd."
    engine = ScriptedEngine({IR: [dirty], KG: [rules], DR: [dirty]})
    trace = run(engine)
    assert (trace.status, trace.as_dict()["answer"]) == ("agreed", "24")
    assert trace.rounds[0].rules == ("Half ]0;xis.", "Add.")
    assert all(c == "\n" or c.isprintable() for s in trace.samples for c in s.text)
    assert trace.rounds[0].ir and trace.rounds[0].ir.text == "[2Jone\n#### 24"
