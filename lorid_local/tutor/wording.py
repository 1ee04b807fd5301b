"""Every sentence that a pupil reads: warm, short, plain. What would tell the answer stays unsaid.

Kinder than exact where both cannot be had: 'It looks as if', for a slip is a guess.
"""

from fractions import Fraction

from lorid_local.answers import show
from lorid_local.tutor import ladder, leaks
from lorid_local.tutor.diagnosis import Finding
from lorid_local.tutor.reading import Sum
from lorid_local.tutor.slips import Slip
from lorid_local.tutor.state import Own
from lorid_local.tutor.task import Task

COMMANDS = {
    "hint": "one hint; ask again for the next one",
    "check": "what you have so far; /check 6 * 4 = 24 looks at a calculation",
    "steps": "the steps that you know by now",
    "answer": "the answer, if you really want it",
    "read": "the problem once more",
    "skip": "another problem",
    "topic": "choose a topic; /topic pizza, or /topic any",
    "level": "/level easier, /level harder, or /level 3",
    "progress": "how you are doing",
    "help": "this list",
    "quit": "stop; what you did is kept",
}
FOOTER = " ".join(f"/{name}" for name in COMMANDS)

WELCOME = "Hello! Read the problem and type your answer. Stuck? Type /hint."
BACK = "Welcome back! You were working on this one."
AGAIN = "Here is a kind of problem you met before, with new numbers."
TRY = "What do you think? Type a number, or /hint."
BYE = "Bye! Well done for practising."
INTERRUPTED = "Press Ctrl-C again to stop, or just go on."
NEXT = "Press Enter for the next one."
LATER = "This kind comes back later, with new numbers: then you will know it."
OVER = "This one is done. Press Enter for the next one, or /steps to see how it goes."
NO_MORE_HINTS = "That is all I can say without the answer. Have a go: what do you get?"
ANSWER_FIRST = "Have a go first, even a guess: that helps. To see it anyway, type /answer again."
SKIPPED = "All right, let us take another one."
NO_STEPS = "No steps yet. When you find one, it is listed here. /hint can help."
STEPS = "What you know by now:"
ALL_STEPS = "Step by step:"
RIGHT = ("Right!", "Yes, that is it!", "Right, well done!", "Correct!")
NOT_YET = (
    "Not yet. Try again, or type /hint.",
    "Not quite. Which numbers of the story do you need first?",
    "Not yet, but keep going. Shall we take a small step? Type /hint.",
)
TRIED = "You had that one before. Try another way, or type /hint."
UP = "You got these all by yourself. Let us go one level up!"
DOWN = "Let us warm up with some easier ones."
STUCK = "That is fine. Type /hint and we go one small step at a time."
NO_DIGITS = "I understand numbers, calculations and commands. Stuck? Type /hint for a small step."
UNREAD = {
    "no number": "I could not find a number in that. Type one like 18, 2.50 or 3/4.",
    "two numbers": "I see more than one number. Which one is your answer?",
    "time": "That looks like a clock time. Type one number, like 90 or 1.5.",
    "too long": "That is very long! Type just a number, or a calculation.",
    "": "I could not read that. Type a number like 18, 2.50 or 3/4.",
}
YOURS = "Your problem"
THINKING = (
    "I am working on your problem too. Meanwhile: what do you think? Type a number, or /hint."
)
STILL_THINKING = "I am still working on it. Type it again in a little while."
UNSETTLED = "I could not settle this one: my two ways of solving it do not agree."
NOT_SETTLED_ANSWER = f"{UNSETTLED} So I have no answer that I trust. Ask somebody, too."
NOT_MARKED = f"{UNSETTLED} So I cannot tell you whether that is right."
NO_RULES = "I have no hint that I trust for this problem."
NO_MORE_RULES = "Those are all the hints I have for this problem."
NOT_MEASURED = "Nobody has measured how often I am right in such a case, so check it yourself."


def header(task: Task) -> str:
    """Return the line above a problem: its level and topic."""
    assert task.source is not None
    return f"Level {task.source.grade}: {task.source.topic}"


def right(task: Task, turn: int) -> str:
    """Return the praise for a right answer of a practice problem."""
    return RIGHT[turn % len(RIGHT)]


def but(written: Sum) -> str:
    """Return what is said of a right answer that a calculation ends in which does not hold."""
    return f"Only {written.text} does not hold: look at how you wrote it."


def own_right(own: Own) -> str:
    """Return the verdict on an answer that the systems agree with."""
    return f"I get that too, in both my ways of solving it. {own.sure}"


def own_step(own: Own, index: int) -> str:
    """Return what is said of a number that the systems have on their way."""
    which = "the first step" if index == 0 else "a step"
    return f"In my way that is {which}, and I go on from there. {own.sure}"


def own_slip(text: str) -> str:
    """Return the naming of a slip that is one only if a model is right."""
    return f"If I am right: {lowered(text)}"


def own_other(own: Own) -> str:
    """Return the verdict on an answer that the systems do not agree with."""
    return f"I get another number, in both my ways of solving it. But {lowered(own.sure)}"


def own_answer(task: Task, own: Own) -> str:
    """Return the agreed answer of the pupil's own problem, with how sure that is."""
    return f"I get {task.answer_text}, in both my ways of solving it. {own.sure}"


