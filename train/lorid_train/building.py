"""Builds a folder of training rows from a data recipe, with a manifest of what is in it and why.

The bytes depend on the recipe, the data and the seed alone, not on the number of processes.
"""

import gzip
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lorid_local import __version__
from lorid_local.base import sha256
from lorid_local.errors import OutputError
from lorid_local.practice.families import BUNDLED
from lorid_train import rows
from lorid_train.built import FILES, FORMAT, MANIFEST, file_name
from lorid_train.data_recipe import Counts, DataRecipe
from lorid_train.making import ONE_STEP, Made, Maker, Unit, held_out

BATCH = 32  # units sent to a process at a time
LETTERS_A_TOKEN = 3.3  # of English problems, by SmolLM2's tokenizer, about


def build(
    recipe: DataRecipe, root: Path, out: Path, jobs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write every role's rows and the manifest, which comes last, into `out`; return it.

    Raises TrainError, InputError and FamilyError for data that cannot be used, OutputError.
    """
    maker = Maker(recipe, root)
    units = maker.units()
    say(f"{len(units)} problems and families; kept away from {len(maker.index)} questions")
    return write(maker, out, _made(maker, units, jobs), len(units), say)


def write(
    maker: Maker, out: Path, made: Iterator[Made], units: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write what was made of `units` into `out`, the manifest last; return it.

    Raises OutputError.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MANIFEST).unlink(missing_ok=True)
        total = _write(out, made, units, say)
        manifest = _manifest(maker, out, total)
        text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
        (out / MANIFEST).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror})", hint="choose --out"
        ) from None
    return manifest


def _write(out: Path, made: Iterator[Made], units: int, say: Callable[[str], None]) -> Made:
    """Write rows as they come; return all counts."""
    total = Made()
    streams = {}
    try:
        for name in FILES:
            raw = (out / f"{file_name(name)}.part").open("wb")
            # without a name and a time in it, equal rows give equal bytes
            packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0)
            streams[name] = raw, packed, io.TextIOWrapper(packed, encoding="utf-8", newline="")
        for done, part in enumerate(made, 1):
            for name, lines in part.lines.items():
                streams[name][2].writelines(lines)
            total.rows += part.rows
            total.refused += part.refused
            total.letters += part.letters
            if done % 1000 == 0:
                say(f"{done} of {units}")
    finally:
        for raw, _, text in streams.values():
            text.close()
            raw.close()
    for name in FILES:
        os.replace(out / f"{file_name(name)}.part", out / file_name(name))
    return total


def _made(maker: Maker, units: list[Unit], jobs: int) -> Iterator[Made]:
    """Yield what is made of each unit, in order, in `jobs` processes."""
    if jobs < 2:
        for unit in units:
            yield maker.make(unit)
        return
    with ProcessPoolExecutor(jobs, initializer=_start, initargs=(maker.recipe, maker.root)) as pool:
        waiting: deque[Future[list[Made]]] = deque()
        for at in range(0, len(units), BATCH):
            waiting.append(pool.submit(_make_all, units[at : at + BATCH]))
            if len(waiting) > 4 * jobs:  # no more rows at a time than memory has room for
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


_maker: Maker | None = None


def _start(recipe: DataRecipe, root: Path) -> None:
    global _maker
    _maker = Maker(recipe, root)


def _make_all(units: list[Unit]) -> list[Made]:
    assert _maker
    return [_maker.make(unit) for unit in units]


def _manifest(maker: Maker, out: Path, total: Made) -> dict[str, Any]:
    recipe = maker.recipe
    counts: dict[str, dict[str, int]] = {}
    for (role, kind), count in sorted(total.rows.items()):
        counts.setdefault(role, {})[kind] = count
    templates = counts.pop("problems", {}).get("template", 0)
    tried = templates + sum(n for why, n in total.refused.items() if _no_template(why))
    heldout = recipe.families.heldout if recipe.families else 0
    return {
        "format": FORMAT,
        "version": __version__,
        "recipe": asdict(recipe),
        "rows": counts,
        "templates": {"problems": tried, "made": templates},
        "left_out": dict(sorted(maker.excluded.items())),
        "refused": dict(sorted(total.refused.items(), key=lambda item: (-item[1], item[0]))),
        "heldout_families": [id for _, id in maker.family_ids() if held_out(id, heldout)],
        "tokens_a_row": {
            name: round(total.letters[name] / LETTERS_A_TOKEN / max(1, sum(of.values())), 1)
            for name, of in counts.items()
        },
        "inputs_sha256": {name: sha256(path) for name, path in sorted(_inputs(recipe, maker.root))},
        "outputs_sha256": {file_name(n): sha256(out / file_name(n)) for n in FILES},
        "outputs_bytes": {file_name(n): (out / file_name(n)).stat().st_size for n in FILES},
    }


_STILL_MADE = ("template: for ir only", "template: a drawn", "template: no other")


def _no_template(why: str) -> bool:
    return why.startswith("template: ") and not why.startswith(_STILL_MADE)


def _inputs(recipe: DataRecipe, root: Path) -> Iterator[tuple[str, Path]]:
    for name in recipe.overlap:
        yield name, root / name
    for source in recipe.problems:
        path = root / source.source
        yield source.source, path if path.exists() else rows.cached(source.source)
        for name in filter(None, (source.knowledge, source.errata, *source.leave_out)):
            yield name, root / name
    if recipe.families:
        name = recipe.families.file
        yield name or "families.jsonl", root / name if name else BUNDLED
        if recipe.families.short != Counts():
            yield ONE_STEP.name, ONE_STEP
