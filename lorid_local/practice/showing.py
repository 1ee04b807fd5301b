"""The topics and problems as text for people and as JSON for programs."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from lorid_local.practice.drawing import Problem
from lorid_local.practice.families import Topic

WIDTH = 100  # columns at most; a narrower terminal wraps earlier


def topics_table(topics: dict[str, Topic]) -> str:
    """Return a line a topic: families, grades, name; the name last, so that it may wrap."""
    rows = [(str(topic.count), _span(topic.grades), name) for name, topic in topics.items()]
    wide = max(len(grades) for _, grades, _ in rows)
    wide = max(wide, len("grades"))
    head = f"families  {'grades':<{wide}}  topic"
    return "\n".join([head, *(f"{n:>8}  {grades:<{wide}}  {name}" for n, grades, name in rows)])


def topics_json(topics: dict[str, Topic]) -> str:
    """Return a JSON list of {topic, families, grades}."""
    rows = [
        {"topic": name, "families": topic.count, "grades": list(topic.grades)}
        for name, topic in topics.items()
    ]
    return json.dumps(rows)


def problem_text(problem: Problem, *, answer: bool) -> str:
    """Return the question alone, or with the rules, the steps and, last, the answer."""
    if not answer:
        return _wrapped(problem.question)
    rules = [_wrapped(rule, "  - ") for rule in problem.knowledge]
    steps = [_wrapped(step.sentence, "  ") for step in problem.steps]
    parts = [
        _wrapped(problem.question),
        "",
        "What one must know",
        *rules,
        "",
        "Step by step",
        *steps,
    ]
    return "\n".join([*parts, "", "Answer:", problem.answer_text])


def problem_json(problem: Problem, *, answer: bool) -> str:
    """Return one JSON object; without `answer` nothing in it tells the answer."""
    row = record(problem)
    if not answer:
        row = {key: row[key] for key in ("question", "topic", "grade", "family", "seed")}
    return json.dumps(row)


def record(problem: Problem) -> dict[str, Any]:
    """Return the problem as a row of data; `lorid practice show FAMILY --seed SEED` shows it."""
    return {
        "question": problem.question,
        "answer": problem.answer_text,
        "steps": [
            {"calculation": f"{step.calculation} = {step.shown}", "sentence": step.sentence}
            for step in problem.steps
        ],
        "knowledge": list(problem.knowledge),
        "topic": problem.topic,
        "grade": problem.grade,
        "family": problem.family,
        "seed": problem.seed,
    }


def jsonl(problems: Iterable[Problem]) -> Iterator[str]:
    """Yield a JSON line a problem."""
    return (json.dumps(record(problem)) + "\n" for problem in problems)


def _span(grades: tuple[int, ...]) -> str:
    """'3', '3-6' where none is missing, else '3,5'."""
    if len(grades) > 1 and grades[-1] - grades[0] == len(grades) - 1:
        return f"{grades[0]}-{grades[-1]}"
    return ",".join(map(str, grades))


def _wrapped(text: str, indent: str = "") -> str:
    """Wrap for a terminal; into a pipe or a file a text stays on one line."""
    if not sys.stdout.isatty():
        return indent + text
    width = min(shutil.get_terminal_size().columns, WIDTH)
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=" " * len(indent))
