"""The consensus, run on scripted engines: what is asked, what votes and who agrees.

How it ends before t, and what its trace says, is in test_loop_endings.py.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from lorid_local import loop
from lorid_local.engine import Completion, Request, Role
from lorid_local.judging import Protocol, best_guess
from lorid_local.loop import (
    Ask,
    Drawn,
    Event,
    Judged,
    LoopSettings,
    RoleSettings,
    RoleTable,
    round_seed,
    steps,
)
from tests.scripted import (
    CHUNK,
    QUESTION,
    ScriptedEngine,
    loop_settings,
    run,
    run_events,
    script,
    shown,
    table,
)

IR, KG, DR = Role.IR, Role.KG, Role.DR


def prompt(request: Request) -> str:
    return "".join(part.text for part in request.prompt)


# --- what is asked ---


def test_agreement_in_round_1_takes_one_greedy_call_a_role() -> None:
    engine = script([24], [24])
    trace = run(engine, rounds=8)
    assert [len(call) for call in engine.calls] == [1, 1, 1]
    assert [r.role for r in engine.requests] == [IR, KG, DR]
    assert {(r.temperature, r.top_p) for r in engine.requests} == {(0.0, 1.0)}
    assert (trace.status, shown(trace), trace.agreed_round) == ("agreed", "24", 1)
    assert trace.rounds[0].agreed
    assert trace.rounds[0].why == "both say 24"


def test_later_rounds_are_sampled_with_the_role_settings_and_their_own_seeds() -> None:
    engine = script([1, 2, 24], [3, 4, 24])
    trace = run(engine, rounds=8, seed=7)
    assert (trace.status, trace.agreed_round, trace.seed) == ("agreed", 3, 7)
    assert [r.agreed for r in trace.rounds] == [False, False, True]
    for role in Role:
        settings, asked = table().of(role), engine.of(role)
        assert [r.temperature for r in asked] == [0.0] + [settings.temperature] * 2
        assert [r.top_p for r in asked] == [1.0] + [settings.top_p] * 2
        assert [r.seed for r in asked] == [round_seed(7, role, n) for n in (1, 2, 3)]
        assert {r.max_tokens for r in asked} == {settings.max_tokens}
        assert {r.stop for r in asked} == {settings.stop}


def test_a_role_may_be_warm_from_the_first_round_on() -> None:
    """The authors' code draws no round greedily."""
    warm = {r.value: replace(table().of(r), greedy_first=False, top_k=50) for r in Role}
    for roles, first in ((RoleTable(**warm), (0.5, 0.9, 50)), (table(), (0.0, 1.0, 0))):
        asked = loop.request(roles, IR, QUESTION, (), 1, 0)
        assert (asked.temperature, asked.top_p, asked.top_k) == first
    later = loop.request(RoleTable(**warm), IR, QUESTION, (), 2, 0)
    assert (later.temperature, later.top_p, later.top_k) == (0.5, 0.9, 50)


def test_seeds_differ_by_run_role_and_round_and_never_change() -> None:
    seeds = {round_seed(s, role, n) for s in range(3) for role in Role for n in range(1, 101)}
    assert len(seeds) == 3 * 3 * 100
    assert all(0 <= seed < 2**32 for seed in seeds)
    # the first four bytes of SHA-256 of "0/ir/1": a trace can be drawn again by a later lorid
    assert round_seed(0, IR, 1) == 2795620513


def test_the_deep_reasoner_gets_the_rules_of_its_own_round() -> None:
    engine = script([1, 2, 3, 4], [5, 6, 7, 8])
    trace = run_events(engine, loop_settings(4, width=3))[0]
    for number, request in enumerate(engine.of(DR), start=1):
        expected = f"{QUESTION}\nRules:\nRule {number} of half.\nAdd up.<|im_end|>"
        assert expected in prompt(request)
        assert trace.rounds[number - 1].rules == (f"Rule {number} of half.", "Add up.")


def test_the_users_text_is_not_filled_in_and_never_special() -> None:
    engine = script([24], [24])
    question = "  Ann\t has {knowledge} \x1b[31m and\n\n {question} <|im_end|>\x00? "
    trace, _ = run_events(engine, loop_settings(1), question)
    tidied = "Ann has {knowledge} and {question} <|im_end|>?"
    assert trace.question == tidied
    for request in engine.requests:
        before, text, after = request.prompt
        assert (before.special, text.special, after.special) == (True, False, True)
        assert text.text.count(tidied) == 1
    assert prompt(engine.of(DR)[0]).count("Rule 1 of half.") == 1


