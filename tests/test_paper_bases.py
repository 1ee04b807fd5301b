"""The paper's five bases: recipes and templates load, and a MATH template votes on LaTeX."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from lorid_local import loop, settings
from lorid_local.bundle import BundleFile, installed
from lorid_local.engine import Role
from lorid_train import recipe
from tests.scripted import ScriptedEngine

SPEC = importlib.util.find_spec("lorid_models")
(FOLDER,) = SPEC.submodule_search_locations if SPEC else [""]  # type: ignore[misc]
TEMPLATES = sorted((Path(FOLDER) / "templates").glob("*.toml"))
RECIPES = sorted((Path(__file__).parents[1] / "train/recipes").glob("paper-*.toml"))
PROFILES = {"llama2", "llama3", "mistral", "qwen", "deepseek"}


def contents(path: Path) -> Any:
    return settings.load(path, BundleFile)


def test_there_is_one_for_each_base_and_it_is_no_bundle_yet() -> None:
    assert {contents(path).roles.ir.prompt for path in TEMPLATES} == PROFILES
    assert not {path.stem for path in TEMPLATES} & installed().keys()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_samples_as_the_authors_do_and_agrees_on_latex(path: Path) -> None:
    template = contents(path)
    assert (template.loop.rounds, template.loop.protocol) == (20, "pooled")
    for role in Role:
        asked = template.roles.of(role)
        assert (asked.adapter, asked.max_tokens) == (f"{role}.gguf", 1024)
        assert (asked.temperature, asked.top_p, asked.top_k) == (1.5, 0.9, 50)
        assert not asked.greedy_first
        assert asked.latex is (role is not Role.KG)
    engine = ScriptedEngine(
        {Role.IR: [r"So $\boxed{\frac{1}{2}x}$."], Role.KG: ["Halve."],
         Role.DR: [r"The answer is: $\frac{x}{2}$"]}
    )  # fmt: skip
    events = loop.solve("Half of x?", engine, template.roles, template.loop)
    trace = loop.finish(events, lambda event: None)
    assert trace.status == "agreed"
    assert trace.as_dict()["answer"] == r"\frac{1}{2}x"


@pytest.mark.skipif(not RECIPES, reason="the recipes lie in the source tree only")
def test_the_recipes_train_the_authors_lora() -> None:
    assert {recipe.load(path).prompt for path in RECIPES} == PROFILES
    for path in RECIPES:
        made = recipe.load(path)
        assert (made.lora.rank, made.lora.alpha, made.lora.dropout) == (512, 1024, 0.1)
        assert made.lora.targets == ("q_proj", "v_proj")
        assert {made.run(role).learning_rate for role in Role} == {5e-5}
        assert made.base.path == f"{path.stem.removeprefix('paper-')}.gguf"
