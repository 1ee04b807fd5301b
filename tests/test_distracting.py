"""Numbers that are not needed: what is added to a problem, where, and what is left alone."""

import random
import re
from pathlib import Path

import pytest

from lorid_local.base import sha256
from lorid_local.practice.drawing import draw
from lorid_local.practice.families import load
from lorid_local.practice.family import Numbers
from lorid_train import building, built, checking, data_recipe, making, people
from lorid_train.distracting import Borrowed, distracted, lend
from tests.data_problems import RECIPE, data_folder, families

CLIPS = "Emma has 48 clips. She buys 12 more clips at the fair. How many clips does Emma have now?"
TOTAL = "Emma has 48 clips. Molly has 12 clips. How many clips do Emma and Molly have in all?"
NOBODY = "A shelf holds 7 jars in each of 3 rows. How many jars is that?"
HEDGE = Borrowed("{} trims her hedge of 21 feet.", "she", frozenset({"trim", "hedge", "feet"}))
SEEDS = range(400)


def added(question: str, seed: int, lent: tuple[Borrowed, ...] = ()) -> tuple[str, int]:
    """Return what was added to `question` and before which of its sentences."""
    found = distracted(question, random.Random(seed), lent)
    parts = re.split(r"(?<=[.?]) ", question)
    for at in range(len(parts)):
        head, tail = " ".join(parts[:at]), " ".join(parts[at:])
        if found.startswith(head) and found.endswith(tail):
            middle = found[len(head) : len(found) - len(tail)].strip()
            if middle.endswith("."):
                return middle, at
    raise AssertionError(f"not {question!r} and one sentence: {found!r}")


@pytest.mark.parametrize("question", [CLIPS, TOTAL, NOBODY])
def test_one_sentence_with_a_new_number_is_added_and_the_question_stays_last(question: str) -> None:
    for seed in SEEDS:
        sentence, _ = added(question, seed, (HEDGE,))
        numbers = re.findall(r"\d+", sentence)
        assert len(numbers) == 1, sentence
        assert numbers[0] not in re.findall(r"\d+", question)


def test_nothing_comes_between_a_sentence_and_one_that_leans_on_it() -> None:
    assert {added(CLIPS, seed)[1] for seed in SEEDS} == {0, 2}  # never before 'She buys'
    assert {added(TOTAL, seed)[1] for seed in SEEDS} == {0, 1, 2}


def test_another_persons_share_is_told_where_one_persons_is_asked_for_only() -> None:
    told = [added(CLIPS, seed)[0] for seed in SEEDS]
    assert any(s.endswith(" clips.") and "Emma has" not in s for s in told)
    assert not any("clips" in added(TOTAL, seed)[0] for seed in SEEDS)


def test_a_sentence_that_speaks_of_what_the_problem_is_about_is_not_told() -> None:
    years = CLIPS.replace("at the fair", "a year later")
    assert any("years old" in added(CLIPS, seed)[0] for seed in SEEDS)
    assert not any("years old" in added(years, seed)[0] for seed in SEEDS)


def test_a_borrowed_sentence_is_told_of_the_person_here_or_of_a_stranger_whom_it_fits() -> None:
    told = {added(CLIPS, seed, (HEDGE,))[0] for seed in SEEDS}
    names = {s.split()[0] for s in told if "hedge" in s}
    assert "Emma" in names
    assert len(names) > 20
    assert {people.NAMES[name] for name in names} == {"she"}
    # in a question of them all a stranger's hedge may stand, but Emma's could be meant
    told = {added(TOTAL, seed, (HEDGE,))[0] for seed in SEEDS}
    names = {s.split()[0] for s in told if "hedge" in s}
    assert names
    assert not names & {"Emma", "Molly"}


def test_a_borrowed_sentence_that_shares_a_word_or_a_number_or_tells_of_money_stays_away() -> None:
    fair = Borrowed("{} went to the fair 21 times.", "she", frozenset({"went", "fair"}))
    same = Borrowed("{} trims a hedge of 48 feet.", "she", frozenset({"trim", "hedge"}))
    assert not any("fair" in added(CLIPS, seed, (fair,))[0] for seed in SEEDS)
    assert not any("hedge" in added(CLIPS, seed, (same,))[0] for seed in SEEDS)
    purse = Borrowed("{} found $21.", "she", frozenset({"found"}))
    paid = CLIPS.replace("at the fair", "and pays nothing")
    assert any("$21" in added(CLIPS, seed, (purse,))[0] for seed in SEEDS)
    assert not any("$21" in added(paid, seed, (purse,))[0] for seed in SEEDS)


