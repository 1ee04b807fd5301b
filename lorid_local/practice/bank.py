"""Problems without end: every family in turn, in shuffled order, and no number set again soon."""

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction

from lorid_local.practice.drawing import Problem, draw
from lorid_local.practice.families import Families

WINDOW = 1000  # problems within which a family's numbers do not come again
SEEDS = 10**6  # a problem's seed is below: short enough to type
TRIES = 20  # draws of one family before the next family takes its turn


class Bank(Iterator[Problem]):
    """Problems of a topic and a grade (None: any), the same ones for the same seed.

    Each family comes once before any comes again. A family never has the same numbers twice within
    WINDOW problems, unless the families chosen have no others left: then, and only then, those
    seen longest ago come again. Each problem is `draw(family, problem.seed)`. Raises InputError as
    `Families.ids` does.
    """

    def __init__(
        self,
        families: Families,
        *,
        topic: str | None = None,
        grade: int | None = None,
        seed: int = 0,
    ) -> None:
        self._families = families
        self._ids = families.ids(topic, grade)
        self._rng = random.Random(f"bank {seed}")
        self._turns: list[str] = []  # the families of this cycle still to come, last first
        self._last = ""
        self._seen: dict[tuple[str, Sequence[Fraction]], None] = {}  # oldest first

    def __next__(self) -> Problem:
        while True:
            for _ in self._ids:
                if problem := self._fresh(self._next_id()):
                    return problem
            for old in list(self._seen)[: len(self._seen) // 2 + 1]:
                del self._seen[old]

    def _next_id(self) -> str:
        if not self._turns:
            self._turns = self._shuffled()
        self._last = self._turns.pop()
        return self._last

    def _shuffled(self) -> list[str]:
        """A new cycle, by `random()` alone: Python may change how its shuffle draws."""
        ids = list(self._ids)
        for i in range(len(ids) - 1, 0, -1):
            j = int(self._rng.random() * (i + 1))
            ids[i], ids[j] = ids[j], ids[i]
        if len(ids) > 1 and ids[-1] == self._last:
            ids[0], ids[-1] = ids[-1], ids[0]
        return ids

    def _fresh(self, id: str) -> Problem | None:
        family = self._families.family(id)
        for _ in range(TRIES):
            problem = draw(family, int(self._rng.random() * SEEDS))
            key = (id, problem.numbers)
            if key not in self._seen:
                self._seen[key] = None
                if len(self._seen) > WINDOW:
                    del self._seen[next(iter(self._seen))]
                return problem
        return None
