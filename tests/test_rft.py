"""`lorid rft`: which of a role's own chains become training rows, and how they are kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorid_local.commands.group import group
from lorid_local.engine import Completion, Request, Role
from lorid_local.errors import InputError, OutputError, TrainError
from lorid_train import built, checking, data_recipe, sampling
from lorid_train.data_recipe import DataRecipe
from lorid_train.sampling import Drawing, from_somewhere, kept
from tests.data_problems import HALF, PENS, SALE, WEEK, data_folder
from tests.scripted import ScriptedEngine
from tests.test_cli import answering_gguf

OWN = "<<8*1.5=12>>\n<<25*2=50>>\n<<12+50=62>>\n#### 62"
OTHER = "<<25*2=50>>\n<<8*1.5=12>>\n<<50+12=62>>\n#### 62"
IR = Drawing(Role.IR, "terse-1", 64, 2, 0.7, 0.9, ("x",), True, 5)
DR = Drawing(Role.DR, "terse-1", 64, 2, 0.7, 0.95)


def done(text: str, reason: Any = "stop") -> Completion:
    return Completion(text, reason, 9)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (OTHER, ""),
        (OWN, "the same calculation"),  # as the worked solution
        (OTHER.replace("62", "63"), "no vote"),  # its arithmetic is false
        ("<<8+25=33>>\n#### 33", "another answer"),
        ("#### 62", "no chain to the answer"),
        ("<<25*2=50>>\n#### 62", "no chain to the answer"),
        ("<<31*2=62>>\n#### 62", "a number from nowhere"),
        ("<<25*2=50>>", "no vote"),
    ],
)
def test_a_chain_is_kept_or_refused_with_the_reason(text: str, why: str) -> None:
    chains, refused = kept(Role.IR, PENS, [done(text)])
    assert (chains, dict(refused)) == (([], {why: 1}) if why else ([OTHER], {}))


def test_equal_chains_are_kept_once_and_cut_off_ones_not() -> None:
    spaced = OTHER.replace("25*2", "25 * 2")
    chains, refused = kept(Role.IR, PENS, [done(OTHER), done(spaced), done(OTHER, "length")])
    assert chains == [OTHER]
    assert refused == {"the same calculation": 1, "no vote": 1}


def test_prose_is_kept_as_it_was_written() -> None:
    text = "Cards are 25*2 = <<25*2=50>>50.\n\nPens  are 8*1.5 = <<8*1.5=12>>12.\nAll is " \
           "50+12 = <<50+12=62>>62.\n#### 62\nmore"  # fmt: skip
    (target,) = kept(Role.DR, PENS, [done(text)])[0]
    assert target == (
        "Cards are 25*2 = <<25*2=50>>50.\nPens are 8*1.5 = <<8*1.5=12>>12.\n"
        "All is 50+12 = <<50+12=62>>62.\n#### 62"
    )


@pytest.mark.parametrize(
    ("question", "chain", "expected"),
    [
        (SALE.question, "<<80*.75=60>>", True),  # what a percent leaves
        (SALE.question, "<<80-20=60>>", False),
        (WEEK.question, "<<7*9=63>>\n<<63*40=2520>>", True),  # a week's days, an earlier result
        (HALF.question, "<<48/2=24>>\n<<24/6=4>>", True),
        (HALF.question, "<<48/12=4>>", False),
    ],
)
def test_every_number_must_come_from_somewhere(question: str, chain: str, expected: bool) -> None:
    assert from_somewhere(question, chain) is expected


class Solver(ScriptedEngine):
    """Writes, for each request, the worked chain with its first step doubled in another way."""

    def __init__(self) -> None:
        super().__init__({})

    def generate(self, requests: Any, *_: Any, **__: Any) -> list[Completion]:
        self.calls.append(tuple(requests))
        return [done(self._text(request)) for request in requests]

    def _text(self, request: Request) -> str:
        for row, text in ((PENS, OTHER), (SALE, "<<80*.75=60>>\n#### 60")):
            if row.question in request.prompt[1].text:
                return text
        return "#### 1"


@pytest.fixture
def recipe(tmp_path: Path) -> DataRecipe:
    return data_recipe.load(data_folder(tmp_path))


def draw(recipe: DataRecipe, root: Path, engine: Any, *drawings: Drawing, **more: Any) -> Any:
    cancelled = more.get("cancelled", lambda: False)
    chosen = list(drawings or (IR, DR))
    return sampling.sample(recipe, root, root / "rft", chosen, engine, cancelled, [].append)


def test_the_kept_chains_are_a_built_folder_that_check_proves(
    recipe: DataRecipe, tmp_path: Path
) -> None:
    engine = Solver()
    manifest = draw(recipe, tmp_path, engine)
    assert manifest["rows"] == {"dr": {"sampled": 2}, "ir": {"sampled": 2}}
    assert manifest["refused"]["sampled ir: the same calculation"] == 2  # each of the two, twice
    assert manifest["refused"]["sampled ir: another answer"] == 6
    assert manifest["refused"]["near a question that is kept away"] == 2
    first, _ = built.records(tmp_path / "rft", "ir")
    assert first == {
        "id": "s0.0", "prompt_question": PENS.question, "knowledge": [], "target": OTHER,
        "source": "sampled train.jsonl:0",
    }  # fmt: skip
    told = list(built.records(tmp_path / "rft", "dr"))[1]
    assert told["knowledge"] == list(SALE.knowledge)
    assert checking.check(tmp_path / "rft", tmp_path).wrong == {}
    # nothing is drawn for what is left out, nor for what is near to it
    texts = "".join(request.prompt[1].text for request in engine.requests)
    assert "owls" not in texts
    assert SALE.knowledge[0] in "".join(r.prompt[1].text for r in engine.of(Role.DR))


def test_requests_are_as_the_bundle_says_with_a_seed_each(
    recipe: DataRecipe, tmp_path: Path
) -> None:
    engine, again = Solver(), Solver()
    draw(recipe, tmp_path, engine, IR)
    (call,) = engine.calls  # all problems' samples at once: the engine's places stay full
    assert len(call) == 2 * 5 and len({request.seed for request in call}) == 10
    assert (call[0].temperature, call[0].top_p, call[0].stop) == (0.7, 0.9, ("x",))
    assert call[0].calculator and call[0].max_tokens == 64 and call[0].top_k == 0
    (tmp_path / "rft" / sampling.DRAWN).unlink()
    draw(recipe, tmp_path, again, replace(IR, top_k=9))
    assert [r.seed for r in again.calls[0]] == [r.seed for r in call]
    assert {r.top_k for r in again.calls[0]} == {9}


def test_it_goes_on_behind_what_was_drawn(
    recipe: DataRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "AT_ONCE", 2)
    first, calls = Solver(), []
    with pytest.raises(KeyboardInterrupt):
        draw(recipe, tmp_path, first, IR, cancelled=lambda: calls.append(0) or len(calls) > 1)
    assert not (tmp_path / "rft/manifest.json").exists()
    lines = (tmp_path / "rft" / sampling.DRAWN).read_text().splitlines()
    assert [json.loads(line)["unit"] for line in lines] == [[0, 0], [0, 1]]
    with (tmp_path / "rft" / sampling.DRAWN).open("a") as file:
        file.write('{"role": "ir"')  # what a kill in the middle of a write leaves
    second = Solver()
    manifest = draw(recipe, tmp_path, second, IR)
    assert len(second.requests) == 2 * 3
    assert manifest["rows"] == {"ir": {"sampled": 2}}
    third = Solver()
    assert draw(recipe, tmp_path, third, IR) == manifest
    assert third.requests == []


def test_drawings_of_another_run_are_refused(recipe: DataRecipe, tmp_path: Path) -> None:
    draw(recipe, tmp_path, Solver(), IR)
    with pytest.raises(TrainError) as caught:
        draw(recipe, tmp_path, Solver(), DR)
    path = tmp_path / "rft" / sampling.DRAWN
    assert caught.value.message == f"{path}: belongs to another run (other recipe or settings)"
    assert caught.value.hint == "choose another --out"


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Drawing(Role.KG, "terse-1", 64, 2, 0.7, 0.9)
    assert caught.value.message == "rules have no answer that could be right"
    with pytest.raises(InputError) as caught:
        Drawing(Role.IR, "terse-1", 64, 2, 0.0, 0.9)
    assert caught.value.message == "2 samples at temperature 0 are all the same"
    none = DataRecipe("x", (), families=data_recipe.Families())
    with pytest.raises(TrainError) as fault:
        draw(none, tmp_path, Solver())
    assert fault.value.message == "the recipe names no [[problems]] to draw chains for"


def test_a_folder_that_cannot_be_written_is_named(recipe: DataRecipe, tmp_path: Path) -> None:
    (tmp_path / "rft").write_text("")
    with pytest.raises(OutputError) as caught:
        draw(recipe, tmp_path, Solver())
    assert caught.value.message == f"{tmp_path / 'rft'}: cannot be written (File exists)"


BUNDLE = """
name = "mine"
description = "d"
licence = "l"
trained = "t"
base = {{ path = "{base}" }}
[roles]
ir = {{ prompt = "terse-1", max_tokens = 12 }}
kg = {{ prompt = "terse-1", max_tokens = 12 }}
dr = {{ prompt = "terse-1", max_tokens = 12 }}
"""


def test_the_command_draws_with_the_bundles_engine(
    recipe: DataRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = answering_gguf(tmp_path / "base.gguf", "#### 4")  # says just that, which is HALF's
    (tmp_path / "bundle.toml").write_text(BUNDLE.format(base=base))
    arguments = ["rft", tmp_path / "tiny.toml", "--data", tmp_path, "--out", tmp_path / "out",
                 "--bundle", tmp_path, "--role", "ir", "-k", 1, "--temp", 0, "-t", 1]  # fmt: skip
    group.main([*map(str, arguments)], prog_name="lorid", standalone_mode=False)
    said = capsys.readouterr()
    assert said.err == "ir: 5 of 5 problems\n"
    assert said.out.splitlines() == [
        "left out: 1 dev_ids.txt",
        "refused: 4 sampled ir: another answer",
        "refused: 1 near a question that is kept away",
        "refused: 1 sampled ir: no chain to the answer",
    ]
    assert not list(built.records(tmp_path / "out", "ir"))
