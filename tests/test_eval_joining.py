"""Parts of a run that processes of their own drew: two files read as one, or refused."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorid_local.engine import Role
from lorid_local.errors import InputError, OutputError
from lorid_local.evaluate import findings, joining, methods, running, sampled, sampling, store
from lorid_local.evaluate.cases import Case, Choice
from lorid_local.evaluate.running import Asked
from lorid_local.evaluate.store import Contents
from tests.eval_engine import NEEDS, SETTINGS, HashedEngine, cases, draw
from tests.scripted import table

APART = "give files of one run's parts, as --skip and --count cut them"


def part(
    path: Path,
    todo: list[Case],
    data: str = "eggs",
    engine: HashedEngine | None = None,
    **more: Any,
) -> Path:
    """Draw these problems into a file of their own."""
    settings: Mapping[str, Any] = SETTINGS | more
    with store.writer(path, data, settings, todo) as writer:
        sampling.draw(engine or HashedEngine(), todo, NEEDS, table(), writer)
    return path


def figures(contents: Contents) -> dict[str, Any]:
    chosen = methods.parse([*methods.SETTLED, "majority@3", "dr+other"], 3)
    replayed = findings.replay(sampled.gather(contents), chosen)
    found = findings.figures(contents, replayed, wanted=8, rounds=3, protocol="same-round")
    for row in found["methods"]:
        row["seconds"] = 0.0
    return found


def test_two_parts_are_what_one_process_draws(tmp_path: Path) -> None:
    whole = store.read(part(tmp_path / "whole.jsonl", cases(8)))
    a, b = (part(tmp_path / f"{i}.jsonl", cases(8)[4 * i : 4 * i + 4]) for i in range(2))
    joined = joining.join([a, b])
    assert (joined.data, joined.settings) == ("eggs", dict(SETTINGS))
    assert [c.question for c in joined.cases] == [c.question for c in whole.cases]
    texts = {key: taken.completion for key, taken in joined.samples.items()}
    assert texts == {key: taken.completion for key, taken in whole.samples.items()}
    assert figures(joined) == figures(whole)


def test_a_part_may_be_unfinished_or_of_other_data(tmp_path: Path) -> None:
    a = part(tmp_path / "a.jsonl", cases(4))
    b = part(tmp_path / "b.jsonl", cases(8)[4:], data="hens")
    lines = b.read_bytes().splitlines(keepends=True)
    b.write_bytes(b"".join(lines[:20]) + lines[20][:9])
    joined = joining.join([a, b])
    assert (joined.data, len(joined.cases)) == ("eggs and hens", 8)
    assert len(joined.samples) == 4 * 12 + 20 - 5
    # its writer may be at work: reading changes nothing
    assert b.read_bytes() == b"".join(lines[:20]) + lines[20][:9]


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 1), ("ir.temperature", 0.9), ("base_type", "q8_0")]
)
def test_parts_of_other_settings_are_refused_by_name(
    tmp_path: Path, name: str, value: object
) -> None:
    a = part(tmp_path / "a.jsonl", cases(2))
    b = part(tmp_path / "b.jsonl", cases(4)[2:], **{name: value})
    with pytest.raises(InputError) as raised:
        joining.join([a, b])
    assert raised.value.message == (
        f"{b}: drawn with other settings than {a}: its {name} is {value!r}, not "
        f"{SETTINGS.get(name)!r}"
    )
    assert raised.value.hint == APART


def test_a_problem_in_two_parts_is_refused(tmp_path: Path) -> None:
    a, b = part(tmp_path / "a.jsonl", cases(3)), part(tmp_path / "b.jsonl", cases(4)[2:])
    with pytest.raises(InputError) as raised:
        joining.join([a, b])
    assert raised.value.message == (
        f"{b}: its problem 'Ann has 2 eggs and gets 1 more. How many eggs has she?' is in {a} too "
        "and would count twice"
    )
    assert raised.value.hint == APART
    with pytest.raises(InputError) as raised:
        joining.join([a, a])
    assert (raised.value.message, raised.value.hint) == (f"{a}: given twice", APART)


# --- other temperatures ---

ALIKE = "draw them for the same problems with another --temp or --top-p alone"
WARM: dict[str, Any] = {f"{role}.temperature": 0.5 for role in Role}
HOT: dict[str, Any] = {f"{role}.temperature": 1.0 for role in Role}


def test_the_same_problems_at_other_temperatures(tmp_path: Path) -> None:
    whole = store.read(part(tmp_path / "own.jsonl", cases(4), **WARM))
    turned = [cases(9)[n] for n in (3, 8, 0, 2)]
    a = part(tmp_path / "a.jsonl", turned, **HOT)
    b = part(tmp_path / "b.jsonl", cases(2)[1:], **HOT)
    c = part(tmp_path / "c.jsonl", cases(4), **WARM | {"ir.temperature": 2, "kg.top_p": 0.5})
    found = joining.beside([a, c, b], whole)
    assert list(found) == ["T = 1", "ir.temperature = 2, kg.top_p = 0.5"]
    hot = found["T = 1"]
    assert hot.cases is whole.cases
    # the texts follow from the prompts alone here: as if drawn in the order of `whole`
    expected = {key: taken.completion.text for key, taken in whole.samples.items()}
    alike = {key: t.completion.text for key, t in hot.samples.items() if key.by != "other"}
    assert alike == {key: text for key, text in expected.items() if key.by != "other"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "of the same temperature as DATA"),
        ({**HOT, "seed": 1},
         "not only another temperature: its seed is 1, that of DATA is 0"),
        ({**HOT, "base_type": "q8_0"},
         "not only another temperature: its base_type is 'q8_0', that of DATA is None"),
    ],
)  # fmt: skip
def test_what_is_no_other_temperature_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    whole = store.read(part(tmp_path / "own.jsonl", cases(2), **WARM))
    path = part(tmp_path / "a.jsonl", cases(2), **WARM | changes)
    with pytest.raises(InputError) as raised:
        joining.beside([path], whole)
    assert (raised.value.message, raised.value.hint) == (f"{path}: {message}", ALIKE)


@pytest.mark.parametrize("text", [None, "", '{"question": "How many?", "answer": 1}\n'])
def test_what_is_no_file_of_samples_is_refused_as_another_temperature(
    tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "a.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError) as raised:
        joining.beside([path], Contents())
    assert raised.value.message == f"{path}: no file of samples, as --also takes them"
    assert raised.value.hint == ALIKE


def test_a_problem_that_was_not_drawn_at_the_other_temperature_is_named(tmp_path: Path) -> None:
    whole = store.read(part(tmp_path / "own.jsonl", cases(3), **WARM))
    path = part(tmp_path / "a.jsonl", cases(2), **HOT)
    with pytest.raises(InputError) as raised:
        joining.beside([path], whole)
    assert raised.value.message == (
        "the samples at T = 1 lack the problem "
        "'Ann has 2 eggs and gets 1 more. How many eggs has she?' of DATA"
    )
    assert raised.value.hint == ALIKE


def test_rules_at_each_temperature_are_told_with_both_halves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, hot = (
        str(part(tmp_path / f"{n}.jsonl", cases(8), engine=HashedEngine(skill), **warmth))
        for n, skill, warmth in ((0, 10, WARM), (1, 90, HOT))
    )
    asked = Asked((own,), methods="lorid@3,ir", also=(Path(hot),))
    assert running.run(replace(asked, as_json=True)) == 0
    found = json.loads(capsys.readouterr().out)["policy"]
    assert [d["at"] for d in found["draws"]] == ["", "T = 1"]
    assert found["loop"].endswith(" at T = 1")
    (rule,) = [r for r in found["rules"] if r["method"] == found["loop"]]
    assert (rule["draw"], rule["first"]["n"], rule["second"]["n"]) == (1, 4, 4)
    assert rule["first"]["right"] >= 3
    assert running.run(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:20].strip() for line in lines if " tokens, then " in line] == [
        "of all", "that solve knows", "at the bundle's T", "at T = 1"]  # fmt: skip


def test_a_temperature_whose_rounds_are_not_all_drawn_is_refused(tmp_path: Path) -> None:
    own = part(tmp_path / "own.jsonl", cases(4), **WARM)
    hot = part(tmp_path / "hot.jsonl", cases(4), **HOT)
    lines = hot.read_bytes().splitlines(keepends=True)
    hot.write_bytes(b"".join(line for line in lines if b'"role": "dr"' not in line))
    with pytest.raises(InputError) as raised:
        running.run(Asked((str(own),), methods="ir", also=(hot,)))
    assert raised.value.message == "the samples at T = 1 lack a whole round of some problems"
    assert raised.value.hint == "let lorid eval draw the rest of them first"


# --- the command ---


def test_the_command_reads_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = part(tmp_path / "a.jsonl", cases(4)), part(tmp_path / "b.jsonl", cases(8)[4:])
    assert running.run(Asked((str(a), str(b)), methods="lorid@3,ir", as_json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["data"], found["problems"], found["wanted"]) == ("eggs", 8, 8)


def test_problems_beside_samples_are_refused(tmp_path: Path) -> None:
    a = part(tmp_path / "a.jsonl", cases(2))
    with pytest.raises(InputError) as raised:
        running.run(Asked((str(a), "practice:")))
    assert raised.value.message == "practice: is no file of samples, and several DATA were given"
    assert raised.value.hint == (
        "lorid eval DATA -o A.jsonl draws; lorid eval A.jsonl B.jsonl reads both"
    )


@pytest.mark.parametrize(
    ("flag", "given"),
    [
        ("--count", {"choice": Choice(count=3)}),
        ("--skip", {"choice": Choice(skip=3)}),
        ("--lines", {"choice": Choice(lines=Path("x"))}),
        ("--rules-file", {"choice": Choice(rules=Path("x"))}),
        ("--solved", {"solved": Path("x")}),
        ("-o/--output", {"output": Path("x")}),
    ],
)
def test_what_says_what_to_draw_is_refused_with_samples(
    tmp_path: Path, flag: str, given: dict[str, Any]
) -> None:
    a = part(tmp_path / "a.jsonl", cases(2))
    with pytest.raises(InputError) as raised:
        running.run(Asked((str(a),), **given))
    assert raised.value.message == f"{flag} was given with {a}, whose samples are drawn"
    assert raised.value.hint == "give the data that they were drawn for, or leave the flag out"


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "a.jsonl"
    code = (
        "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:  # fmt: skip
        assert other.stdout and other.stdout.readline()
        with pytest.raises(OutputError) as raised:
            draw(path, HashedEngine(), 2)
        other.communicate(b"\n")
    assert raised.value.message == f"{path}: another process is writing to it"
    assert raised.value.hint == "wait for it, or give another file with -o/--output"
    draw(path, HashedEngine(), 2)
