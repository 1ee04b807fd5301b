"""Makes the rows of one problem or one family: originals, drawn templates, drawn families.

All that is random depends on the recipe's seed and the problem's id alone, so that it does not
matter which process makes what, nor in which order.
"""

import hashlib
import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lorid_local.engine import Role
from lorid_local.practice.drawing import chain, draw, prose
from lorid_local.practice.families import Families, load
from lorid_train import data, distracting, overlap, people, redraw, rows, tracing
from lorid_train.data_recipe import Counts, DataRecipe, Problems
from lorid_train.marking import marked
from lorid_train.rows import Row

Unit = tuple[int, int | str]
"""(index of the recipe's problems, position), or (FAMILY or SHORT, family id)."""
FAMILY, SHORT = -1, -2
ONE_STEP = Path(__file__).with_name("one_step.jsonl")


@dataclass
class Made:
    """Lines of JSON by file name ('ir', 'kg', 'dr', 'heldout'), and what was counted."""

    lines: dict[str, list[str]] = field(default_factory=dict)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)  # (role, kind of source)
    refused: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)  # prompt and target, by role


class Maker:
    """Reads what the recipe names once; then makes the rows of any unit."""

    def __init__(self, recipe: DataRecipe, root: Path) -> None:
        self.recipe, self.root = recipe, root
        self.excluded = Counter[str]()
        self.problems: list[list[Row]] = []
        kept_away = [q for name in recipe.overlap for q in overlap.questions(root, name)]
        for source in recipe.problems:
            everything = list(
                rows.read(root, source.source, source.format, source.knowledge, source.rules)
            )
            out = rows.excluded(root, source.leave_out, source.errata)
            self.problems.append([row for row in everything if row.id not in out])
            self.excluded.update(out[row.id] for row in everything if row.id in out)
            kept_away += [
                (reason, row.question)
                for row in everything
                if (reason := out.get(row.id, "")) in source.leave_out
            ]
        self.index = overlap.Index(kept_away)
        self.rules = [r.knowledge for of in self.problems for r in of if r.knowledge]

    @cached_property
    def families(self) -> Families:
        """The families of the recipe; raises InputError, FamilyError."""
        assert self.recipe.families
        file = self.recipe.families.file
        return load(self.root / file if file else None)

    @cached_property
    def banks(self) -> dict[int, tuple[Families, Counts]]:
        """The families that the recipe draws from and the draws of each, by FAMILY and SHORT."""
        recipe = self.recipe.families
        if not recipe:
            return {}
        own = {FAMILY: (self.families, recipe.draws)}
        return own | ({SHORT: (load(ONE_STEP), recipe.short)} if recipe.short != Counts() else {})

    def family_ids(self) -> list[tuple[int, str]]:
        """Return the families that the recipe draws from, each with FAMILY or SHORT."""
        return [(bank, id) for bank, (families, _) in self.banks.items() for id in families.ids()]

    @cached_property
    def lent(self) -> list[distracting.Borrowed]:
        """The sentences of these problems that may be told in others."""
        return distracting.lend(row.question for of in self.problems for row in of)

    def units(self) -> list[Unit]:
        """Return all there is to make, in the order it is written."""
        found: list[Unit] = [
            (source, at) for source, of in enumerate(self.problems) for at in range(len(of))
        ]
        return found + list(self.family_ids())

    def make(self, unit: Unit) -> Made:
        """Return the rows of one unit."""
        source, key = unit
        made = Made()
        if source < 0:
            self._family(source, str(key), made)
            return made
        problems, row = self.recipe.problems[source], self.problems[source][int(key)]
        if why := self.index.near(row.question):
            made.refused[f"overlap: {why}"] += 1
            return made
        where = f"{problems.source}:{row.id}"
        if any(problems.originals.of(role) for role in Role):
            self._original(problems.originals, row, where, made)
        if any(problems.templates.of(role) for role in Role):
            self._templates(problems, row, where, made)
        return made

    def _original(self, counts: Counts, row: Row, where: str, made: Made) -> None:
        complete = replace(row, rationale=marked(row.rationale))
        row = complete if data.equations(complete) else row
        targets = {Role.IR: data.equations(row), Role.KG: data.rules(row), Role.DR: data.prose(row)}
        for role in Role:
            wanted = counts.of(role)
            if wanted and targets[role] is None:
                made.refused[
                    f"original: no {'rules' if role is Role.KG else 'verified chain'}"
                ] += 1
                continue
            for copy in range(wanted):
                self._add(made, role, "original", f"o{row.id}.{copy}", where, row, targets[role])

    def _templates(self, problems: Problems, row: Row, where: str, made: Made) -> None:
        try:
            template = tracing.trace(row)
        except tracing.Refused as reason:
            made.refused[f"template: {reason}"] += 1
            return
        made.rows["problems", "template"] += 1
        if template.prose is None:
            made.refused["template: for ir only, a number of the solution's words is unclear"] += 1
        wanted = problems.templates
        rng = random.Random(f"{self.recipe.seed} {where}")
        most = max(wanted.of(role) for role in Role)
        count = 0
        for count, numbers in enumerate(redraw.draws(template, most, rng), 1):
            drawn = redraw.filled(template, numbers, f"t{row.id}.{count - 1}")
            drawn = self._distracted(self._renamed(drawn, rng), rng)
            if why := self.index.near(drawn.question):
                made.refused[f"overlap, drawn: {why}"] += 1
                continue
            if count <= wanted.ir:
                self._verified(made, Role.IR, data.equations(drawn), where, drawn)
            if count <= wanted.dr and template.prose:
                self._verified(made, Role.DR, data.prose(drawn), where, drawn)
        if not count:
            made.refused["template: no other numbers fit"] += 1

    def _verified(self, made: Made, role: Role, target: str | None, where: str, row: Row) -> None:
        if target is None:
            made.refused["template: a drawn row does not verify"] += 1
        else:
            self._add(made, role, "template", str(row.id), where, row, target)

    def _renamed(self, row: Row, rng: random.Random) -> Row:
        if rng.random() >= self.recipe.rename:
            return row
        new = people.renaming(f"{row.question}\n{row.rationale}", rng)
        question, rationale = (people.renamed(t, new) for t in (row.question, row.rationale))
        return replace(row, question=question, rationale=rationale)

    def _rng(self, id: str, at: int) -> random.Random:
        """Return what decides a family's draw number `at`, the same whatever else is drawn."""
        return random.Random(f"{self.recipe.seed} {id} {at}")

    def _distracted(self, row: Row, rng: random.Random) -> Row:
        if not self.recipe.distracted or rng.random() >= self.recipe.distracted:
            return row  # without a draw where the share is 0: older recipes give the same rows
        return replace(row, question=distracting.distracted(row.question, rng, self.lent))

    def _family(self, bank: int, id: str, made: Made) -> None:
        recipe = self.recipe.families
        assert recipe
        families, draws = self.banks[bank]
        held = held_out(id, recipe.heldout)
        counts = Counts() if held else draws
        most = recipe.heldout_draws if held else max(counts.of(role) for role in Role)
        seen: set[tuple[object, ...]] = set()
        for at in range(most):
            problem = draw(families.family(id), self._rng(id, at).getrandbits(40))
            if (problem.wording, problem.numbers) in seen:
                made.refused["family: drawn before"] += 1
                continue
            seen.add((problem.wording, problem.numbers))
            terse = Row(
                f"f{id}.{at}", problem.question, chain(problem), problem.answer_text,
                problem.knowledge,
            )  # fmt: skip
            if not held:
                terse = self._distracted(terse, self._rng(id, at))
            if why := self.index.near(terse.question):
                made.refused[f"overlap, drawn: {why}"] += 1
                continue
            if held:
                line(made, "heldout", "family", {
                    "id": terse.id, "question": terse.question, "answer": terse.answer,
                    "source": f"family {id}",
                })  # fmt: skip
                continue
            told = replace(terse, rationale=prose(problem))
            targets = {
                Role.IR: data.equations(terse), Role.KG: data.rules(terse),
                Role.DR: data.prose(told),
            }  # fmt: skip
            for role, target in targets.items():
                if at >= counts.of(role):
                    continue
                if target is None:
                    made.refused["family: no verified chain"] += 1
                else:
                    self._add(made, role, "family", str(terse.id), id, terse, target)

    def _add(
        self, made: Made, role: Role, kind: str, id: str, where: str, row: Row, target: str | None
    ) -> None:
        knowledge: tuple[str, ...] = ()
        if role is Role.DR:
            knowledge = row.knowledge
            rng = random.Random(f"{self.recipe.seed} {where} {id}")
            if rng.random() < self.recipe.imperfect_rules:
                others = rng.choice(self.rules) if self.rules else ()
                knowledge = data.spoiled(knowledge, others, rng)
        line(made, role.value, kind, {
            "id": id, "prompt_question": row.question, "knowledge": list(knowledge),
            "target": target, "source": f"{kind} {where}",
        })  # fmt: skip


def line(made: Made, file: str, kind: str, record: dict[str, Any]) -> None:
    """Add a row to what goes into `file`, counted as `kind`."""
    made.lines.setdefault(file, []).append(json.dumps(record, ensure_ascii=False) + "\n")
    made.rows[file, kind] += 1
    texts = [text for key, text in record.items() if key not in ("id", "source", "knowledge")]
    made.letters[file] += sum(map(len, [*texts, *record.get("knowledge", ())]))


def held_out(id: str, one_in: int) -> bool:
    """True for about one family in `one_in`, by its id alone: more families change no other."""
    return bool(one_in) and int(hashlib.sha256(id.encode()).hexdigest(), 16) % one_in == 0
