"""The report of a bundle on the dev split: IR, DR and the loop, with 95% intervals.

    python benchmarks/dev_report.py --data ../shared/data --out runs/dev.jsonl --problems 200

Round 1 is drawn across problems in one batch, rounds 2 to t together for each problem that
disagrees (same-round protocol), stored a line a problem and round; started again, it goes
on where it stopped. Methods are then replayed on the stored samples by the product's
own loop. Reads GSM8K's train file and dev_ids.txt below --data; writes no question text.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lorid_local import bundle as bundles
from lorid_local import loop, prompts
from lorid_local.answers import Answer, find, read, same
from lorid_local.calibration import wilson
from lorid_local.engine import Cancelled, Completion, Engine, OnDone, OnToken, Request, Role, never
from lorid_local.llama import LlamaEngine, Options
from lorid_local.solving import PLAIN_PROMPT
from lorid_local.trace import Trace

SEED = 0
CHUNK = 16  # problems whose first rounds are drawn in one call
Samples = dict[tuple[int, int], dict[str, Any]]  # (problem's line, round) -> role -> completion


class Replay:
    """An Engine that answers with one problem's stored samples."""

    def __init__(self, samples: Samples, line: int) -> None:
        self.samples, self.line = samples, line
        self.drawn = dict.fromkeys(Role, 0)

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        return [self._next(request.role) for request in requests]

    def _next(self, role: Role) -> Completion:
        self.drawn[role] += 1
        return Completion(**self.samples[self.line, self.drawn[role]][role.value])


def problems(data: Path, skip: int, count: int) -> dict[int, tuple[str, Answer]]:
    """Return `count` dev problems behind the first `skip`: line -> (question, gold answer)."""
    ids = [int(i) for i in (data / "gsm8k/dev_ids.txt").read_text().split()][skip : skip + count]
    lines = (data / "gsm8k/train.jsonl").read_text().splitlines()
    found = {}
    for i in ids:
        row = json.loads(lines[i])
        gold = read(row["answer"].rpartition("#### ")[2])
        assert isinstance(gold, Answer)
        found[i] = (prompts.tidy(row["question"]), gold)
    return found


def load(path: Path) -> Samples:
    """Return the samples stored so far."""
    if not path.exists():
        return {}
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return {(r["line"], r["round"]): r["samples"] for r in records}


def solve(line: int, samples: Samples, roles: loop.RoleTable, t: int, protocol: Any) -> Trace:
    """Replay one problem."""
    settings = loop.LoopSettings(rounds=t, protocol=protocol)
    events = loop.solve(f"problem {line}", Replay(samples, line), roles, settings)
    return loop.finish(events, lambda event: None)


def draw(
    engine: Engine, todo: list[tuple[int, int]], questions: dict[int, str], roles: loop.RoleTable
) -> Samples:
    """Draw the (problem, round) pairs of `todo`, a call a role; return their samples."""
    rules: dict[tuple[int, int], tuple[str, ...]] = dict.fromkeys(todo, ())
    samples: Samples = {pair: {} for pair in todo}
    started = time.monotonic()
    for role in (Role.IR, Role.KG, Role.DR):
        requests = [loop.request(roles, role, questions[i], rules[i, k], k, SEED) for i, k in todo]
        for pair, c in zip(todo, engine.generate(requests), strict=True):
            samples[pair][role.value] = vars(c)
            if role is Role.KG:
                rules[pair] = prompts.rules(c.text, complete=c.finish_reason == "stop")
    tokens = sum(c["tokens"] for drawn in samples.values() for c in drawn.values())
    speed = tokens / (time.monotonic() - started)
    print(f"{len(todo)} rounds, {tokens} tokens, {speed:.0f} tokens/s", file=sys.stderr, flush=True)
    return samples


def share(name: str, right: int, n: int) -> str:
    """Return a line of the table."""
    low, high = wilson(right, n)
    percent = 100 * right / n if n else 0.0
    return f"{name:44} {right:4}/{n:<4} {percent:5.1f}%  [{100 * low:.1f}, {100 * high:.1f}]"


def is_right(answer: Any, gold: Answer) -> bool:
    """True if `answer` is one and equals `gold`."""
    return isinstance(answer, Answer) and same(answer, gold)


