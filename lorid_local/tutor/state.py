"""The session's state, what may happen to it and what it asks for: plain data."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from lorid_local.tutor.task import Task

Result = Literal["first", "right", "shown", "skipped"]
Tone = Literal["problem", "about", "good", "retry", "hint", "answer", "plain", "heading"]


@dataclass(frozen=True)
class Own:
    """The pupil's own problem; `why` says what went wrong where `status` is 'failed'.

    `sure` is the measured sentence on how often such an agreement was right.
    """

    question: str
    status: Literal["thinking", "agreed", "unsettled", "failed"] = "thinking"
    rules: tuple[str, ...] = ()
    sure: str = ""
    why: str = ""


@dataclass(frozen=True)
class State:
    """Where a session stands. `rung` is the next hint, `over` how the problem ended."""

    level: int
    topic: str | None = None
    recent: tuple[int, ...] = ()  # see `level`
    task: Task | None = None
    own: Own | None = None
    rung: int = 0
    hints: int = 0
    tried: tuple[Fraction, ...] = ()  # wrong answers
    found: frozenset[int] = frozenset()  # steps that the pupil found
    seen: frozenset[int] = frozenset()  # steps that a hint worked
    warned: bool = False  # /answer was typed before any attempt
    over: Literal["", "right", "shown"] = ""
    grades: tuple[int, int] = (1, 12)  # the lowest and the highest level there is


# --- events ---


@dataclass(frozen=True)
class Line:
    """The pupil typed a line."""

    text: str


@dataclass(frozen=True)
class Given:
    """A practice problem is there; `again`: a kind that was missed; `resumed`: cut off before."""

    task: Task
    again: bool = False
    resumed: bool = False


@dataclass(frozen=True)
class Asked:
    """The pupil brought a problem; it is being thought about."""

    question: str


@dataclass(frozen=True)
class Thought:
    """News of the pupil's own problem; `task` where both systems agreed."""

    own: Own
    task: Task | None = None


@dataclass(frozen=True)
class Impatient:
    """The pupil stopped waiting."""


Event = Line | Given | Asked | Thought | Impatient


# --- effects ---


@dataclass(frozen=True)
class Say:
    """Show a text. Tone 'about' is about the session, never about the problem's solution."""

    tone: Tone
    text: str


@dataclass(frozen=True)
class Next:
    """Give a practice problem of the state's level and topic."""


@dataclass(frozen=True)
class Record:
    """Keep how a practice problem went: `tries` wrong answers, `hints` hints."""

    task: Task
    result: Result
    tries: int
    hints: int


@dataclass(frozen=True)
class Wait:
    """Wait for a verdict on the pupil's own problem, then let this line happen again.

    More than `rules` rules will do too; None: they will not.
    """

    line: Line
    rules: int | None = None


@dataclass(frozen=True)
class ShowProgress:
    """Show the pupil's progress."""


@dataclass(frozen=True)
class End:
    """The session ends."""


Effect = Say | Next | Record | Wait | ShowProgress | End
