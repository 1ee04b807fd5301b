"""How long `lorid eval` takes to replay all methods on stored samples; how large its report is.

    python benchmarks/eval_replay.py --problems 500 --rounds 20

The samples are made up here: chains of the length that the bundled model writes, right in some
share of all cases. They are read from a file, as `lorid eval FILE` does, and every method that
there is is replayed. CPU seconds, as other processes may be at work.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from lorid_local.answers import Answer
from lorid_local.engine import Completion, Role
from lorid_local.evaluate import findings, methods, report, sampled, store
from lorid_local.evaluate.cases import Case

NAMES = ("Ann", "Bilal", "Chen", "Dora", "Emeka", "Fatima", "Goran", "Hana")
THINGS = ("eggs", "pencils", "stamps", "tickets", "apples", "marbles", "bricks", "shells")
WORDS = ("day", "week", "box", "group")
SIGNS = ("times", "plus", "less", "divided by")
Write = Callable[[dict[str, Any]], None]
VERBS = ("buys", "sells", "finds", "packs", "counts", "paints", "moves", "keeps")


def sentence(rng: random.Random) -> str:
    """Return a sentence such as chains have, with its calculation marked."""
    a, b = rng.randint(2, 900), rng.randint(2, 90)
    name, verb, thing = rng.choice(NAMES), rng.choice(VERBS), rng.choice(THINGS)
    return (
        f"{name} {verb} {a}*{b} = <<{a}*{b}={a * b}>>{a * b} {thing} in {rng.randint(2, 30)} days."
    )


def text(role: Role, right: int, skill: float, rng: random.Random) -> str:
    """Return a text of one role; its answer is `right` in a share `skill` of all cases."""
    if role is Role.KG:
        picks = [[rng.choice(words) for words in (THINGS, WORDS, NAMES, SIGNS)] for _ in range(3)]
        return "\n".join(
            f"- The {a} of a {b} are those of {c}, {d} the rest." for a, b, c, d in picks
        )
    said = right if rng.random() < skill else rng.randint(1, 10_000)
    lines = [sentence(rng) for _ in range(4)]
    if role is Role.IR:
        lines = [line[line.index("<<") : line.index(">>") + 2] for line in lines]
    return "\n".join([*lines, f"#### {said}"])


def made_up(problems: int, rounds: int, skill: float, write: Write) -> None:
    """Write samples of so many problems and rounds, and DR's greedy ones by other rules."""
    rng = random.Random(0)
    write({"schema": store.SCHEMA, "data": "made up", "settings": {"seed": 0}})
    writer = store.Writer(write, store.Contents())
    for number in range(problems):
        right = rng.randint(1, 200)
        question = " ".join(sentence(rng).partition("=")[0] for _ in range(4)) + " How many?"
        case = Case(number, question, Answer(Fraction(right), str(right)), ("+", "*")[: number % 3])
        writer.case(case)
        keys = [store.Key(number, role, k) for role in Role for k in range(1, rounds + 1)]
        for key in [*keys, *(store.Key(number, Role.DR, 1, by) for by in sampled.RULES)]:
            done = Completion(text(key.role, right, skill, rng), "stop", rng.randint(30, 200))
            writer.sample(key, done, 0.1)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print the CPU seconds of what is inside."""
    started = time.process_time()
    yield
    print(f"{name}: {time.process_time() - started:.2f} s of CPU time")


@click.command()
@click.option("--problems", default=500, show_default=True)
@click.option("--rounds", default=20, show_default=True)
@click.option(
    "--skill", default=0.3, show_default=True, help="Share of right chains; at 0 none agree."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write the report here.")
def main(problems: int, rounds: int, skill: float, out: Path | None) -> None:
    """Print what reading, replaying and reporting take."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            made_up(problems, rounds, skill, lambda record: print(json.dumps(record), file=file))
        with timed("reading the file"):
            contents = store.read(path)
    with timed("judging each sample"):
        every = sampled.gather(contents)
    # those without the greedy round have one round less
    names = [f"{n}@{rounds - 1}" if n.startswith("warm") else n for n in methods.KINDS]
    chosen = methods.parse([*methods.DEFAULT, *names], rounds)
    with timed("replaying the methods"):
        replayed = findings.replay(every, chosen)
    with timed("all figures"):
        figures = findings.figures(
            contents, replayed, wanted=problems, rounds=rounds, protocol="same-round"
        )
    with timed("the report"):
        page = report.html(figures, replayed)
    print(f"the report: {len(page.encode()) / 1e6:.2f} MB")
    if out:
        out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
