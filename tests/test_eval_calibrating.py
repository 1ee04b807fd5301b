"""What `lorid eval --calibrate` counts and writes: the rest of a bundle.toml stays as it is."""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorid_local import bundle as bundles
from lorid_local.bundle import Measured
from lorid_local.calibration import Band, Bin, Calibration, Counts
from lorid_local.engine import Role
from lorid_local.errors import InputError, OutputError
from lorid_local.evaluate import bundle_edit, calibrating, writing
from lorid_local.evaluate.bundle_edit import calibrated, save, with_loop, with_measured
from lorid_local.evaluate.methods import Played
from lorid_local.evaluate.policy import Draw
from lorid_local.evaluate.store import Contents
from tests.test_eval_methods import problem


def outcomes(*rounds: tuple[int | None, str]) -> list[Played]:
    """Outcomes by the round they agreed in: 'rr.' are two right and one wrong."""
    return [Played(None, k, k or 1, 1, (0, 0, 0), right=c == "r") for k, cs in rounds for c in cs]


@pytest.mark.parametrize(
    ("given", "rounds", "expected"),
    [
        ([(1, "rrr")], 8, [(1, 1, 3, 3), (2, 8, 0, 0)]),
        ([(1, "r" * 12), (2, "r." * 5), (3, "r" * 11), (4, "..")], 4,
         [(1, 1, 12, 12), (2, 2, 5, 10), (3, 4, 11, 13)]),
        ([(1, "r"), (2, "r" * 4), (3, "." * 7), (4, "r" * 10)], 5,
         [(1, 1, 1, 1), (2, 3, 4, 11), (4, 5, 10, 10)]),
        ([(1, "r")], 1, [(1, 1, 1, 1)]),
        ([(None, "rrr")], 2, [(1, 1, 0, 0), (2, 2, 0, 0)]),
    ],
)  # fmt: skip
def test_bands_have_ten_cases_and_leave_no_gap(
    given: Any, rounds: int, expected: Sequence[tuple[int, int, int, int]]
) -> None:
    found = calibrating.bands(outcomes(*given), rounds)
    assert [(b.first, b.last, b.right, b.n) for b in found] == expected


def test_the_counts_are_those_of_the_loop() -> None:
    problems = [problem([24, 1], [24, 1]), problem([1, 24], [2, 24]), problem([1, 1], [2, 2]),
                problem([24, 24], [1, 2]), problem([1, 1], [1, 1])]  # fmt: skip
    found = calibrating.calibrate(problems, "dev", "same-round", 2)
    assert found == Calibration(
        "dev", "same-round", 2, (Band(1, 1, 1, 2), Band(2, 2, 1, 1)), Counts(1, 2)
    )


def test_each_half_foretells_the_other() -> None:
    right, wrong = problem([24], [24]), problem([1], [1])
    # even places: 3 of 4 right; odd places: 1 of 4 right
    problems = [right, right, right, wrong, right, wrong, wrong, wrong]
    found = calibrating.figures(problems, "same-round", 1)
    assert found and found["error"] == pytest.approx([0.5, 0.5])
    agreed = found["foretold"][0][0]
    assert (agreed["share"], agreed["right"], agreed["n"]) == (0.75, 1, 4)
    same = calibrating.figures([right, right, wrong, wrong] * 4, "same-round", 1)
    assert same and same["error"] == [0, 0]
    assert calibrating.figures([], "same-round", 1) is None


# --- the text ---