def table(samples: Samples, golds: dict[int, Answer], roles: loop.RoleTable, t: int) -> list[str]:
    """Return the report's lines."""
    n, lines = len(golds), []
    for role in (Role.IR, Role.DR):
        texts = {i: samples[i, 1][role.value]["text"] for i in golds}
        marked = {i: find(text, marked_only=True) for i, text in texts.items()}
        parsed = sum(isinstance(a, Answer) for a in marked.values())
        lines.append(share(f"{role} greedy, marked answer parses", parsed, n))
        right = sum(is_right(marked[i], gold) for i, gold in golds.items())
        lines.append(share(f"{role} greedy, right (marked)", right, n))
        right = sum(is_right(find(texts[i]), gold) for i, gold in golds.items())
        lines.append(share(f"{role} greedy, right (any answer)", right, n))
    for rounds in dict.fromkeys((1, t)):
        for protocol in ("same-round", "pooled"):
            lines += _loop_lines(samples, golds, roles, rounds, protocol)
    return lines


def _loop_lines(
    samples: Samples, golds: dict[int, Answer], roles: loop.RoleTable, t: int, protocol: str
) -> list[str]:
    traces = {i: solve(i, samples, roles, t, protocol) for i in golds}
    label = f"loop t={t} {protocol}"
    right = {i: is_right(traces[i].answer, gold) for i, gold in golds.items()}
    agreed = [i for i in golds if traces[i].status == "agreed"]
    rest = [i for i in golds if traces[i].status != "agreed"]
    lines = [share(f"{label}: right", sum(right.values()), len(golds))]
    lines.append(share(f"{label}: right where agreed", sum(right[i] for i in agreed), len(agreed)))
    for first, last in ((1, 1), (2, 4), (5, t)) if t > 1 else ():
        band = [i for i in agreed if first <= (traces[i].agreed_round or 0) <= last]
        name = f"{label}: agreed in rounds {first}-{last}"
        lines.append(share(name, sum(right[i] for i in band), len(band)))
    lines.append(
        share(f"{label}: best guess, no agreement", sum(right[i] for i in rest), len(rest))
    )
    tokens = sum(trace.tokens for trace in traces.values()) / len(traces)
    lines.append(f"{label}: {tokens:.0f} generated tokens a problem")
    return lines


def _open_rounds(
    samples: Samples, lines: list[int], roles: loop.RoleTable, t: int
) -> Iterator[list[tuple[int, int]]]:
    """Yield what is still to draw: round 1 of all, then rounds 2..t of those that disagree.

    A problem's later rounds are drawn together, so that they share its prompt.
    """
    first = [(i, 1) for i in lines if (i, 1) not in samples]
    for at in range(0, len(first), CHUNK):
        yield first[at : at + CHUNK]
    for i in lines:
        if solve(i, samples, roles, 1, "same-round").status != "agreed":
            rest = [(i, k) for k in range(2, t + 1) if (i, k) not in samples]
            if rest:
                yield rest


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--problems", "count", default=200, show_default=True)
@click.option("--skip", default=0, help="Leave out this many problems first.")
@click.option("--rounds", "t", default=8, show_default=True)
@click.option("--bundle", "name", default=bundles.DEFAULT, show_default=True)
@click.option("--no-adapters", is_flag=True, help="The untouched base with the plain prompts.")
@click.option("--threads", default=0)
def main(
    data: Path, out: Path, count: int, skip: int, t: int, name: str, no_adapters: bool, threads: int
) -> None:
    """Draw what is missing in --out, then print the table."""
    chosen = bundles.find(name)
    roles = chosen.contents.roles
    if no_adapters:
        changed = {r.value: replace(roles.of(r), prompt=PLAIN_PROMPT) for r in Role}
        roles = loop.RoleTable(**changed)
    dev, samples = problems(data, skip, count), load(out)
    questions = {i: question for i, (question, _) in dev.items()}
    adapters = {} if no_adapters else chosen.adapters()
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        LlamaEngine(chosen.base(), adapters, Options(threads=threads)) as engine,
        open(out, "a", encoding="utf-8") as file,
    ):
        for todo in _open_rounds(samples, list(dev), roles, t):
            for (line, number), drawn in draw(engine, todo, questions, roles).items():
                samples[line, number] = drawn
                record = {"line": line, "round": number, "samples": drawn}
                file.write(json.dumps(record) + "\n")
            file.flush()
    for text in table(samples, {i: gold for i, (_, gold) in dev.items()}, roles, t):
        print(text)


if __name__ == "__main__":
    main()
