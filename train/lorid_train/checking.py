"""Proves on a built folder that nothing in it comes from, or is near to, what is kept out.

Reads the files themselves, not how they were made: exclusions and test sets are read again.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorid_local import arithmetic
from lorid_local.base import sha256
from lorid_local.engine import Role
from lorid_train import built, overlap, rows
from lorid_train.rows import MARKER

SHOWN = 10  # violations of a kind that are listed


@dataclass
class Report:
    """Rows checked by file, and what is wrong: kind -> ids of rows."""

    rows: Counter[str] = field(default_factory=Counter)
    kept_away: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, id: str) -> None:
        """Note a violation."""
        self.wrong.setdefault(kind, []).append(id)

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        shown = [f"{name}: {count} rows" for name, count in self.rows.items()]
        shown.append(f"questions kept away from: {self.kept_away}")
        for kind, ids in sorted(self.wrong.items()):
            more = ", ..." if len(ids) > SHOWN else ""
            shown.append(f"WRONG: {len(ids)} {kind}: {', '.join(ids[:SHOWN])}{more}")
        return [*shown, "nothing wrong" if not self.wrong else "not fit for training"]


def check(folder: Path, root: Path) -> Report:
    """Check every row of `folder` against the test sets and lists below `root`.

    Raises TrainError for a file that is missing, unreadable or not the manifest's.
    """
    made = built.manifest(folder)
    recipe = made["recipe"]
    report = Report()
    barred, kept_away = _barred(recipe, root)
    kept_away += [q for name in recipe["overlap"] for q in overlap.questions(root, name)]
    index = overlap.Index(kept_away)
    report.kept_away = len(index)
    if not recipe["overlap"]:
        report.add("test sets", "the recipe names none")
    for name, digest in made["inputs_sha256"].items():
        path = root / name
        if path.exists() and sha256(path) != digest:
            report.add("inputs that changed since", name)
    held = {f"family {id}" for id in made["heldout_families"]}
    for name in built.FILES:
        for record in built.records(folder, name):
            report.rows[name] += 1
            _check(record, name, index, barred, held, report)
    return report


def _barred(recipe: dict[str, Any], root: Path) -> tuple[set[str], list[tuple[str, str]]]:
    """Return the sources 'file:line' that nothing may be from, and the questions kept away."""
    barred: set[str] = set()
    questions: list[tuple[str, str]] = []
    for source in recipe["problems"]:
        out = rows.excluded(root, tuple(source["leave_out"]), source["errata"])
        barred |= {f"{source['source']}:{line}" for line in out}
        for row in rows.read(root, source["source"], source["format"]):
            reason = out.get(row.id, "")
            if reason in source["leave_out"]:
                questions.append((reason, row.question))
    return barred, questions


def _check(
    record: dict[str, Any], name: str, index: overlap.Index, barred: set[str], held: set[str],
    report: Report,
) -> None:  # fmt: skip
    id, source = f"{name} {record['id']}", record["source"]
    if source.partition(" ")[2] in barred:
        report.add("rows from a line that is left out", id)
    if name == "heldout":
        if source not in held:
            report.add("held-out rows of a family for training", id)
        if index.near(record["question"]):
            report.add("rows near a question that is kept away", id)
        return
    if source in held:
        report.add("rows of a held-out family", id)
    if index.near(record["prompt_question"]):
        report.add("rows near a question that is kept away", id)
    if name != Role.KG.value and not chain_holds(record["target"]):
        report.add("chains that do not verify", id)
    if name == Role.KG.value and not record["target"].strip():
        report.add("rows without rules", id)


def chain_holds(target: str) -> bool:
    """True if every `<<>>` step holds and the last result is the marked answer."""
    chain, marker, answer = target.rpartition(MARKER)
    steps = arithmetic.steps(chain)
    if not marker or not steps or arithmetic.false_steps(chain):
        return False
    try:
        return arithmetic.parse_number(steps[-1][1]) == arithmetic.parse_number(answer)
    except arithmetic.Malformed:
        return False


def summary(made: dict[str, Any]) -> Iterable[str]:
    """Yield what a manifest says, as lines of text."""
    for name, kinds in made["rows"].items():
        parts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        size = made["outputs_bytes"][built.file_name(name)] / 10**6
        tokens = made["tokens_a_row"][name]
        yield f"{name}: {sum(kinds.values())} rows ({parts}), {size:.1f} MB, ~{tokens} tokens a row"
    tried, number = made["templates"]["problems"], made["templates"]["made"]
    if tried:
        yield f"templates: {number} of {tried} problems ({100 * number / tried:.1f}%)"
    for title in ("left_out", "refused"):
        for why, count in made[title].items():
            yield f"{title.replace('_', ' ')}: {count} {why}"