HEAD = """# what this is
name = "x"  # its name
description = "d"
licence = "l"
trained = "t"

[base]
path = "base.gguf"

[loop]
# as the paper has it
rounds = 8   # t
protocol = "same-round"

[roles.ir]
prompt = "terse-1"
max_tokens = 128
[roles.kg]
prompt = "terse-1"
max_tokens = 160
[roles.dr]
prompt = "terse-1"
max_tokens = 320
"""
OLD = """
[calibration]
data = "old"
protocol = "pooled"
rounds = 3
agreed = [
    { first = 1, last = 3, right = 1, n = 3 },
]
no_agreement = { right = 1, n = 16 }
"""
MEASURED = """
# the old figures
[[measured]]
method = "IR greedy"
data = "dev"
right = 13
n = 200
"""
NEW = Calibration('GSM8K "dev"', "same-round", 8, (Band(1, 1, 90, 100), Band(2, 8, 6, 10)),
                  Counts(5, 50))  # fmt: skip
WRITTEN = """[calibration]
data = "GSM8K \\"dev\\""
protocol = "same-round"
rounds = 8
agreed = [
    { first = 1, last = 1, right = 90, n = 100 },
    { first = 2, last = 8, right = 6, n = 10 },
]
no_agreement = { right = 5, n = 50 }
"""


def test_bins_are_written_and_read_back(tmp_path: Path) -> None:
    bins = (Bin(0.75, 9, 10), Bin(0.0, 1, 10))
    new = Calibration("dev", "same-round", 1, (Band(1, 1, 10, 20, bins),), Counts(10, 20, bins))
    (tmp_path / "base.gguf").touch()
    path = tmp_path / "bundle.toml"
    path.write_text(HEAD + OLD + MEASURED)
    for calibration in (new, replace(new, agreed=(Band(1, 1, 9, 9),)), NEW, new):
        save(path, calibrated(path.read_text(), calibration), ["calibration"])
        assert bundles.find(str(tmp_path)).contents.calibration == calibration
    assert path.read_text().endswith(MEASURED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HEAD + OLD + MEASURED, HEAD + "\n" + WRITTEN + MEASURED),
        (HEAD + OLD, HEAD + "\n" + WRITTEN),
        (HEAD, HEAD + "\n" + WRITTEN),
        (OLD.lstrip() + "# end\n", WRITTEN + "# end\n"),
        (HEAD + MEASURED, HEAD + "\n" + WRITTEN + MEASURED),
    ],
)  # fmt: skip
def test_the_calibration_alone_is_replaced(before: str, after: str) -> None:
    assert calibrated(before, NEW) == after
    assert calibrated(after, NEW) == after  # twice is once


def test_the_loops_values_alone_are_replaced() -> None:
    expected = HEAD.replace("rounds = 8   # t", "rounds = 3   # t").replace("same-round", "pooled")
    assert with_loop(HEAD, "pooled", 3) == expected
    without = HEAD.replace("rounds = 8   # t\n", "")
    assert tomllib.loads(with_loop(without, "pooled", 3))["loop"] == {
        "rounds": 3, "protocol": "pooled"}  # fmt: skip
    bare = 'name = "x"\n'
    assert tomllib.loads(with_loop(bare, "pooled", 3)) == {
        "name": "x", "loop": {"rounds": 3, "protocol": "pooled"}}  # fmt: skip


def test_figures_of_an_earlier_choice_are_replaced() -> None:
    once = with_measured(HEAD + MEASURED, [Measured("lorid@3 (chosen on this half)", "dev", 1, 2)])
    assert once.startswith((HEAD + MEASURED).rstrip("\n"))
    twice = with_measured(once, [Measured("lorid@4 (chosen on this half)", "dev", 2, 2)])
    assert [m["method"] for m in tomllib.loads(twice)["measured"]] == [
        "IR greedy", "lorid@4 (chosen on this half)"]  # fmt: skip


def test_a_bundle_is_written_whole_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "bundle.toml"
    path.write_text(HEAD + OLD + MEASURED)
    save(path, calibrated(path.read_text(), NEW), ["calibration"])
    assert bundles.find(str(tmp_path)).contents.calibration == NEW
    assert list(tmp_path.iterdir()) == [path]


