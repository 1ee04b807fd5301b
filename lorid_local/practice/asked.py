"""What each command of `lorid practice` does: opens families, prints or writes problems."""

import shlex
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import SystemRandom

from lorid_local import whole_file
from lorid_local.errors import OutputError
from lorid_local.practice import showing, worksheet
from lorid_local.practice.bank import Bank
from lorid_local.practice.drawing import Problem, draw
from lorid_local.practice.families import load


class Asked:
    """The commands over one families file, None for the bundled one.

    Every method raises InputError for a topic or a grade there is not, FamilyError for a family
    that cannot be used.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def list_topics(self, *, grade: int | None = None, as_json: bool = False) -> None:
        """Print the topics with problems for `grade` (None: all)."""
        topics = load(self._file).topics(grade)
        print(showing.topics_json(topics) if as_json else showing.topics_table(topics))

    def show(
        self,
        *,
        topic: tuple[str, ...] = (),
        grade: int | None = None,
        seed: int | None = None,
        answer: bool = False,
        as_json: bool = False,
    ) -> None:
        """Print a problem; how to see it again, solved, goes to standard error.

        `topic` is in words. A family's id has one problem a seed; a topic, one bank a seed.
        """
        families, asked, seed = load(self._file), " ".join(topic) or None, _seed(seed)
        if asked and families.ids(asked, grade) == [asked]:
            problem = draw(families.family(asked), seed)
        else:
            problem = next(Bank(families, topic=asked, grade=grade, seed=seed))
        if as_json:
            print(showing.problem_json(problem, answer=answer))
            return
        print(showing.problem_text(problem, answer=answer))
        if not answer:
            print(f"\nWith the answer: {self._again(problem)}", file=sys.stderr)

    def export(
        self,
        *,
        count: int,
        topic: str | None = None,
        grade: int | None = None,
        seed: int | None = None,
        format: str = "jsonl",
        output: Path | None = None,
    ) -> None:
        """Write `count` problems, 'jsonl' or an 'html' worksheet, to `output` or standard output.

        A file is written whole or not at all. Raises OutputError.
        """
        seed = _seed(seed)
        bank = Bank(load(self._file), topic=topic, grade=grade, seed=seed)
        parts = showing.jsonl(islice(bank, count))
        made = f"{count} problem{'s' if count > 1 else ''}, seed {seed}"
        if format == "html":
            for_grade = "" if grade is None else f", grade {grade}"
            title = f"Practice: {topic or 'word problems'}{for_grade}"
            parts = worksheet.html(list(islice(bank, count)), title=title, foot=f"lorid: {made}")
        if output is None:
            sys.stdout.writelines(parts)
        else:
            _write(output, parts)
        print(made + (f", in {output}" if output else ""), file=sys.stderr)

    def _again(self, problem: Problem) -> str:
        families = ["--families", str(self._file)] if self._file else []
        same = ["show", problem.family, "--seed", str(problem.seed), "--answer"]
        return shlex.join(["lorid", "practice", *families, *same])


def _seed(seed: int | None) -> int:
    """The seed given, or a new one, short enough to type."""
    return SystemRandom().randrange(10**6) if seed is None else seed


def _write(path: Path, parts: Iterable[str]) -> None:
    try:
        whole_file.write(path, parts)
    except OSError as error:
        raise OutputError(
            f"{path}: the problems cannot be written ({error.strerror})",
            hint="give -o a file in a folder that you may write to",
        ) from None