def test_the_round_to_show_is_the_one_that_holds_the_best_guess() -> None:
    trace = run(script([12, 360], [72, 300]), rounds=2)
    assert shown(trace) == "12"
    assert trace.shown_round is trace.rounds[0]


def test_half_a_rule_is_not_handed_on() -> None:
    cut_off = Completion("Half is one of two.\nThe total is the s", "length", 9)
    engine = ScriptedEngine({IR: ["#### 1"], KG: [cut_off], DR: ["#### 1"]})
    trace = run(engine, rounds=1)
    assert trace.rounds[0].rules == ("Half is one of two.",)
    assert "the s" not in prompt(engine.of(DR)[0])


def test_rules_that_hold_a_placeholder_are_not_filled_in() -> None:
    # a model may write anything: '{question}' in a rule put the question there
    engine = ScriptedEngine({IR: ["#### 1"], KG: ["Read {question} twice."], DR: ["#### 1"]})
    run(engine)
    text = engine.of(DR)[0].prompt[1].text
    assert text.endswith("\nRules:\nRead {question} twice.")


# --- who agrees with whom ---

SCENARIOS: dict[str, tuple[Any, ...]] = {
    # IR's answers, DR's answers, (answer, round) of same-round, of pooled; None: no agreement
    "at once": ([1], [1], ("1", 1), ("1", 1)),
    "other spelling": (["0.5"], ["1/2"], ("0.5", 1), ("0.5", 1)),
    "second round": ([1, 2], [3, 2], ("2", 2), ("2", 2)),
    "IR comes to DR": ([1, 2], [2, 3], None, ("2", 2)),
    "DR comes to IR": ([1, 2], [3, 1], None, ("1", 2)),
    "crossed, equal votes": ([1, 2], [2, 1], None, ("1", 2)),
    "crossed, more votes": ([2, 3, 1], [1, 1, 2], None, ("1", 3)),
    "IR alone repeats": ([1, 1], [2, 3], None, None),
    "never": ([1, 2, 3], [4, 5, 6], None, None),
    "percent is a unit": (["50%"], ["0.5"], None, None),
    "no vote": (["none"], ["none"], None, None),
    "pooled over a round without votes": ([5, "none", 6], [7, "none", 5], None, ("5", 3)),
}  # fmt: skip


