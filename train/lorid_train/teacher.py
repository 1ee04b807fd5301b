"""What the teacher is asked (stage 1 of LoRID, section 3.1) and what is made of its reply.

Knows no HTTP and no engine: a teacher is whatever answers `Ask`s.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from lorid_local import prompts
from lorid_train.rows import Row

SYSTEM = (
    "You are a thoughtful and logical MATH teacher. You are given a question and its worked "
    "solution. Summarise the general rules that solve such questions. "
    "(1) The rules are general: they are not tailored to this question. "
    "(2) They hold no semantic information of the question: none of its names, things or numbers. "
    "(3) Together they cover every step of the reasoning. "
    'Answer with JSON only: {"output": ["<rule 1>", "<rule 2>", ...]}'
)
USER = "Question: {question}\n\nSolution: {rationale}\n\nAnswer: {answer}"
TEMPERATURE = 0.2  # the paper's


@dataclass(frozen=True)
class Ask:
    """One question to the teacher; `attempt` counts from 0 and makes another seed."""

    id: int | str
    system: str
    user: str
    attempt: int = 0


@dataclass(frozen=True)
class Reply:
    """What came back; `complete` is False for a text cut off at the length limit."""

    text: str
    complete: bool = True
    prompt_tokens: int = 0
    reply_tokens: int = 0


Cancelled = Callable[[], bool]


class Teacher(Protocol):
    """Answers questions, several at once, in the order they get ready."""

    def answers(self, asks: Iterable[Ask], cancelled: Cancelled) -> Iterator[tuple[Ask, Reply]]:
        """Yield each ask with its reply; once `cancelled`, only those under way.

        Raises TrainError or EngineError where going on is of no use.
        """
        ...


def ask(row: Row, attempt: int = 0) -> Ask:
    """Return the question that a worked problem is to the teacher, `<<...>>` left out."""
    rationale = re.sub(r"<<[^<>]*>>", "", row.rationale)
    user = USER.format(question=row.question, rationale=rationale, answer=row.answer)
    return Ask(row.id, SYSTEM, user, attempt)


class Unreadable(Exception):
    """A reply holds no rules; the argument says why."""


def rules(reply: Reply) -> tuple[str, ...]:
    """Return the rules of a reply, its JSON mended where that is safe; raises Unreadable.

    Mended are text or a code fence around the JSON, commas too many, a bare list, and a list
    that was cut off: its complete rules are kept.
    """
    body = reply.text.strip()
    found = _loaded(body)
    if found is None and (start := re.search(r"[{\[]", body)):
        body = body[start.start() :]
        found = _loaded(body[: max(body.rfind("}"), body.rfind("]")) + 1])
        if found is None:
            found = _cut_off(body)
    if found is None:
        raise Unreadable("no JSON" if reply.complete else "cut off before the first rule")
    items = found.get("output") if isinstance(found, dict) else found
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise Unreadable('no list of texts under "output"')
    listed = prompts.rules("\n".join(" ".join(item.split()) for item in items))
    if not listed:
        raise Unreadable("no rules")
    return listed


def _loaded(text: str) -> object | None:
    for candidate in (text, re.sub(r",(\s*[\]}])", r"\1", text)):
        try:
            found: object = json.loads(candidate, strict=False)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict | list) else None
    return None


def _cut_off(text: str) -> object | None:
    """Return the complete strings of a list that never ends."""
    _, bracket, rest = text.partition("[")
    strings = re.match(r'\s*((?:"(?:[^"\\]|\\.)*"\s*,\s*)+)', rest) if bracket else None
    return _loaded(f"[{strings[1]}]") if strings else None