def test_first_sentences_that_stand_alone_are_lent() -> None:
    found = lend(["Emma trims her hedge of 21 feet. How long does that take?"])
    assert found == [HEDGE]


@pytest.mark.parametrize(
    "first",
    [
        "Emma and Molly have 7 clips.",
        "Emma has clips.",
        "If Emma has 7 clips, she is glad.",
        "She has 7 clips.",
        "Emma has 7, 8, and 9 clips in 3 boxes.",
        "Emma has twice as many clips as her 7 friends.",
        "In May Emma had 7 clips.",
        "Emma, who had 7 clips, " + "and a very long story to tell of them " * 3 + "slept.",
    ],
)
def test_what_needs_more_or_tells_of_several_is_not_lent(first: str) -> None:
    assert lend([f"{first} How many is that?"]) == []
    assert lend(["Emma has 7 clips."]) == []  # no sentence behind it: it is the question


def test_rows_of_templates_and_families_are_distracted_and_others_are_not(tmp_path: Path) -> None:
    data_folder(tmp_path)
    families(tmp_path / "families.jsonl", [f"owl-{n}" for n in range(6)])
    texts = {}
    for share, jobs in (("0.0", 1), ("1.0", 1), ("1.0", 2)):
        path = tmp_path / f"r{share}.toml"
        path.write_text(RECIPE.replace("rename = 0.5", f"rename = 0.0\ndistracted = {share}"))
        out = tmp_path / f"{share}-{jobs}"
        building.build(data_recipe.load(path), tmp_path, out, jobs, [].append)
        for name in ("ir", "dr", "heldout"):
            texts[share, jobs, name] = list(built.records(out, name))
    for name in ("ir", "dr", "heldout"):
        assert texts["1.0", 1, name] == texts["1.0", 2, name]
    assert texts["0.0", 1, "heldout"] == texts["1.0", 1, "heldout"]
    plain, more = (
        {r["id"]: len(re.findall(r"[.?](?= |$)", r["prompt_question"])) for r in texts[s, 1, "ir"]}
        for s in ("0.0", "1.0")
    )
    longer = {id: more[id] - plain[id] for id in more if id in plain}
    originals = {r["id"] for r in texts["1.0", 1, "ir"] if r["source"].startswith("original")}
    assert originals
    assert {longer[id] for id in originals} == {0}
    assert {n for id, n in longer.items() if id.startswith("f")} == {1}


def test_families_of_one_step_can_each_be_drawn_and_some_tell_a_number_too_many() -> None:
    one_step = list(load(making.ONE_STEP))
    needless = 0
    for family in one_step:
        drawn = [draw(family, seed) for seed in range(60)]
        assert len(family.steps) == 1
        assert len({problem.numbers for problem in drawn}) >= 20, family.id
        used = set(re.findall(r"\w+", family.steps[0].expression))
        needless += any(isinstance(s, Numbers) and k not in used for k, s in family.slots.items())
    assert len(one_step) == 40
    assert needless == 16


def test_a_recipe_draws_families_of_one_step_beside_its_own(tmp_path: Path) -> None:
    data_folder(tmp_path)
    families(tmp_path / "families.jsonl", ["owl-0", "owl-1"])
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE + "short = { ir = 2, dr = 1 }\n")
    out = tmp_path / "built"
    manifest = building.build(data_recipe.load(path), tmp_path, out, 1, [].append)
    short = [f.id for f in load(making.ONE_STEP)]
    held = {id for id in short if making.held_out(id, 2)}
    assert held
    assert held < set(manifest["heldout_families"])
    trained = {f"family {id}" for id in short} - {f"family {id}" for id in held}
    for name, count in (("ir", 2), ("dr", 1), ("kg", 0)):
        rows = [r for r in built.records(out, name) if r["source"].startswith("family ONE-")]
        assert len(rows) == count * len(trained)
        assert {r["source"] for r in rows} == (trained if count else set())
    assert manifest["inputs_sha256"]["one_step.jsonl"] == sha256(making.ONE_STEP)
    assert checking.check(out, tmp_path).wrong == {}
