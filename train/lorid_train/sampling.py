"""Rejection sampling (arXiv 2308.01825): chains that a trained role wrote, kept if they are right.

A chain is kept if its sample votes (ended by itself, arithmetic holds), its answer is the
problem's, every number in it comes from somewhere, and no kept chain nor the worked solution
calculates the same. What is kept becomes a built folder, which `lorid data check` can prove.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

from lorid_local import answers, arithmetic, prompts
from lorid_local.engine import Cancelled, Completion, Engine, Request, Role
from lorid_local.errors import InputError, OutputError, TrainError
from lorid_train import appended, building, constants, data, expressions
from lorid_train.checking import chain_holds
from lorid_train.data_recipe import DataRecipe
from lorid_train.making import Made, Maker, Unit, line
from lorid_train.mentions import mentions
from lorid_train.rows import MARKER, Row
from lorid_train.template import Derived, derive

AT_ONCE = 16  # problems whose samples are one call: more than the engine's places, so all are full
DRAWN = "drawn.jsonl"


@dataclass(frozen=True)
class Drawing:
    """How `count` chains of a problem are drawn; the same fields as a bundle's role has."""

    role: Role
    prompt: str
    max_tokens: int
    count: int
    temperature: float
    top_p: float
    stop: tuple[str, ...] = ()
    calculator: bool = False
    seed: int = 0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.role is Role.KG:
            raise InputError("rules have no answer that could be right", hint="--role ir or dr")
        if self.count > 1 and not self.temperature:
            raise InputError(
                f"{self.count} samples at temperature 0 are all the same", hint="give --temp 0.7"
            )