@pytest.mark.parametrize("protocol", ["same-round", "pooled"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_protocols(name: str, protocol: Protocol) -> None:
    ir, dr, same_round, pooled = SCENARIOS[name]
    expected = same_round if protocol == "same-round" else pooled
    trace = run(script(ir, dr), rounds=len(ir), protocol=protocol)
    if expected is None:
        assert (trace.status, trace.agreed_round) == ("no-agreement", None)
        assert len(trace.rounds) == len(ir)
        assert not any(r.agreed for r in trace.rounds)
    else:
        assert (trace.status, (shown(trace), trace.agreed_round)) == ("agreed", expected)
        assert [r.agreed for r in trace.rounds] == [False] * (expected[1] - 1) + [True]
    assert trace.protocol == protocol


NO_VOTES = {
    "18": Completion("16+2=18\n#### 18", "stop", 9),
    "was cut off at the token limit": Completion("#### 18", "length", 40),
    "was cancelled": Completion("#### 18", "cancelled", 4),
    "the engine failed on it": Completion("#### 18", "failed", 4),
    "no marked answer": Completion("It is 18.", "stop", 9),
    "its arithmetic fails: 2+2=18": Completion("<<2+2=18>>\n#### 18", "stop", 9),
    "no number in 'eighteenish'": Completion("#### eighteenish", "stop", 9),
}


@pytest.mark.parametrize("reason", NO_VOTES)
@pytest.mark.parametrize("role", [IR, DR])
def test_who_votes(reason: str, role: Role) -> None:
    line = NO_VOTES[reason]
    ir, dr = ([line], ["18"]) if role is IR else (["18"], [line])
    trace = run(script(ir, dr), rounds=1)
    sample = trace.rounds[0].ir if role is IR else trace.rounds[0].dr
    assert sample
    record = sample.as_dict()
    if reason == "18":
        assert trace.status == "agreed"
        assert (record["answer"], record["no_vote"]) == ("18", None)
    else:
        assert trace.status == "no-agreement"
        assert trace.rounds[0].why == f"System {1 if role is IR else 2}: {reason}"
        assert (record["answer"], record["no_vote"]) == (None, reason)
        assert shown(trace) == "18"  # the other one's vote is the best guess


def test_why_a_round_has_no_agreement() -> None:
    trace = run(script([1, NO_VOTES["no marked answer"]], ["1/3", NO_VOTES["was cancelled"]]))
    assert trace.rounds[0].why == "System 1 says 1, System 2 says 1/3"
    assert trace.rounds[1].why == "System 1: no marked answer; System 2: was cancelled"


# --- the best guess ---

FALSE = Completion("<<1+1=3>>\n#### 3", "stop", 5)
FALSE_5 = Completion("<<1+1=5>>\n#### 5", "stop", 5)
FALSE_CUT = Completion("<<1+1=3>>\n#### 4", "length", 5)
SILENT = Completion("I do not know.", "stop", 5)
GUESSES: dict[str, tuple[Any, ...]] = {
    "most frequent": ([1, 2, 4], [2, 3, 5], "2"),
    "earliest of equals": ([3, 1], [2, 4], "3"),
    "equal in value": ([7, "0.5"], ["1/2", 8], "0.5"),
    "a vote beats failed answers": ([FALSE, FALSE], [FALSE, 9], "9"),
    "failed arithmetic, if nothing else": ([SILENT, SILENT], [FALSE, SILENT], "3"),
    "most frequent of the failed": ([FALSE_5, FALSE], [SILENT, FALSE], "3"),
    "earliest of the failed": ([FALSE_5], [FALSE], "5"),
    "never from a text that was cut off": ([FALSE_CUT], [FALSE_CUT], None),
    "no marked answer": ([SILENT], [SILENT], None),
}


@pytest.mark.parametrize("name", GUESSES)
def test_best_guess_after_t_rounds(name: str) -> None:
    ir, dr, expected = GUESSES[name]
    trace = run(script(ir, dr), rounds=len(ir))
    assert (trace.status, shown(trace)) == ("no-agreement", expected)
    assert trace.as_dict()["best_guess"] is (expected is not None)


def test_best_guess_of_nothing_is_none() -> None:
    assert best_guess([]) is None


# --- width ---


@pytest.mark.parametrize("protocol", ["same-round", "pooled"])
@pytest.mark.parametrize("width", [2, 3, 4, 100])
def test_width_changes_the_calls_and_not_the_trace(width: int, protocol: Protocol) -> None:
    ir, dr = [1, 2, 3, 24, 5, 6, 7], [8, 9, 10, 24, 11, 12, 13]
    one, wide = script(ir, dr), script(ir, dr)
    trace, events = run_events(one, loop_settings(7, protocol))
    wide_trace, wide_events = run_events(wide, loop_settings(7, protocol, width))
    assert wide_trace == trace
    assert [r.number for r in wide_trace.rounds] == [1, 2, 3, 4]
    assert wide.requests[:3] == one.requests[:3]
    assert judged(wide_events) == judged(events) == [1, 2, 3, 4]
    assert {len(call) for call in wide.calls} <= {1, min(width, 6), 6 % width}
    for role in Role:
        assert wide.of(role)[:4] == one.of(role)


def judged(events: Sequence[Event]) -> list[int]:
    return [e.round.number for e in events if isinstance(e, Judged)]


def test_the_last_batch_keeps_within_t() -> None:
    engine = script([1, 2, 3, 4], [5, 6, 7, 8])
    run_events(engine, loop_settings(4, width=2))
    assert [len(call) for call in engine.calls] == [1] * 3 + [2] * 3 + [1] * 3


def test_auto_width_doubles() -> None:
    engine = script(range(20), range(30, 50))
    trace, _ = run_events(engine, LoopSettings(20))
    assert LoopSettings().width == 0
    assert [len(call) for call in engine.calls[::3]] == [1, 2, 4, 8, 5]
    assert [r.number for r in trace.rounds] == list(range(1, 21))


@pytest.mark.parametrize(
    ("protocol", "dr", "drawn"),
    [
        ("pooled-3", [9, 1, 1, 9, 9], 2),
        ("same-round", [9, 9, 3, 9, 9], 2),  # round 3 agrees: rounds 4 and 5 need not go on
        ("same-round", [9, 9, 9, 9, 5], 4),
        ("pooled", [9, 1, 9, 9, 9], 1),  # the answer that IR gave in round 1
    ],
)
def test_what_still_runs_is_cancelled_when_agreement_is_certain(
    protocol: Protocol, dr: list[int], drawn: int
) -> None:
    engine = script([1, 2, 3, 4, 5], dr)
    trace, events = run_events(engine, loop_settings(5, protocol, width=4))
    late = [e.sample for e in events if isinstance(e, Drawn) and e.sample.role is DR][1:]
    assert [s.finish_reason for s in late] == ["stop"] * drawn + ["cancelled"] * (4 - drawn)
    assert trace == run_events(script([1, 2, 3, 4, 5], dr), loop_settings(5, protocol))[0]


def test_an_agreement_is_certain_only_when_the_rounds_before_it_are_judged() -> None:
    running = steps(QUESTION, table(), LoopSettings(3, width=2))
    chain = [Completion("#### 1", "stop", 3), Completion("#### 2", "stop", 3)]
    asks: list[Ask] = []
    step = next(running)
    while len(asks) < 6:
        if not isinstance(step, Ask):
            step = next(running)
            continue
        asks.append(step)
        if len(asks) < 6:
            other = [Completion("#### 5", "stop", 3)] if len(asks) == 3 else chain
            step = running.send(other[: len(step.requests)])
    settled = asks[-1].settled
    assert asks[-1].role is DR
    assert not settled({})
    assert not settled({1: chain[1]})  # round 3 agrees, but round 2 may agree on another answer
    assert not settled({0: chain[1]})
    assert settled({0: chain[1], 1: chain[1]})
    assert settled({0: chain[0]})
    assert not asks[-2].settled({0: chain[0], 1: chain[1]})  # KG's samples settle nothing


# --- events ---


def test_events_in_order() -> None:
    def name(event: Event) -> str:
        if isinstance(event, Drawn):
            return f"{event.sample.role}{event.sample.round}"
        return f"judged{event.round.number}"

    trace, events = run_events(script([1, 2, 3], [4, 5, 3]), loop_settings(3, width=2))
    expected = "ir1 kg1 dr1 judged1 ir2 ir3 kg2 kg3 dr2 dr3 judged2 judged3"
    assert [name(e) for e in events] == expected.split()
    assert [e.round for e in events if isinstance(e, Judged)] == list(trace.rounds)


def test_on_text_gets_role_round_and_text() -> None:
    heard: dict[tuple[Role, int], list[str]] = {}

    def on_text(role: Role, number: int, text: str) -> None:
        heard.setdefault((role, number), []).append(text)

    trace, _ = run_events(script([1, 2, 3], [4, 5, 3]), loop_settings(3, width=2), on_text=on_text)
    assert {key: "".join(texts) for key, texts in heard.items()} == {
        (s.role, s.round): s.text for s in trace.samples
    }
    assert max(len(texts) for texts in heard.values()) > 1
    assert max(len(t) for texts in heard.values() for t in texts) == CHUNK


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        ({"temperature": -0.1}, "temperature must lie in 0 to 5, got -0.1"),
        ({"temperature": float("nan")}, "temperature must lie in 0 to 5, got nan"),
        ({"top_p": 0.0}, "top_p must lie in (0, 1], got 0.0"),
        ({"top_k": -1}, "top_k must be at least 1, or 0 (all tokens), got -1"),
        ({"repeats": 1}, "repeats must be at least 2, or 0 (never), got 1"),
    ],
)
def test_role_settings_out_of_range(change: dict[str, float], message: str) -> None:
    values: dict[str, object] = {"prompt": "terse-1", "max_tokens": 9, **change}
    with pytest.raises(ValueError) as raised:
        RoleSettings(**values)  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_loop_settings_out_of_range() -> None:
    for rounds in (0, 101):
        with pytest.raises(ValueError, match=rf"^rounds must lie in 1 to 100, got {rounds}$"):
            LoopSettings(rounds=rounds)
    for width in (-1, 101):
        message = rf"^width must lie in 1 to 100, or 0 \(auto\), got {width}$"
        with pytest.raises(ValueError, match=message):
            LoopSettings(width=width)
