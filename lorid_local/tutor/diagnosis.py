"""What a pupil's number says about the way it was found; pure, and exact.

Decides what kind of thing it is, never what may be told of it: `wording` does that.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from lorid_local.tutor import slips
from lorid_local.tutor.reading import Sum, Typed
from lorid_local.tutor.slips import Slip
from lorid_local.tutor.task import Task

Verdict = Literal["right", "sum", "step", "plan", "slip", "wrong", "unread"]


@dataclass(frozen=True)
class Finding:
    """The verdict on a line; `step` is the step it found, `slip` the likely slip of it.

    `found` are the steps that its calculations show to be done; `sum` is one that does not hold,
    with a right value too.
    """

    verdict: Verdict
    value: Fraction | None = None
    step: int | None = None
    slip: Slip | None = None
    sum: Sum | None = None
    found: frozenset[int] = frozenset()


def diagnose(task: Task, line: Typed) -> Finding:
    """Return what `line` is for this task. A value equal to the answer is always right."""
    found = _found(task, line)
    wrong = next((written for written in line.sums if not written.holds), None)
    if line.value is not None and line.value == task.answer:
        return Finding("right", line.value, sum=wrong, found=found)
    if wrong:
        return Finding("sum", line.value, sum=wrong, found=found)
    if line.plan is not None:
        planned = task.step_of(line.plan)
        if planned is None and line.plan == task.answer:
            planned = len(task.steps) - 1
        return Finding("plan", line.plan, planned, found=found)
    if line.value is None:
        return Finding("unread", found=found)
    index = task.step_of(line.value)
    if index is not None:
        return Finding("step", line.value, index, found=found | task.before(index))
    slip = slips.find(task, line.value)
    return Finding("slip" if slip else "wrong", line.value, slip=slip, found=found)


def _found(task: Task, line: Typed) -> frozenset[int]:
    right = [task.step_of(written.value) for written in line.sums if written.holds]
    return frozenset().union(*(task.before(index) for index in right if index is not None))