def sample(
    recipe: DataRecipe, root: Path, out: Path, drawings: list[Drawing], engine: Engine,
    cancelled: Cancelled, say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Draw chains for the recipe's problems and write the kept ones to `out`; return the manifest.

    Started again it goes on behind the problems that are done; an interrupted run writes no
    manifest, and KeyboardInterrupt is raised. Raises TrainError, EngineError, OutputError.
    """
    if not recipe.problems:
        raise TrainError(
            "the recipe names no [[problems]] to draw chains for",
            hint="name a data recipe with [[problems]], such as train/recipes/data-v1.toml",
        )
    maker = Maker(replace(recipe, families=None), root)
    units = maker.units()
    made_of = hashlib.sha256(repr((recipe, drawings)).encode()).hexdigest()[:16]
    try:
        out.mkdir(parents=True, exist_ok=True)
        records = appended.whole_lines(out / DRAWN, "chains")
        if any(record["of"] != made_of for record in records):
            raise TrainError(
                f"{out / DRAWN}: belongs to another run (other recipe or settings)",
                hint="choose another --out",
            )
        known = {(r["role"], *r["unit"]): r for r in records}
        with (out / DRAWN).open("a", encoding="utf-8") as file:
            for record in _drawn(maker, units, drawings, engine, cancelled, known, say):
                appended.append(file, {**record, "of": made_of})
                known[record["role"], *record["unit"]] = record
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror})", hint="choose --out"
        ) from None
    if cancelled():
        raise KeyboardInterrupt
    made = (_rows(maker, unit, drawings, known) for unit in units)
    return building.write(maker, out, made, len(units), say)


def _drawn(
    maker: Maker, units: list[Unit], drawings: list[Drawing], engine: Engine,
    cancelled: Cancelled, known: dict[Any, Any], say: Callable[[str], None],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield a record a problem and role that `known` lacks, as they are ready."""
    for drawing in drawings:
        todo = [u for u in units if (drawing.role.value, *u) not in known and _usable(maker, u)]
        for at in range(0, len(todo), AT_ONCE):
            chosen = todo[at : at + AT_ONCE]
            rows = [_row(maker, unit) for unit in chosen]
            requests = [request for row in rows for request in _requests(drawing, row)]
            done = engine.generate(requests, cancelled=cancelled)
            if cancelled():
                return
            for nth, (unit, row) in enumerate(zip(chosen, rows, strict=True)):
                mine = done[nth * drawing.count : (nth + 1) * drawing.count]
                chains, refused = kept(drawing.role, row, mine)
                yield {"role": drawing.role.value, "unit": list(unit), "chains": chains,
                       "refused": dict(refused)}  # fmt: skip
            say(f"{drawing.role}: {min(at + AT_ONCE, len(todo))} of {len(todo)} problems")


def _usable(maker: Maker, unit: Unit) -> bool:
    return not maker.index.near(_row(maker, unit).question)


def _row(maker: Maker, unit: Unit) -> Row:
    return maker.problems[unit[0]][int(unit[1])]


def _requests(drawing: Drawing, row: Row) -> Iterator[Request]:
    knowledge = row.knowledge if drawing.role is Role.DR else ()
    prompt = prompts.profile(drawing.prompt).parts(drawing.role, row.question, knowledge)
    rng = random.Random(f"{drawing.seed} {drawing.role} {row.id}")
    for _ in range(drawing.count):
        yield Request(
            drawing.role, prompt, drawing.max_tokens, rng.getrandbits(31), drawing.temperature,
            drawing.top_p, drawing.stop, calculator=drawing.calculator, top_k=drawing.top_k,
        )  # fmt: skip


def kept(role: Role, row: Row, samples: list[Completion]) -> tuple[list[str], Counter[str]]:
    """Return the distinct right chains of `samples` as targets, and why others are none."""
    right = answers.read(row.answer)
    seen = {_calculations(row.rationale)}
    chains, refused = list[str](), Counter[str]()
    for done in samples:
        voted = answers.vote(done.text, done.finish_reason)
        target = None
        if isinstance(voted, answers.Unparsed):
            refused["no vote"] += 1
        elif isinstance(right, answers.Unparsed) or not answers.same(voted, right):
            refused["another answer"] += 1
        elif (target := _target(role, row, done.text)) is None:
            refused["no chain to the answer"] += 1
        elif not from_somewhere(row.question, target):
            refused["a number from nowhere"] += 1
        elif (shape := _calculations(target)) in seen:
            refused["the same calculation"] += 1
        else:
            seen.add(shape)
            chains.append(target)
    return chains, refused


def _target(role: Role, row: Row, text: str) -> str | None:
    """Return a sample's text as a training target; None unless its chain leads to the answer."""
    chain = text.partition(MARKER.strip())[0]
    written = replace(row, rationale=chain)
    target = data.equations(written) if role is Role.IR else data.prose(written)
    return target if target and chain_holds(target) else None


def _calculations(rationale: str) -> tuple[str, ...]:
    return tuple(text.replace(" ", "") for text, _ in arithmetic.steps(rationale))


def from_somewhere(question: str, chain: str) -> bool:
    """True if each operand is the question's, an earlier result, or implied by its words."""
    found = mentions(question)
    known = {v for m in found for v in (m.value, *m.atoms, *m.also)}
    percents = [m.value for m in found if m.percent]
    known |= {Fraction(derive(how, p)) for p in percents for how in get_args(Derived)}
    known |= constants.implied(question) | constants.FREE
    for text, shown in arithmetic.steps(chain):
        if not set(expressions.parse(text).values) <= known:
            return False
        known.add(arithmetic.parse_number(shown))
    return True


def _rows(maker: Maker, unit: Unit, drawings: list[Drawing], known: dict[Any, Any]) -> Made:
    made, row = Made(), _row(maker, unit)
    where = f"{maker.recipe.problems[unit[0]].source}:{row.id}"
    for drawing in drawings:
        role = drawing.role
        record = known.get((role.value, *unit))
        if record is None:
            made.refused["near a question that is kept away"] += 1
            continue
        for why, count in record["refused"].items():
            made.refused[f"sampled {role}: {why}"] += count
        for nth, target in enumerate(record["chains"]):
            line(made, role.value, "sampled", {
                "id": f"s{row.id}.{nth}", "prompt_question": row.question,
                "knowledge": list(row.knowledge) if role is Role.DR else [],
                "target": target, "source": f"sampled {where}",
            })  # fmt: skip
    return made