def test_a_change_of_anything_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle.toml"
    path.write_text(HEAD)
    with pytest.raises(OutputError) as raised:
        save(path, HEAD.replace("128", "129"), ["calibration"])
    assert raised.value.message == f"{path}: [roles] would change too: nothing was written"
    assert raised.value.hint == (
        "write the tables of bundle.toml one below the other, each under its [name]"
    )
    assert path.read_text() == HEAD


def test_a_bundle_that_cannot_be_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle.toml"
    path.write_text(HEAD)
    (tmp_path / f".bundle.toml.{os.getpid()}.part").mkdir()
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # it is no file
    with pytest.raises(OutputError) as raised:
        save(path, calibrated(HEAD, NEW), ["calibration"])
    assert raised.value.message == f"{path}: cannot be written (File exists)"
    assert raised.value.hint == "copy the bundle to a folder that you may write to, and give that"
    assert path.read_text() == HEAD


# --- what may be written ---


def bundle(tmp_path: Path, rounds: int = 2) -> bundles.Bundle:
    (tmp_path / "bundle.toml").write_text(HEAD.replace("rounds = 8", f"rounds = {rounds}"))
    return bundles.find(str(tmp_path))


PROBLEMS = [problem([24, 1], [24, 1]), problem([1, 24], [2, 24])] * 6
OWN = {"bundle": "x", "seed": 0, "ir.temperature": 0.7}


def calibrate(chosen: bundles.Bundle, settings: dict[str, Any], figures: Any = None,
              policy: bool = False, draws: Sequence[Draw] = (Draw(PROBLEMS),)) -> str:  # fmt: skip
    contents = Contents("dev", settings)
    return writing.calibrate(chosen, OWN, contents, figures or {}, draws, policy=policy)


def test_calibrating_writes_the_counts_and_says_so(tmp_path: Path) -> None:
    chosen = bundle(tmp_path)
    said = calibrate(chosen, {**OWN, "seed": 7, "bundle": "a copy"})
    assert said == f"Calibrated {tmp_path / 'bundle.toml'} on 12 problems"
    found = bundles.find(str(tmp_path)).contents.calibration
    assert found == Calibration("dev", "same-round", 2, (Band(1, 1, 6, 6), Band(2, 2, 6, 6)),
                                Counts(0, 0))  # fmt: skip


def test_samples_of_other_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        calibrate(bundle(tmp_path), {**OWN, "ir.temperature": 1.0})
    assert raised.value.message == (
        f"the samples were not drawn with {tmp_path} as it is: their ir.temperature is 1.0, the "
        "bundle's is 0.7"
    )
    assert raised.value.hint == "draw samples without flags that change the bundle's settings"


def test_too_few_rounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        calibrate(bundle(tmp_path, 3), OWN)
    assert raised.value.message == "no problem has 3 whole rounds, which the bundle's loop draws"
    assert raised.value.hint == "--rounds 3"


def test_the_policy_becomes_the_default_with_both_halves(tmp_path: Path) -> None:
    halves = {"first": {"right": 5, "n": 6}, "second": {"right": 4, "n": 6}}
    rule = {"method": "pooled@1", "kind": "pooled", "t": 1, "draw": 0, **halves}
    figures = {"policy": {"loop": "pooled@1", "rules": [rule]}}
    said = calibrate(bundle(tmp_path), OWN, figures, policy=True)
    assert said == (
        f"Calibrated {tmp_path / 'bundle.toml'} on 12 problems, its loop set to pooled, t = 1"
    )
    found = bundles.find(str(tmp_path)).contents
    assert (found.loop.protocol, found.loop.rounds) == ("pooled", 1)
    assert found.calibration and found.calibration.protocol == "pooled"
    assert [(m.method, m.right, m.n) for m in found.measured] == [
        ("pooled@1 (chosen on this half)", 5, 6),
        ("pooled@1 (confirmed on this half)", 4, 6),
    ]
    with pytest.raises(InputError) as raised:
        calibrate(bundle(tmp_path), OWN, {"policy": None}, policy=True)
    assert raised.value.message == "too few problems to choose a stopping rule on"
    assert raised.value.hint == "two or more are needed"


