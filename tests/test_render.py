"""What a person sees: the report's exact lines, the answer alone on standard output."""

from dataclasses import replace
from fractions import Fraction

import pytest

from lorid_local.answers import Answer
from lorid_local.calibration import Sureness
from lorid_local.engine import Role
from lorid_local.loop import Drawn, Judged
from lorid_local.render import Growing, Plain, Silent, outcome, readable, screen
from lorid_local.trace import Round, Sample, Status, Trace

SURE = Sureness(9, 10, 60, 98, "dev", "agreed in round 1")
ANSWER = Answer(Fraction(24), "24")


def sample(role: Role, text: str, answer: Answer | None = None) -> Sample:
    return Sample(role, 1, text, "stop", 9, answer)


IR = sample(Role.IR, "<<48/2=24>>\n#### 24", ANSWER)
KG = sample(Role.KG, "- Half is a division by 2.\n- Keep units.")
DR = sample(Role.DR, "Ann keeps 48/2 = <<48/2=24>>24 eggs.\n#### 24", ANSWER)
AGREED = Round(1, IR, KG, ("Half is a division by 2.", "Keep units."), DR, True, "both say 24")
DIFFER = Round(1, IR, KG, (), DR, False, "System 1 says 1, System 2 says 2")


def trace(status: Status, *rounds: Round, answer: Answer | None = ANSWER) -> Trace:
    agreed_round = len(rounds) if status == "agreed" else None
    return Trace("Q?", status, answer, agreed_round, rounds, "same-round", 8, 0, 1.0)


@pytest.mark.parametrize(
    ("role", "text", "expected"),
    [
        (Role.IR, "<<48/2=24>>\n#### 24", "48/2 = 24\nAnswer: 24"),
        (Role.IR, "<<1+1=2>>\n<<2*3=6>>", "1+1 = 2\n2*3 = 6"),
        (Role.DR, "She has 48/2=<<48/2=24>>24 left.\n####24", "She has 48/2=24 left.\nAnswer: 24"),
        (Role.KG, "Halve <<1/2=0.5>>it.", "Halve it."),
        (Role.DR, "no ####  marker inside", "no ####  marker inside"),
        (Role.DR, "  open <<1+1\n", "open <<1+1"),
        (Role.DR, "She has 48/2=<<48/2=24>", "She has 48/2="),
        (Role.DR, "She has 48/2=<", "She has 48/2="),
        (Role.DR, "so 5 < 6", "so 5 < 6"),
        (Role.IR, "<<1+1=2>>\n<<2*3=", "1+1 = 2\n2*3 ="),
        (Role.IR, "\x1b[2J<<1+1=2\x07>>", "[2J1+1 = 2"),
        (Role.DR, "[bold]not markup[/bold]", "[bold]not markup[/bold]"),
    ],
)
def test_readable(role: Role, text: str, expected: str) -> None:
    assert readable(text, role) == expected


@pytest.mark.parametrize(
    ("outcome_of", "expected"),
    [
        (trace("agreed", DIFFER, AGREED), "Both systems agree in round 2."),
        (trace("no-agreement", DIFFER), "No agreement in 1 round."),
        (trace("no-agreement", DIFFER, DIFFER), "No agreement in 2 rounds."),
        (trace("timeout", DIFFER, DIFFER), "Time is up in round 2, before the systems agreed."),
        (trace("timeout"), "Time is up in round 1, before the systems agreed."),
        (trace("interrupted", DIFFER), "Interrupted in round 1, before the systems agreed."),
    ],
)
def test_outcome(outcome_of: Trace, expected: str) -> None:
    assert outcome(outcome_of) == expected


REPORT_AGREED = """\
What one must know
  - Half is a division by 2.
  - Keep units.

System 1, at once
  48/2 = 24
  Answer: 24

System 2, by the rules
  Ann keeps 48/2 = 24 eggs.
  Answer: 24

Both systems agree in round 1.
How sure: right in 9 of 10 such cases on dev (95% interval 60-98%).
Answer:
"""
REPORT_NOT_AGREED = """\
System 1, at once
  48/2 = 24
  Answer: 24

System 2, by the rules
  Ann keeps 48/2 = 24 eggs.
  Answer: 24

No agreement in 1 round.
How sure: not measured for this case.
Best guess, not settled:
"""
REPORT_NOTHING = """\
Interrupted in round 1, before the systems agreed.
No answer.
"""


