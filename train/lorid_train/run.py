"""Trains one role of a recipe from start to end and writes what was done beside the result.

Only `start` imports torch (through `sft`): everything that can be wrong is checked before.
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lorid_local.base import sha256
from lorid_local.engine import Role
from lorid_local.errors import MissingExtra, ModelError, OutputError
from lorid_local.prompts import profile
from lorid_train import curve, data, masking
from lorid_train.built import MANIFEST as MADE_OF
from lorid_train.built import file_name
from lorid_train.recipe import Recipe

MANIFEST = "run.json"
SLOW = (
    'Note: this CPU has no bf16 instructions: far faster without the recipe\'s `precision = "bf16"`'
)
CURVE = "loss.svg"


def start(
    recipe: Recipe, role: Role, root: Path, out: Path, progress: Any, say: Callable[[str], None],
    minutes: float = math.inf,
) -> Path:  # fmt: skip
    """Train `role` on the files below `root`; return the PEFT folder inside `out`.

    An interrupted run goes on from its last checkpoint when started again; after `minutes`, all
    that comes before the first step included, it ends itself so.
    Raises TrainError, TrainPaused, ModelError, MissingExtra, OutputError.
    """
    until = time.monotonic() + 60 * minutes
    if os.environ.get("RANK", "0") != "0":  # of several processes one tells
        say = _nothing
    run = recipe.run(role)
    examples = data.build(
        recipe.data, root, role, profile(recipe.prompt), run.imperfect_rules, recipe.seed
    )
    say(f"{len(examples.kept)} examples; left out: {_counts(examples.left_out)}")
    base = _checked_base(recipe)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be made ({error.strerror})", hint="choose --out"
        ) from None
    sft = _sft()
    learner = sft.load(
        base, recipe.lora, threads=recipe.threads, seed=recipe.seed, start_from=run.start_from,
        precision=recipe.precision, gradient_checkpointing=recipe.gradient_checkpointing,
        compiled=recipe.compile,
    )  # fmt: skip
    if recipe.precision == "bf16" and not sft.fast_bf16(learner.device):
        say(SLOW)
    encode = sft.encoder(learner.tokenizer, _texts(examples.kept))
    end = learner.tokenizer.eos_token_id
    encoded = [masking.encode_example(e, encode, end) for e in examples.kept]
    fitting = [e for e in encoded if len(e.ids) <= run.max_length]
    say(f"{len(fitting)} of them fit in {run.max_length} tokens")
    figures = sft.train(
        learner, fitting, run, out, seed=recipe.seed, progress=progress, until=until
    )
    if learner.here.first:
        figures |= {"precision": learner.precision}
        _write_manifest(recipe, role, root, out, len(fitting), figures)
    return out / "adapter"


def _nothing(text: str) -> None:
    pass


def _texts(examples: list[data.Example]) -> Iterator[str]:
    for example in examples:
        yield from (part.text for part in example.prompt if not part.special)
        yield example.target


def _checked_base(recipe: Recipe) -> Path:
    base = recipe.base.locate()
    if recipe.base.sha256 and sha256(base) != recipe.base.sha256:
        raise ModelError(
            f"{base}: not the base that the recipe names (its SHA-256 differs)",
            hint="give the base that the recipe was made for, or its own sha256",
        )
    return base


def _sft() -> Any:
    try:
        from lorid_train import sft
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"training needs {error.name}, which is not installed",
            hint="pip install -c constraints.txt 'lorid-local[train]'",
        ) from None
    return sft


def _counts(left_out: dict[str, int]) -> str:
    return ", ".join(f"{n} {why}" for why, n in sorted(left_out.items())) or "none"


def _write_manifest(
    recipe: Recipe, role: Role, root: Path, out: Path, examples: int, figures: dict[str, Any]
) -> None:
    files = [recipe.data.questions, recipe.data.knowledge]
    if recipe.data.built:  # whose manifest has the hashes of all that it was made of
        files = [f"{recipe.data.built}/{name}" for name in (MADE_OF, file_name(role.value))]
    manifest = {
        "recipe": asdict(recipe),
        "role": role.value,
        "examples": examples,
        "data_sha256": {name: sha256(root / name) for name in files},
        "versions": {p: version(p) for p in ("torch", "transformers", "peft")},
        "machine": platform.processor() or platform.machine(),
        **figures,
    }
    title = f"{recipe.name} {role.value}: loss"
    (out / CURVE).write_text(curve.svg(figures["losses"], title), encoding="utf-8")
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