def test_the_policy_may_change_the_temperature(tmp_path: Path) -> None:
    rule = {"method": "lorid@2 at T = 1", "kind": "lorid", "t": 2, "draw": 1,
            "first": {"right": 5, "n": 6}, "second": {"right": 4, "n": 6}}  # fmt: skip
    figures = {"policy": {"loop": "lorid@2 at T = 1", "rules": [rule]}}
    settings = {f"{role}.{key}": value for role in ("ir", "kg", "dr")
                for key, value in (("temperature", 1), ("top_p", 0.9))}  # fmt: skip
    hot = Draw([problem([24], [24])] * 2 + [problem([1, 2], [3, 2])] * 3, "T = 1", settings)
    said = calibrate(bundle(tmp_path), OWN, figures, policy=True, draws=[Draw(PROBLEMS), hot])
    assert said == (
        f"Calibrated {tmp_path / 'bundle.toml'} on 3 problems, its loop set to same-round, t = 2 "
        "at T = 1"
    )
    found = bundles.find(str(tmp_path)).contents
    assert [(found.roles.of(r).temperature, found.roles.of(r).top_p) for r in Role] == [
        (1.0, 0.9)] * 3  # fmt: skip
    assert [found.roles.of(r).max_tokens for r in Role] == [128, 160, 320]
    assert found.calibration and found.calibration.agreed[1] == Band(2, 2, 0, 3)
    assert [(m.method, m.right, m.n) for m in found.measured] == [
        ("lorid@2 at T = 1 (chosen on this half)", 5, 6),
        ("lorid@2 at T = 1 (confirmed on this half)", 4, 6),
    ]
    again = bundle_edit.with_roles((tmp_path / "bundle.toml").read_text(), settings, warm=False)
    assert again == (tmp_path / "bundle.toml").read_text()


def test_the_policy_may_leave_out_the_greedy_round_and_ask_for_votes(tmp_path: Path) -> None:
    rule = {"method": "warm-pooled-3@2", "kind": "warm-pooled-3", "t": 2, "draw": 0,
            "first": {"right": 5, "n": 6}, "second": {"right": 4, "n": 6}}  # fmt: skip
    figures = {"policy": {"loop": "warm-pooled-3@2", "rules": [rule]}}
    warm = Draw([problem([1, 24, 24], [2, 24, 24])] * 4 + [problem([24, 1, 2], [24, 3, 4])] * 3)
    said = calibrate(bundle(tmp_path), OWN, figures, policy=True, draws=[warm])
    assert said == (
        f"Calibrated {tmp_path / 'bundle.toml'} on 7 problems, its loop set to pooled-3, t = 2, "
        "no greedy round"
    )
    found = bundles.find(str(tmp_path)).contents
    assert (found.loop.protocol, found.loop.rounds) == ("pooled-3", 2)
    assert [found.roles.of(r).greedy_first for r in Role] == [False] * 3
    assert found.roles.ir.temperature == 0.7  # as it was
    assert found.calibration and found.calibration.agreed == (Band(1, 1, 0, 0), Band(2, 2, 4, 4))
    assert found.calibration.no_agreement == Counts(0, 3)


def test_tables_within_a_line_are_not_edited(tmp_path: Path) -> None:
    chosen = bundle(tmp_path)
    path = tmp_path / "bundle.toml"
    text = path.read_text().replace("[base]", "calibration = { data = 1 }\n[base]")
    path.write_text(text)
    with pytest.raises(OutputError) as raised:
        calibrate(chosen, OWN)
    assert raised.value.message == f"{path}: cannot be edited: nothing was written"
    assert raised.value.hint == (
        "write the tables of bundle.toml one below the other, each under its [name]"
    )
    assert path.read_text() == text


def test_the_words_for_the_halves_are_found_again() -> None:
    assert bundle_edit.CHOSEN != bundle_edit.CONFIRMED