@pytest.mark.parametrize(
    ("shown", "sure", "answer", "report"),
    [
        (trace("agreed", AGREED), SURE, "24\n", REPORT_AGREED),
        (trace("no-agreement", DIFFER), None, "24\n", REPORT_NOT_AGREED),
        (trace("interrupted", answer=None), None, "", REPORT_NOTHING),
    ],
)
def test_the_whole_report(
    shown: Trace,
    sure: Sureness | None,
    answer: str,
    report: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Plain().report(shown, sure, quiet=False)
    assert tuple(capsys.readouterr()) == (answer, report)


def test_counts_by_system_1s_probability_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    sure = replace(SURE, case="no agreement, System 1's text at 9% or more", probability=0.1)
    Plain().report(trace("no-agreement", DIFFER), sure, quiet=False)
    assert capsys.readouterr().err.splitlines()[-3:-1] == [
        "How sure: right in 9 of 10 such cases on dev (95% interval 60-98%).",
        "Such cases: no agreement, System 1's text at 9% or more.",
    ]


def test_quiet_shows_the_answer_or_why_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    Plain().report(trace("agreed", AGREED), SURE, quiet=True)
    assert tuple(capsys.readouterr()) == ("24\n", "")
    Plain().report(trace("timeout", DIFFER, answer=None), None, quiet=True)
    said = "No answer: Time is up in round 1, before the systems agreed.\n"
    assert tuple(capsys.readouterr()) == ("", said)
    Plain().report(trace("no-agreement", DIFFER), None, quiet=True)
    assert tuple(capsys.readouterr()) == ("24\n", "Best guess, not settled:\n")


def test_the_round_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    cut = Round(2, IR, None, ("never shown",), None, False, "the round was cut short")
    Plain().report(trace("interrupted", DIFFER, cut), None, quiet=False)
    said = capsys.readouterr().err
    assert "System 2, by the rules" in said  # the last whole round
    Plain().report(trace("interrupted", cut), None, quiet=False)
    assert "System 2, by the rules" not in capsys.readouterr().err


def test_a_system_that_wrote_nothing_has_no_heading(capsys: pytest.CaptureFixture[str]) -> None:
    silent = replace(IR, text=" \n")
    Plain().report(trace("interrupted", replace(AGREED, ir=silent), answer=None), None, quiet=False)
    said = capsys.readouterr().err
    assert "System 1, at once" not in said and "System 2, by the rules" in said


def test_plain_says_a_line_for_a_round_without_agreement(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for event in (Drawn(IR), Judged(DIFFER), Judged(AGREED)):
        Plain().on_event(event)
        Silent().on_event(event)
    assert tuple(capsys.readouterr()) == ("", "Round 1: System 1 says 1, System 2 says 2\n")


def test_the_screen_of_a_pipe_is_plain() -> None:
    with screen(silent=False) as plain, screen(silent=True) as silent:
        assert (type(plain), type(silent)) == (Plain, Silent)


def test_rounds_that_grow_at_once_are_shown_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    view = Growing()
    shown: list[str] = []
    view.live.update = lambda body, **_: shown.append(str(body))  # type: ignore[method-assign]
    view.on_text(Role.IR, 1, "<<1+1=2>>")
    assert shown[-1] == "Round 1\nSystem 1, at once\n1+1 = 2\n\n"
    view.on_event(Judged(Round(1, None, None, (), None, agreed=False, why="no")))
    view.on_text(Role.IR, 3, "three")
    view.on_text(Role.IR, 2, "two")
    view.on_text(Role.IR, 3, " more")
    assert shown[-1] == "Round 2 (rounds 2-3 at once)\nSystem 1, at once\ntwo\n\n"
    view.on_event(Judged(Round(2, None, None, (), None, agreed=False, why="no")))
    view.on_text(Role.KG, 3, "Add.")
    assert shown[-1] == ("Round 3\nWhat one must know\nAdd.\n\nSystem 1, at once\nthree more\n\n")
