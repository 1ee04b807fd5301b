"""`lorid data build`, `show` and `check`: what is made, that it repeats, and what check finds."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorid_local.base import sha256
from lorid_local.commands.group import group
from lorid_local.errors import OutputError, SettingsError, TrainError
from lorid_train import building, built, checking, data_recipe, showing
from tests.data_problems import PENS, WEEK, data_folder, families

IDS = [f"owl-{n}" for n in range(6)]
Records = list[dict[str, Any]]
Silent = [].append


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    data_folder(folder)
    families(folder / "families.jsonl", IDS)
    return folder


def build(root: Path, out: Path, jobs: int = 1) -> dict[str, Any]:
    return building.build(data_recipe.load(root / "tiny.toml"), root, out, jobs, Silent)


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built")
    build(root, out)
    return out


def read(folder: Path, name: str) -> Records:
    return list(built.records(folder, name))


def test_the_manifest_counts_what_is_there_and_why_the_rest_is_not(root: Path, made: Path) -> None:
    manifest = built.manifest(made)
    assert manifest["format"] == "lorid-data/1"
    for name in ("ir", "kg", "dr", "heldout"):
        assert sum(manifest["rows"][name].values()) == len(read(made, name)) > 0
    # four problems, two copies each; the seventh has a false answer
    assert manifest["rows"]["ir"]["original"] == 8
    assert manifest["rows"]["dr"]["original"] == manifest["rows"]["kg"]["original"] == 4
    assert manifest["rows"]["ir"]["template"] == 24
    assert manifest["rows"]["dr"]["template"] == 12
    assert manifest["left_out"] == {"dev_ids.txt": 1}
    assert manifest["templates"] == {"problems": 5, "made": 4}
    assert manifest["refused"] == {
        "original: no verified chain": 2,
        "original: no rules": 1,
        "overlap: same masked text as dev_ids.txt": 1,
        "template: the last result is not the answer": 1,
    }
    assert manifest["inputs_sha256"].keys() == {
        "test.jsonl", "train.jsonl", "rules.jsonl", "dev_ids.txt", "families.jsonl",
    }  # fmt: skip
    assert manifest["inputs_sha256"]["train.jsonl"] == sha256(root / "train.jsonl")
    for name, digest in manifest["outputs_sha256"].items():
        assert digest == sha256(made / name)
        assert manifest["outputs_bytes"][name] == (made / name).stat().st_size


def test_rows_are_what_each_role_learns(made: Path) -> None:
    ir, kg, dr = (read(made, name) for name in ("ir", "kg", "dr"))
    first = {row["id"]: row for row in ir}["o0.0"]
    assert first == {
        "id": "o0.0", "prompt_question": PENS.question, "knowledge": [],
        "target": "<<8*1.5=12>>\n<<25*2=50>>\n<<12+50=62>>\n#### 62",
        "source": "original train.jsonl:0",
    }  # fmt: skip
    rules = {row["id"]: row["target"] for row in kg}
    assert rules["o3.0"] == WEEK.knowledge[0]
    told = {row["id"]: row for row in dr}["o3.0"]
    assert told["target"] == f"{WEEK.rationale}\n#### 2520"
    given = {tuple(row["knowledge"]) for row in dr if row["id"].startswith(("o", "t"))}
    assert {(), tuple(WEEK.knowledge)} <= given  # a share of DR's rules is spoiled
    sources = {row["source"].partition(" ")[0] for row in [*ir, *dr]}
    assert sources == {"original", "template", "family"}


def test_held_out_families_are_in_their_own_file_alone(made: Path) -> None:
    held = set(built.manifest(made)["heldout_families"])
    assert held and held < set(IDS)
    trained = {row["source"] for name in ("ir", "kg", "dr") for row in read(made, name)}
    assert {f"family {id}" for id in IDS} & trained == {f"family {id}" for id in set(IDS) - held}
    assert {row["source"] for row in read(made, "heldout")} == {f"family {id}" for id in held}


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_bytes_are_the_same_again_and_in_more_processes(
    root: Path, made: Path, tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BATCH", 2)
    build(root, tmp_path / "out", jobs)
    for name in ("ir.jsonl.gz", "kg.jsonl.gz", "dr.jsonl.gz", "heldout.jsonl.gz", "manifest.json"):
        assert (tmp_path / "out" / name).read_bytes() == (made / name).read_bytes(), name
    assert (made / "ir.jsonl.gz").read_bytes()[4:8] == bytes(4)  # gzip's time


def test_another_seed_draws_other_numbers(root: Path, made: Path, tmp_path: Path) -> None:
    recipe = root / "other.toml"
    recipe.write_text((root / "tiny.toml").read_text().replace("seed = 3", "seed = 4"))
    building.build(data_recipe.load(recipe), root, tmp_path, 1, Silent)
    one, other = ({r["prompt_question"] for r in read(f, "ir")} for f in (made, tmp_path))
    assert len(one & other) < len(one) / 2


def test_nothing_wrong_is_found_in_what_was_built(root: Path, made: Path) -> None:
    report = checking.check(made, root)
    rows = {name: len(read(made, name)) for name in ("ir", "kg", "dr", "heldout")}
    assert report.lines() == [
        *(f"{name}: {count} rows" for name, count in rows.items()),
        "questions kept away from: 2",
        "nothing wrong",
    ]


def tampered(made: Path, to: Path, name: str, change: Callable[[dict[str, Any]], object]) -> Path:
    """Copy a built folder with the first row of `name` changed, its hashes set right."""
    to.mkdir()
    for path in made.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    rows = read(made, name)
    change(rows[0])
    with gzip.open(to / f"{name}.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    manifest = built.manifest(made)
    manifest["outputs_sha256"][f"{name}.jsonl.gz"] = sha256(to / f"{name}.jsonl.gz")
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


DEV = "Zoe has 71 owls and sells 30 owls. How many owls does she keep?"
NEAR = "rows near a question that is kept away"
CHAIN = "chains that do not verify"


@pytest.mark.parametrize(
    ("name", "change", "kind"),
    [
        ("ir", {"source": "template train.jsonl:4"}, "rows from a line that is left out"),
        ("ir", {"prompt_question": DEV}, NEAR),
        ("ir", {"prompt_question": "A ship has 3 masts. How many?"}, NEAR),
        ("ir", {"source": "family {held}"}, "rows of a held-out family"),
        ("heldout", {"source": "family owl-none"}, "held-out rows of a family for training"),
        ("heldout", {"question": DEV}, NEAR),
        ("ir", {"target": "<<8*1.5=13>>\n#### 13"}, CHAIN),
        ("dr", {"target": "<<8*1.5=12>>\n#### 13"}, CHAIN),
        ("ir", {"target": "<<8*1.5=12>>"}, CHAIN),
        ("ir", {"target": "#### 13"}, CHAIN),
        ("ir", {"target": "<<8*1.5=12>>\n#### many"}, CHAIN),
        ("kg", {"target": " "}, "rows without rules"),
    ],
)
def test_every_violation_is_found(
    root: Path, made: Path, tmp_path: Path, name: str, change: dict[str, str], kind: str
) -> None:
    held = built.manifest(made)["heldout_families"][0]
    values = {key: text.replace("{held}", held) for key, text in change.items()}
    folder = tampered(made, tmp_path / "bad", name, lambda row: row.update(values))
    report = checking.check(folder, root)
    first = read(folder, name)[0]["id"]
    assert report.wrong == {kind: [f"{name} {first}"]}
    assert report.lines()[-2:] == [f"WRONG: 1 {kind}: {name} {first}", "not fit for training"]


def test_inputs_that_changed_and_a_recipe_without_test_sets_are_wrong(
    root: Path, tmp_path: Path
) -> None:
    for path in root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(recipe.read_text().replace('overlap = ["test.jsonl"]', "overlap = []"))
    build(tmp_path, tmp_path / "out")
    (tmp_path / "rules.jsonl").write_text("")
    assert checking.check(tmp_path / "out", tmp_path).wrong == {
        "test sets": ["the recipe names none"],
        "inputs that changed since": ["rules.jsonl"],
    }


def test_many_violations_are_shortened() -> None:
    report = checking.Report()
    for at in range(12):
        report.add("rows", str(at))
    assert report.lines()[1] == "WRONG: 12 rows: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "{path}: No such file or directory"),
        ("{", "{path}: not JSON: Expecting property name enclosed in double quotes: line 1 "
         "column 2 (char 1)"),
        ("[]", "{path}: expected format lorid-data/1"),
        ('{"format": "x"}', "{path}: expected format lorid-data/1"),
    ],
)  # fmt: skip
def test_a_folder_without_a_manifest_is_refused(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TrainError) as caught:
        built.manifest(tmp_path)
    assert caught.value.message == message.format(path=path)
    assert caught.value.hint == f"lorid data build RECIPE.toml --data DIR --out {tmp_path}"


def test_files_that_are_not_the_manifests_are_refused(made: Path, tmp_path: Path) -> None:
    folder = tampered(made, tmp_path / "bad", "kg", lambda row: None)
    (folder / "ir.jsonl.gz").write_bytes(b"")
    with pytest.raises(TrainError) as caught:
        read(folder, "ir")
    assert caught.value.message == f"{folder / 'ir.jsonl.gz'}: differs from its manifest"
    (folder / "ir.jsonl.gz").unlink()
    with pytest.raises(TrainError) as caught:
        read(folder, "ir")
    assert caught.value.message == f"{folder / 'ir.jsonl.gz'}: no such file"


def test_a_failed_build_leaves_no_manifest_of_the_one_before(root: Path, tmp_path: Path) -> None:
    build(root, tmp_path / "out")
    (tmp_path / "out/kg.jsonl.gz.part").mkdir()
    with pytest.raises(OutputError) as caught:
        build(root, tmp_path / "out")
    assert caught.value.message == f"{tmp_path / 'out'}: cannot be written (Is a directory)"
    assert caught.value.hint == "choose --out"
    assert not (tmp_path / "out/manifest.json").exists()


FAULTS = [
    ("[problems.templates]\nkg = 1", "problems[0]: templates.kg must be 0: new numbers do not "
     "change the rules"),
    ("[problems.originals]\nir = -1", "problems[0].originals: counts are 0 or more"),
    ("format = 'csv'", "problems[0].format: expected one of gsm8k, authors, math, got 'csv'"),
    ("[families]\nheldout = 1", "families: heldout is 0 or 2 and more, heldout_draws 0 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fault"), FAULTS)
def test_a_faulty_data_recipe_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f"name = 'r'\noverlap = []\n[[problems]]\nsource = 's'\n{text}\n")
    with pytest.raises(SettingsError) as caught:
        data_recipe.load(path)
    assert caught.value.message == f"{path}: {fault}"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("", "nothing to build: give [[problems]] or [families]"),
        ("rename = 2.0\n[families]", "rename is a share in [0, 1], got 2.0"),
        ("imperfect_rules = -1\n[families]", "imperfect_rules is a share in [0, 1], got -1.0"),
        ("distracted = 1.5\n[families]", "distracted is a share in [0, 1], got 1.5"),
    ],
)
def test_a_data_recipe_of_nothing_or_with_wrong_shares(
    tmp_path: Path, line: str, fault: str
) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f"name = 'r'\noverlap = []\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        data_recipe.load(path)
    assert caught.value.message == f"{path}: file: {fault}"


def test_a_data_recipe_is_a_toml_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        data_recipe.load(tmp_path / "r.yaml")
    assert caught.value.message == f"{tmp_path / 'r.yaml'}: a recipe is a .toml file"


def test_rows_are_shown_to_read_the_same_for_the_same_seed(made: Path) -> None:
    one, same, other = (list(showing.shown(made, "dr", 4, seed)) for seed in (1, 1, 2))
    assert one == same != other
    head = [line for line in one if not line.startswith("\ndr")]
    assert "templates: 4 of 5 problems (80.0%)" in head
    assert "left out: 1 dev_ids.txt" in head
    rows = [line for line in one if line.startswith("\ndr")]
    assert len(rows) == 4
    assert all(question in [r["prompt_question"] for r in read(made, "dr")]
               for question in (row.splitlines()[2] for row in rows))  # fmt: skip
    assert all("\n->\n" in row and "\n#### " in row for row in rows)
    everything = "\n".join(showing.shown(made, None, 1, 0))
    assert all(f"\n{name} " in everything for name in ("ir", "kg", "dr", "heldout"))
    assert "\n- " not in everything and "Rules:\n  - " in "\n".join(
        showing.shown(made, "dr", 50, 0)
    )


Capture = pytest.CaptureFixture[str]


def lorid(*arguments: object) -> Any:
    return group.main(["data", *map(str, arguments)], prog_name="lorid", standalone_mode=False)


def test_the_commands_build_show_and_check(root: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    lorid("build", root / "tiny.toml", "--data", root, "--out", out, "--jobs", 2)
    said = capsys.readouterr()
    assert said.err == "12 problems and families; kept away from 2 questions\n"
    summary = said.out.splitlines()
    assert summary[0].startswith("dr: ") and "original" in summary[0]
    assert "refused: 2 original: no verified chain" in summary
    lorid("show", out, "--role", "kg", "--count", 1)
    assert capsys.readouterr().out.splitlines()[: len(summary)] == summary
    with pytest.raises(SystemExit) as end:
        lorid("check", out, "--data", root)
    assert end.value.code == 0
    assert capsys.readouterr().out.endswith("nothing wrong\n")
    bad = tampered(out, tmp_path / "bad", "kg", lambda row: row.update(target=""))
    with pytest.raises(SystemExit) as end:
        lorid("check", bad, "--data", root)
    assert end.value.code == 1
    assert capsys.readouterr().out.endswith("not fit for training\n")