def own_hint(text: str) -> str:
    """Return a hint about a step that a model wrote, marked as such."""
    return f"How I did it, and I can be wrong: {lowered(text)}"


def own_rule(text: str) -> str:
    """Return a rule that a model wrote for a problem that it could not settle."""
    return f"This may help, and I can be wrong: {lowered(text)}"


def failed(own: Own) -> str:
    """Return why the pupil's own problem could not be worked on."""
    return f"I cannot work on your problem: {own.why}."


def answer(task: Task) -> str:
    """Return a practice problem's answer."""
    return f"The answer is {task.answer_text}."


def finding(task: Task, found: Finding, turn: int = 0) -> str:
    """Return what is said of an attempt that is not right; it never tells the answer."""
    text = _finding(task, found)
    return text if text and not ladder.tells(task, text) else NOT_YET[turn % len(NOT_YET)]


def _finding(task: Task, found: Finding) -> str:
    if found.sum:
        return f"Look at this one again: {found.sum.text}. What does it come to?"
    if found.verdict == "plan":
        if found.step is None or task.source is None:  # a model's steps make no plan a good one
            return "I can follow that. Work it out: what does it come to?"
        return "Good plan! Work it out: what does it come to?"
    if found.step is not None:
        return step(task, found.step)
    if found.slip and found.value is not None:
        return _slip(task, found.slip, found.value)
    return ""


def step(task: Task, index: int) -> str:
    """Return what is said when a number is a step on the way."""
    which = "the first step" if index == 0 else "a step on the way"
    said = task.steps[index].said
    known = ladder.visible(task) | {task.steps[index].value}
    if said and not _others(said, known):
        return f"Good, that is {which}. {said} What comes next?"
    return f"Good, that is {which}. What comes next?"


def calculation(text: str, index: int | None) -> str:
    """Return what is said of a right calculation that was to be checked."""
    if index is None:
        return f"Yes, {text} is right. Does it help with the question?"
    return f"Yes, {text} is right, and it is a step on the way."


def _others(text: str, known: set[Fraction]) -> set[Fraction]:
    return leaks.values(text) - known - {Fraction(1)}  # 'one' is mostly no number


def _slip(task: Task, slip: Slip, value: Fraction) -> str:
    if value in task.numbers.values():
        return f"{show(value)} stands in the question. What can you work out with it?"
    if slip.kind == "ten":
        return "The digits look good. Check the zeros and the decimal point."
    if slip.kind == "hundred":
        return "Almost. A percent is out of a hundred: did you use that?"
    if slip.kind == "percent":
        return "Look at the percent again: of which number is it?"
    if slip.kind == "left out":
        return "It looks as if one step is missing. Read the question once more."
    if slip.kind == "order":
        return f"It looks as if you {slip.did} the wrong way round. Which number comes first?"
    numbers = [show(number) for number in slip.numbers if number in task.numbers.values()]
    if len(numbers) == 2:
        return (
            f"It looks as if you {slip.did} {' and '.join(numbers)}. "
            "Is that what the story asks for there?"
        )
    return f"It looks as if you {slip.did} two numbers. Is that what the story asks for there?"


def sure(counts: tuple[int, int] | None) -> str:
    """Return the measured sentence on an agreement: (right, of how many), or None."""
    if counts is None:
        return NOT_MEASURED
    right, many = counts
    return (
        f"I can be wrong: of {many} test problem{'s' * (many != 1)} where my two ways agreed like "
        f"this, {right} {'was' if right == 1 else 'were'} right. So check it yourself."
    )


def lowered(text: str) -> str:
    """Return `text` for the middle of a sentence; 'I' stays as it is."""
    return text if text.startswith("I ") else text[:1].lower() + text[1:]


def unknown_command(name: str, near: str) -> str:
    """Return what is said to a command there is not."""
    return f"I do not know /{name}{near}. Type /help for what I know."


def help_lines() -> str:
    """Return the commands, one a line."""
    return "\n".join(f"/{name}: {what}" for name, what in COMMANDS.items())


def not_kept(why: str, way_out: str) -> str:
    """Return that this session's progress will be lost, and what would mend that."""
    return f"This time I cannot keep your progress. {why}. To mend that: {way_out}."


def level_is(level: int, grades: tuple[int, int]) -> str:
    """Return the level there is and those there are."""
    return f"You are on level {level}. Levels go from {grades[0]} to {grades[1]}, as school grades."


def level_set(level: int) -> str:
    """Return that the level was set."""
    return f"Level {level} it is."


def topic_is(topic: str | None, some: list[str]) -> str:
    """Return the topic there is and some that there are."""
    now = f"Your topic: {topic}." if topic else "You get problems of all topics."
    return "\n".join([now, "Some topics of your level:", *(f"- {name}" for name in some),
                      "Type for example: /topic pizza. For all: /topic any."])  # fmt: skip


def topic_set(topic: str | None) -> str:
    """Return that the topic was set."""
    return f"From now on: {topic}." if topic else "From now on: all topics."


def no_topic(asked: str) -> str:
    """Return that there is no such topic."""
    return f"I have no topic like '{asked}'. Type /topic to see some."
