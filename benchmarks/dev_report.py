"""The report of a bundle on the dev split: IR, DR and the loop, with 95% intervals.

    python benchmarks/dev_report.py problems --data ../shared/data --count 200 > runs/dev.jsonl
    lorid solve --file runs/dev.jsonl -o runs/solved.jsonl
    python benchmarks/dev_report.py table --data ../shared/data runs/solved.jsonl

The samples are the product's own: `lorid solve` draws them, and the methods are replayed on
them by the product's own loop. Reads GSM8K's train file and dev_ids.txt below --data.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lorid_local import bundle as bundles
from lorid_local.answers import Answer, find, read, same
from lorid_local.calibration import wilson
from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, Role, never
from lorid_local.judging import Protocol
from lorid_local.loop import LoopSettings, RoleTable, finish, round_seed, solve
from lorid_local.trace import Trace

Record = dict[str, Any]


class Replay:
    """An Engine that answers with the samples of one solved problem."""

    def __init__(self, record: Record) -> None:
        rounds = {r["round"]: r for r in record["rounds"]}
        self.samples = {
            round_seed(record["seed"], role, number): found[role.value]
            for number, found in rounds.items()
            for role in Role
            if role.value in found
        }

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        return [self._sample(request.seed) for request in requests]

    def _sample(self, seed: int) -> Completion:
        sample = self.samples[seed]
        return Completion(sample["text"], sample["finish_reason"], sample["tokens"])


def replay(record: Record, roles: RoleTable, t: int, protocol: Protocol) -> Trace:
    """Return what the loop makes of a problem's samples with other settings."""
    settings = LoopSettings(rounds=t, protocol=protocol, width=1)
    events = solve(record["question"], Replay(record), roles, settings, seed=record["seed"])
    return finish(events, lambda event: None)


def dev(data: Path) -> dict[int, Record]:
    """Return the dev problems: line of the train file -> its record, in the split's order."""
    lines = (data / "gsm8k/train.jsonl").read_text().splitlines()
    ids = [int(i) for i in (data / "gsm8k/dev_ids.txt").read_text().split()]
    return {i: json.loads(lines[i]) for i in ids}


def gold(record: Record) -> Answer:
    """Return GSM8K's own answer."""
    answer = read(record["answer"].rpartition("#### ")[2])
    assert isinstance(answer, Answer)
    return answer


def share(name: str, right: int, n: int) -> str:
    """Return a line of the table."""
    low, high = wilson(right, n)
    percent = 100 * right / n if n else 0.0
    return f"{name:44} {right:4}/{n:<4} {percent:5.1f}%  [{100 * low:.1f}, {100 * high:.1f}]"


def is_right(answer: Any, expected: Answer) -> bool:
    """True if `answer` is one and equals `expected`."""
    return isinstance(answer, Answer) and same(answer, expected)


def greedy_lines(records: list[Record], golds: list[Answer]) -> list[str]:
    """Return how System 1 and System 2 do alone, in their greedy first round."""
    lines, n = [], len(records)
    for role in (Role.IR, Role.DR):
        samples = [record["rounds"][0][role.value] for record in records]
        marked = [find(sample["text"], marked_only=True) for sample in samples]
        parsed = sum(isinstance(answer, Answer) for answer in marked)
        lines.append(share(f"{role} greedy, marked answer parses", parsed, n))
        right = sum(is_right(a, g) for a, g in zip(marked, golds, strict=True))
        lines.append(share(f"{role} greedy, right", right, n))
        votes = sum(sample["answer"] is not None for sample in samples)
        lines.append(share(f"{role} greedy, votes", votes, n))
    return lines


def loop_lines(traces: list[Trace], golds: list[Answer], label: str) -> list[str]:
    """Return how the loop does: all, agreed by round, best guesses; and what it costs."""
    right = [is_right(t.answer, g) for t, g in zip(traces, golds, strict=True)]
    agreed = [t.agreed_round if t.status == "agreed" else None for t in traces]
    lines = [share(f"{label}: right", sum(right), len(right))]
    bands = [(1, 1), (2, 3), (4, 100)] if traces[0].max_rounds > 1 else [(1, 1)]
    for first, last in bands:
        band = [r for r, k in zip(right, agreed, strict=True) if k and first <= k <= last]
        lines.append(
            share(f"{label}: right, agreed in rounds {first}-{last}", sum(band), len(band))
        )
    rest = [r for r, k in zip(right, agreed, strict=True) if not k]
    lines.append(share(f"{label}: right, best guess without agreement", sum(rest), len(rest)))
    tokens = sum(t.tokens for t in traces) / len(traces)
    lines.append(f"{label}: {tokens:.0f} generated tokens a problem")
    return lines


@click.group()
def main() -> None:
    """Measure a bundle on the dev split."""


@main.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--count", default=200, show_default=True)
@click.option("--skip", default=0, help="Leave out this many problems first.")
def problems(data: Path, count: int, skip: int) -> None:
    """Write dev problems as `lorid solve --file` reads them."""
    for line, record in list(dev(data).items())[skip : skip + count]:
        print(json.dumps({"id": line, "question": record["question"]}))


@main.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--bundle", "name", default=bundles.DEFAULT, show_default=True)
@click.argument("solved", nargs=-1, type=click.Path(path_type=Path, exists=True), required=True)
def table(data: Path, name: str, solved: tuple[Path, ...]) -> None:
    """Print the table of solved problems."""
    records = [json.loads(line) for path in solved for line in path.read_text().splitlines()]
    usable = [r for r in records if r["status"] in ("agreed", "no-agreement")]
    if len(usable) < len(records):
        print(f"left out: {len(records) - len(usable)} not solved to the end", file=sys.stderr)
    split, roles = dev(data), bundles.find(name).contents.roles
    golds = [gold(split[r["id"]]) for r in usable]
    lines = greedy_lines(usable, golds)
    for t in dict.fromkeys((1, usable[0]["max_rounds"])):
        for protocol in ("same-round", "pooled"):
            traces = [replay(r, roles, t, protocol) for r in usable]
            lines += loop_lines(traces, golds, f"loop t={t} {protocol}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
