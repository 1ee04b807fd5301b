"""Finds questions that are, or nearly are, a question of a test set.

A question is near another if their normalised texts are equal, equal with the numbers masked, or
share at least half of their distinct masked 5-grams, counted against the shorter one's.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from lorid_local.errors import TrainError
from lorid_train import rows
from lorid_train.mentions import TENS, WORDS

LENGTH = 5
SHARE = 0.5
PUBLISHED = "GSM8K, SVAMP or MAWPS as published"
_WORD = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+|[a-z]+(?:'[a-z]+)?")


def normalised(question: str) -> str:
    """Return the words and numbers of `question` in lower case, with single spaces."""
    return " ".join(_WORD.findall(question.lower().replace("’", "'")))


def masked(question: str) -> str:
    """Return the normalised question with every number, in digits or words, as '0'."""
    words = normalised(question).split()
    return " ".join("0" if w[0] in "0123456789." or w in _NUMBERS else w for w in words)


_NUMBERS = {*WORDS, *TENS, "hundred", "thousand", "million"}


def grams(masked_text: str) -> frozenset[tuple[str, ...]]:
    """Return the distinct 5-grams; of a shorter text, all its words as one."""
    words = masked_text.split()
    count = max(1, len(words) - LENGTH + 1)
    return frozenset(tuple(words[at : at + LENGTH]) for at in range(count))


class Index:
    """Questions that nothing may be near, with where each is from, by their 5-grams."""

    def __init__(self, questions: Iterable[tuple[str, str]]) -> None:
        self._text: dict[str, str] = {}
        self._masked: dict[str, str] = {}
        self._source: list[str] = []
        self._size: list[int] = []
        self._having: dict[tuple[str, ...], list[int]] = {}
        self._known: dict[str, str] = {}
        for source, question in questions:
            self.add(source, question)

    def __len__(self) -> int:
        return len(self._source)

    def add(self, source: str, question: str) -> None:
        """Keep away from another question."""
        self._known = {}
        self._text.setdefault(normalised(question), source)
        mask = masked(question)
        if mask in self._masked:
            return
        self._masked[mask] = source
        found = grams(mask)
        for gram in found:
            self._having.setdefault(gram, []).append(len(self._source))
        self._source.append(source)
        self._size.append(len(found))

    def near(self, question: str) -> str:
        """Return '' or why `question` must not be used: 'same masked text as gsm8k/test.jsonl'."""
        mask = masked(question)
        if mask in self._masked:
            kind = "text" if (text := normalised(question)) in self._text else "masked text"
            return f"same {kind} as {self._text.get(text) or self._masked[mask]}"
        if mask not in self._known:
            self._known[mask] = self._overlapping(mask)
            if len(self._known) > 20_000:  # names make many texts of one template
                self._known = {}
                return self._overlapping(mask)
        return self._known[mask]

    def _overlapping(self, mask: str) -> str:
        own = grams(mask)
        shared = Counter(item for gram in own for item in self._having.get(gram, ()))
        for item, count in shared.items():
            if count >= SHARE * min(len(own), self._size[item]):
                return f"5-grams of {self._source[item]}"
        return ""


def questions(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield (name, question) of a test set below `root`: GSM8K, SVAMP or MAWPS by its keys.

    Raises TrainError for a file that is missing or of none of these kinds.
    """
    path = root / name
    records = rows.read_json(path) if path.suffix == ".json" else _lines(path)
    if not isinstance(records, list):
        raise TrainError(f"{path}: expected a list of problems", hint=PUBLISHED)
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise TrainError(f"{path}:{number}: expected an object", hint=PUBLISHED)
        if "Body" in record and "Question" in record:
            yield name, f"{record['Body']} {record['Question']}"
            continue
        key = next((k for k in ("question", "input", "problem") if k in record), None)
        if key is None:
            raise TrainError(
                f"{path}:{number}: expected question, input, problem, or Body and Question",
                hint=PUBLISHED,
            )
        yield name, record[key]


def _lines(path: Path) -> list[dict[str, object]]:
    return [record for _, record in rows.jsonl(path, set())]
