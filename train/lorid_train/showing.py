"""Rows of a built folder, for a person to read."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorid_train import built
from lorid_train.checking import summary


def shown(folder: Path, role: str | None, count: int, seed: int) -> Iterator[str]:
    """Yield the manifest's figures and `count` rows of each role, the same for the same seed."""
    made = built.manifest(folder)
    yield from summary(made)
    for name in [role] if role else built.FILES:
        total = sum(made["rows"].get(name, {}).values())
        chosen = set(random.Random(f"{seed} {name}").sample(range(total), min(count, total)))
        for at, record in enumerate(built.records(folder, name) if chosen else ()):
            if at in chosen:
                yield _row(name, record)


def _row(name: str, record: dict[str, Any]) -> str:
    question = record.get("prompt_question") or record["question"]
    told = [f"\n{name} {record['id']} ({record['source']})", question]
    if record.get("knowledge"):
        told += ["Rules:", *(f"  - {rule}" for rule in record["knowledge"])]
    return "\n".join([*told, "->", record.get("target") or record["answer"]])
