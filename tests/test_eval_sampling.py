"""`lorid eval`'s samples: what is drawn, stored, gone on with after a kill, refused by name."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lorid_local.engine import Completion, Role
from lorid_local.errors import InputError, OutputError
from lorid_local.evaluate import findings, methods, sampled, sampling, store
from lorid_local.evaluate.cases import Case
from lorid_local.evaluate.methods import Needs
from lorid_local.evaluate.store import Key
from lorid_local.loop import LoopSettings, finish, round_seed, solve
from tests.eval_engine import LONG, NEEDS, SETTINGS, HashedEngine, answer, cases, draw
from tests.scripted import ScriptedEngine, table

REMOVE = "give another file with -o/--output, or remove this one"


def figures(path: Path) -> dict[str, Any]:
    """Everything that is reported of a file but the seconds."""
    contents = store.read(path)
    chosen = methods.parse([*methods.SETTLED, "dr+teacher", "dr+none", "dr+other"], 3)
    replayed = findings.replay(sampled.gather(contents), chosen)
    found = findings.figures(contents, replayed, wanted=9, rounds=3, protocol="same-round")
    for row in found["methods"]:
        del row["seconds"]
    return found


def samples(path: Path) -> dict[Key, Completion]:
    return {key: taken.completion for key, taken in store.read(path).samples.items()}


# --- what is drawn ---


def test_every_sample_that_is_needed_is_drawn_once(tmp_path: Path) -> None:
    engine = HashedEngine()
    draw(tmp_path / "a.jsonl", engine)
    keys = [Key(n, role, k) for n in range(9) for role in Role for k in (1, 2, 3)]
    keys += [Key(n, Role.DR, 1, by) for n in range(9) for by in NEEDS.by]
    assert set(samples(tmp_path / "a.jsonl")) == set(keys)
    assert sum(map(len, engine.calls)) == len(keys)
    assert all(len({request.role for request in call}) == 1 for call in engine.calls)


def test_the_samples_are_those_that_a_solve_draws(tmp_path: Path) -> None:
    draw(tmp_path / "a.jsonl", HashedEngine())
    found = samples(tmp_path / "a.jsonl")
    for case in cases(9):
        events = solve(case.question, HashedEngine(), table(), LoopSettings(3, width=1))
        trace = finish(events, lambda event: None)
        for drawn in trace.rounds:
            for sample in drawn.samples:
                stored = found[Key(case.id, sample.role, sample.round)]
                assert (sample.text, sample.tokens) == (stored.text.strip(), stored.tokens)


def test_the_deep_reasoner_gets_other_rules(tmp_path: Path) -> None:
    engine = HashedEngine()
    draw(tmp_path / "a.jsonl", engine, 3)
    found = samples(tmp_path / "a.jsonl")
    asked = [r for call in engine.calls for r in call if r.role is Role.DR]
    greedy = [r.prompt[1].text for r in asked if r.seed == round_seed(0, Role.DR, 1)]
    by_case = {n: [t for t in greedy if f"Ann has {n} " in t] for n in range(3)}
    for number, neighbour in ((0, 1), (1, 0), (2, 1)):  # the last one's is the one before it
        own, other = found[Key(number, Role.KG, 1)].text, found[Key(neighbour, Role.KG, 1)].text
        rules = [text.partition("Rules:\n")[2] for text in by_case[number]]
        bare = [text.replace("- ", "") for text in (own, other)]
        assert rules == [bare[0], "Add what comes.", "", bare[1]]


def test_groups_fill_a_batch_and_are_even() -> None:
    assert sampling.group_size(Needs(ir=1)) == 32
    assert sampling.group_size(Needs(ir=8, kg=8, dr=8)) == 4
    assert sampling.group_size(Needs(ir=20)) == 2
    assert sampling.group_size(Needs(by=("none",))) == 32


def test_a_problem_that_is_too_long_costs_itself_alone(tmp_path: Path) -> None:
    todo = [*cases(3), Case(3, f"Ann has 3 eggs, {LONG}?", answer(4))]
    path = tmp_path / "a.jsonl"
    with store.writer(path, "eggs", SETTINGS, todo) as writer:
        sampling.draw(HashedEngine(), todo, Needs(ir=1, kg=1, dr=1), table(), writer)
    found = samples(path)
    assert {found[Key(3, role, 1)] for role in Role} == {Completion("", "failed", 0)}
    assert all(found[Key(n, role, 1)].text for n in range(3) for role in Role)


def test_a_sample_that_the_engine_tells_of_only_at_the_end_is_kept(tmp_path: Path) -> None:
    class Silent(ScriptedEngine):
        def generate(self, requests: Any, on_token: Any = None, cancelled: Any = None,
                     on_done: Any = None) -> list[Completion]:  # fmt: skip
            return super().generate(requests)

    engine = Silent({Role.IR: [Completion("", "failed", 0)]})
    with store.writer(tmp_path / "a.jsonl", "eggs", SETTINGS, cases(1)) as writer:
        sampling.draw(engine, cases(1), Needs(ir=1), table(), writer)
    assert samples(tmp_path / "a.jsonl") == {Key(0, Role.IR, 1): Completion("", "failed", 0)}


def test_seconds_are_those_since_the_sample_before(tmp_path: Path) -> None:
    now = iter(range(100))
    with store.writer(tmp_path / "a.jsonl", "eggs", SETTINGS, cases(2)) as writer:
        sampling.draw(HashedEngine(), cases(2), Needs(ir=2), table(), writer,
                      clock=lambda: 1.5 * next(now))  # fmt: skip
    assert [t.seconds for t in store.read(tmp_path / "a.jsonl").samples.values()] == [1.5] * 4
    tokens = sum(c.tokens for c in samples(tmp_path / "a.jsonl").values())
    rates = findings.seconds_a_token(store.read(tmp_path / "a.jsonl"))
    assert rates == pytest.approx([6 / tokens, 0, 0])


# --- going on ---


def test_a_finished_file_is_not_drawn_again(tmp_path: Path) -> None:
    path, again = tmp_path / "a.jsonl", HashedEngine()
    draw(path, HashedEngine())
    before = path.read_bytes()
    draw(path, again)
    assert (again.calls, path.read_bytes()) == ([], before)


@pytest.mark.parametrize("lost", [1, 2, 7, 40, 100])
def test_a_run_that_was_cut_off_gives_the_same_figures(tmp_path: Path, lost: int) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    draw(whole, HashedEngine())
    lines = whole.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(lines[:-lost]) + lines[-lost][: len(lines[-lost]) // 2])
    draw(cut, HashedEngine())
    assert samples(cut) == samples(whole)
    assert figures(cut) == figures(whole)


def test_a_call_that_was_cut_off_is_drawn_again_whole(tmp_path: Path) -> None:
    path, engine = tmp_path / "a.jsonl", HashedEngine()
    draw(path, HashedEngine(), 2, Needs(ir=3))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    draw(path, engine, 2, Needs(ir=3))
    assert [len(call) for call in engine.calls] == [6]
    assert len(path.read_bytes().splitlines()) == len(lines)  # what was stored stays alone


def test_more_rounds_and_more_problems_are_added(tmp_path: Path) -> None:
    path, engine = tmp_path / "a.jsonl", HashedEngine()
    draw(path, HashedEngine(), 4, Needs(ir=2))
    draw(path, engine, 4, Needs(ir=3))
    assert sum(map(len, engine.calls)) == 4
    draw(path, engine, 6, Needs(ir=3))
    whole = tmp_path / "whole.jsonl"
    draw(whole, HashedEngine(), 6, Needs(ir=3))
    assert samples(path) == samples(whole)


def test_cancelled_what_is_complete_is_kept_and_the_rest_is_not(tmp_path: Path) -> None:
    path, asked = tmp_path / "a.jsonl", 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 60

    told: list[range] = []
    draw(path, HashedEngine(), cancelled=cancelled, on_group=told.append)
    assert 0 < len(samples(path)) < 9 * 12
    assert all(c.finish_reason != "cancelled" for c in samples(path).values())
    draw(path, HashedEngine(), on_group=told.append)
    assert [n for group in told for n in group] == list(range(9))  # each told of once
    whole = tmp_path / "whole.jsonl"
    draw(whole, HashedEngine())
    assert samples(path) == samples(whole)


def test_killed_at_random_moments_it_loses_nothing_that_was_noted(tmp_path: Path) -> None:
    """`python -m tests.eval_killed 50` does the same 50 times."""
    ran = subprocess.run([sys.executable, "-m", "tests.eval_killed", "12", str(tmp_path)],
                         capture_output=True, text=True, timeout=100,
                         cwd=Path(__file__).parents[1],
                         env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("killed 12 times, ")
    whole = tmp_path / "whole.jsonl"
    draw(whole, HashedEngine())
    assert samples(tmp_path / "killed.jsonl") == samples(whole)
    assert figures(tmp_path / "killed.jsonl") == figures(whole)


# --- what is refused ---


@pytest.mark.parametrize(
    ("name", "value"), [("bundle", "other"), ("seed", 1), ("ir.temperature", 0.7), ("new", "x")]
)
def test_another_setting_is_refused_by_name(tmp_path: Path, name: str, value: Any) -> None:
    path = tmp_path / "a.jsonl"
    draw(path, HashedEngine(), 2, Needs(ir=1))
    before = path.read_bytes()
    other = {**SETTINGS, name: value}
    with pytest.raises(InputError) as raised, store.writer(path, "eggs", other, cases(2)):
        pass
    assert raised.value.message == (
        f"{path}: the samples of another run: its {name} is {SETTINGS.get(name)!r}, not {value!r}"
    )
    assert raised.value.hint == REMOVE
    assert path.read_bytes() == before


def test_other_problems_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    draw(path, HashedEngine(), 2, Needs(ir=1))
    with pytest.raises(InputError) as raised, store.writer(path, "x", SETTINGS, cases(3)[1:]):
        pass
    assert raised.value.message == (
        f"{path}: the samples of another run: its problem 1 is "
        "'Ann has 0 eggs and gets 1 more. How many eggs has she?'"
    )


@pytest.mark.parametrize(
    "line",
    ["[]", "x", '{"case": 7, "role": "ir", "round": 1, "by": "", "text": "", "finish_reason": '
     '"stop", "tokens": 1, "seconds": 0}', '{"case": 0}', "[" * 100_000],
)  # fmt: skip
def test_what_is_no_line_of_samples_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    draw(path, HashedEngine(), 1, Needs(ir=1))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError) as raised:
        store.read(path)
    assert raised.value.message == f"{path}:4: not a line of samples (lorid-samples/1)"
    assert raised.value.hint == REMOVE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_a_clear_stop() -> None:
    with pytest.raises(OutputError) as raised:
        draw(Path("/dev/full"), HashedEngine(), 1, Needs(ir=1))
    assert raised.value.message == "/dev/full: cannot be written (No space left on device)"


# --- what lorid solve wrote ---


def test_traces_of_solve_are_read_as_samples(tmp_path: Path) -> None:
    lines = []
    for case in cases(6):
        events = solve(case.question, HashedEngine(), table(), LoopSettings(3, width=1))
        lines.append(json.dumps(finish(events, lambda event: None).as_dict()))
    path = tmp_path / "solved.jsonl"
    path.write_text("\n".join(lines) + "\n")
    contents = store.from_traces(path, cases(6))
    draw(tmp_path / "a.jsonl", HashedEngine(), 6)
    stored = samples(tmp_path / "a.jsonl")
    assert contents.samples
    assert all(t.completion.text == stored[k].text.strip() for k, t in contents.samples.items())
    chosen = methods.parse(methods.SETTLED, 3)
    assert contents.stops == ("same-round", 3)
    both = [findings.replay(sampled.gather(c), chosen).outcomes
            for c in (contents, store.read(tmp_path / "a.jsonl"))]  # fmt: skip
    assert both[0] == both[1]  # what agreed early is played although rounds are missing


def trace(question: str, **more: Any) -> str:
    record = {"question": question, "status": "agreed", "protocol": "same-round", "max_rounds": 3,
              "rounds": []}  # fmt: skip
    return json.dumps(record | more) + "\n"


def test_traces_of_several_runs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "solved.jsonl"
    path.write_text(trace(cases(2)[0].question) + trace(cases(2)[1].question, max_rounds=8))
    with pytest.raises(InputError) as raised:
        store.from_traces(path, cases(2))
    assert raised.value.message == (
        f"{path}: of several runs: same-round, t = 3 and same-round, t = 8"
    )
    assert raised.value.hint == "give the results of one run"


def test_traces_of_other_problems_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "solved.jsonl"
    path.write_text('{"question": "Who?", "status": "agreed"}\n')
    with pytest.raises(InputError) as raised:
        store.from_traces(path, cases(1))
    assert raised.value.message == f"{path}:1: its problem is not one of DATA"
    assert raised.value.hint == "give the data that the problems were taken from"
