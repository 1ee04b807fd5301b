"""Which practice problem comes next: a missed kind that is due, or a new one of level and topic."""

import random
from dataclasses import dataclass

from lorid_local.errors import InputError
from lorid_local.practice.bank import SEEDS, Bank
from lorid_local.practice.drawing import Problem, draw
from lorid_local.practice.families import Families
from lorid_local.tutor import task as tasks
from lorid_local.tutor.state import Given
from lorid_local.tutor.store import Store

TRIES = 20  # draws for other numbers than the last ones


@dataclass
class Chooser:
    """Gives problems; the same for the same seed and the same progress.

    Of two problems running at most one is a kind that was missed before.
    """

    families: Families
    store: Store
    seed: int

    def __post_init__(self) -> None:
        self._banks: dict[tuple[str | None, int], Bank] = {}
        self._rng = random.Random(f"tutor {self.seed}")
        self._was_again = False

    def next(self, topic: str | None, grade: int) -> Given:
        """Return the next problem; `grade` must be one that the topic has problems for."""
        family = None if self._was_again else self._due(topic)
        self._was_again = family is not None
        if family:
            problem = self._other_numbers(family)
        else:
            bank = self._banks.setdefault((topic, grade), self._bank(topic, grade))
            problem = next(bank)
        of = self.families.family(problem.family)
        return Given(tasks.of_practice(of, problem), again=family is not None)

    def _bank(self, topic: str | None, grade: int) -> Bank:
        return Bank(self.families, topic=topic, grade=grade, seed=self.seed)

    def _due(self, topic: str | None) -> str | None:
        """Return the kind due longest that is of the topic and still there."""
        try:
            ids = set(self.families.ids(topic))
        except InputError:
            return None
        return next((family for family in self.store.due() if family in ids), None)

    def _other_numbers(self, id: str) -> Problem:
        family = self.families.family(id)
        last = self.store.last_seed(id)
        numbers = draw(family, last).numbers if last is not None else None
        for _ in range(TRIES):
            problem = draw(family, int(self._rng.random() * SEEDS))
            if problem.numbers != numbers:
                break
        return problem
