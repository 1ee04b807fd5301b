"""`lorid tutor` as a pupil meets it: through a pipe here, in a real terminal in test_tutor_tmux."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lorid_local.commands.group import group
from lorid_local.errors import InputError, ModelError
from lorid_local.practice.families import load
from lorid_local.tutor import running, thinking
from lorid_local.tutor.choosing import Chooser
from lorid_local.tutor.store import Store, folder
from tests.test_tutor_own import engine, think

Capture = pytest.CaptureFixture[str]
FOOTER = "/hint /check /steps /answer /read /skip /topic /level /progress /help /quit"
ASKED = "What do you think? Type a number, or /hint."


@pytest.fixture
def lorid(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `lorid tutor` with these lines as standard input; return its output's lines."""

    def run(*arguments: Any, typed: str = "", code: int = 0) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        command = ["tutor", *map(str, arguments)]
        assert group.main(command, prog_name="lorid", standalone_mode=False) == code
        out, err = capsys.readouterr()
        assert err == ""
        return [line for line in out.splitlines() if line]

    return run


def test_a_first_session(lorid: Any) -> None:
    out = lorid("--seed", 1, "--topic", "pizza", typed="/hint\nnonsense\n/quit\n")
    assert out[0] == "Hello! Read the problem and type your answer. Stuck? Type /hint."
    assert out[1] == "Level 4: pizza, cakes and slices"
    assert out[3:5] == [ASKED, FOOTER]
    assert out[5].startswith("Hint: ")
    assert out[6:] == ["I understand numbers, calculations and commands. Stuck? Type /hint for a "
                       "small step.",
                       "Bye! Well done for practising."]  # fmt: skip


def test_a_right_answer_and_the_next_problem(lorid: Any) -> None:
    chooser = Chooser(load(), Store.open(None), seed=1)
    first, second = (chooser.next("pizza", 4).task for _ in range(2))
    out = lorid("--seed", 1, "--topic", "pizza", typed=f"{first.answer_text}\n\n/progress\n")
    assert out[2] == first.question
    assert out[6:9] == ["Press Enter for the next one.", "Level 4: pizza, cakes and slices",
                        second.question]  # fmt: skip
    assert out[11].endswith("1      0      0        0")


def test_the_end_of_the_input_ends_the_session(lorid: Any) -> None:
    assert lorid(typed="/hint\n")[-1] == "Bye! Well done for practising."


def test_the_same_seed_gives_the_same_problems(lorid: Any) -> None:
    first = lorid("--seed", 2, "--level", 3, "--topic", "pizza", typed="/skip\n/skip\n")
    assert lorid("--seed", 2, "--level", 3, "--topic", "pizza", typed="/skip\n/skip\n") == first


def test_a_session_goes_on_where_it_was(lorid: Any) -> None:
    before = lorid("--seed", 1, typed="/hint\n77777\n")
    after = lorid(typed="77777\n/hint\n")
    assert after[0] == "Welcome back! You were working on this one."
    assert after[1:3] == before[1:3]
    assert after[5] == "You had that one before. Try another way, or type /hint."
    assert after[6].startswith("Hint: ") and after[6] != before[5]


def test_a_session_that_runs_keeps_its_problem_and_shares_the_level(lorid: Any) -> None:
    other = Store.open(folder())
    other.take_slot()
    lorid("--seed", 1, "--level", 6, typed="")  # slot 1
    other.save(Store.open(folder()).newest() or "")
    beside = Store.open(folder())
    assert beside.take_slot()
    assert lorid("--seed", 1, typed="")[:2][1].startswith("Level 6")
    other.close()
    beside.close()
    assert lorid(typed="")[0].startswith("Welcome back!")


def test_the_level_is_kept_and_flags_count_more(lorid: Any) -> None:
    lorid("--level", 6, "--seed", 1, typed="/level 7\n/answer\n/answer\n")
    assert lorid("--seed", 1, typed="")[1].startswith("Level 7")
    assert lorid("--seed", 1, "--level", 3, typed="")[1].startswith("Level 3")
    topic = lorid("--seed", 1, "--topic", "pizza", typed="/level\n")
    assert "You are on level 3. Levels go from 2 to 8, as school grades." in topic


def test_progress_is_shown_and_forgotten(lorid: Any) -> None:
    assert lorid("--progress") == ["Nothing yet: type lorid tutor and solve your first problem."]
    out = lorid("--seed", 1, typed="/answer\n/answer\n/progress\n/quit\n")
    table = lorid("--progress")
    assert table[1].endswith("0      0      1        0")
    assert out[-1 - len(table) : -1] == table
    assert lorid("--forget") == ["All progress is erased."]
    assert lorid("--forget") == ["There was no progress to erase."]


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        ({"forget": True, "progress": True}, "--forget was given with --progress", "--forget"),
        ({"forget": True, "problem": "1 + 1?"}, "--forget was given with a problem", "--forget"),
        ({"progress": True, "problem": ""}, "--progress was given with a problem", "--progress"),
    ],
)
def test_flags_that_contradict_each_other(
    lorid: Any, flags: dict[str, Any], message: str, hint: str
) -> None:
    lorid("--seed", 1, typed="/answer\n/answer\n")
    with pytest.raises(InputError) as raised:
        running.run(running.Flags(**flags))
    assert raised.value.message == message
    assert raised.value.hint == f"lorid tutor {hint}"
    assert len(lorid("--progress")) > 1  # nothing was erased


def test_forgetting_asks_on_a_terminal(
    lorid: Any, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    lorid("--seed", 1, typed="/answer\n/answer\n")
    said = []
    for answer in ("n", "", "y"):
        typed = io.StringIO(answer + "\n")
        monkeypatch.setattr(typed, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", typed)
        running.run(running.Flags(forget=True))
        said.append(capsys.readouterr().out)
    question = f"Erase all progress in {folder()}? [y/N] "
    assert said == [question + "Nothing was erased.\n"] * 2 + [
        question + "All progress is erased.\n"
    ]


def test_progress_that_cannot_be_kept_does_not_stop_the_practice(lorid: Any) -> None:
    folder().mkdir(parents=True)
    (folder() / "tutor.sqlite3").write_text("no database at all" * 100)
    out = lorid("--seed", 1, typed="/answer\n/answer\n/quit\n")
    assert out[0] == (
        f"This time I cannot keep your progress. {folder()}: the progress cannot be kept (file is "
        "not a database). To mend that: start anew: lorid tutor --forget."
    )
    assert out[-1] == "Bye! Well done for practising."


def test_progress_that_can_be_kept_no_longer_is_told_of_once(
    lorid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorid_local.tutor.store.PATIENCE", 0.01)
    other = Store.open(folder())
    other._database.execute("BEGIN IMMEDIATE")  # another session that hangs
    out = lorid("--seed", 1, typed="/answer\n/answer\n\n/skip\n/quit\n")
    other.close()
    assert [line for line in out if "cannot keep" in line] == [
        f"This time I cannot keep your progress. {folder()}: the progress cannot be kept (database "
        "is locked). To mend that: set XDG_DATA_HOME to a folder that you may write to."
    ]
    assert out[-1] == "Bye! Well done for practising."


def test_nothing_the_pupil_typed_is_kept(lorid: Any) -> None:
    lorid("--seed", 1, typed="my name is Ludmilla\n98765\n/check Ludmilla\n/quit\n")
    kept = b"".join(path.read_bytes() for path in folder().iterdir())
    assert b"Ludmilla" not in kept
    assert b"98765" in kept  # a wrong answer, for 'You had that one before'


def own_session(lorid: Any, monkeypatch: pytest.MonkeyPatch, made: Any, typed: str) -> list[str]:
    monkeypatch.setattr(thinking, "with_bundle", lambda flags: made)
    out: list[str] = lorid("Ann has 48 eggs and sells half.\nHow many are left?", typed=typed)
    return out


def test_the_pupils_own_problem(lorid: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agreed = think(engine("<<48/2=24>>\n#### 24", "<<48/2=24>>\n#### 24"))
    out = own_session(lorid, monkeypatch, agreed, "20\n24\n\n/quit\n")
    assert out[:3] == [
        "Your problem",
        "Ann has 48 eggs and sells half. How many are left?",
        "I am working on your problem too. Meanwhile: what do you think? Type a number, or /hint.",
    ]
    said = [line for line in out[4:] if not line.startswith("One moment.")]
    assert said[0].startswith("I get another number, in both my ways of solving it. But I can be")
    assert said[1].startswith("I get that too, in both my ways of solving it. I can be wrong: of 3")
    assert said[2] == "Press Enter for the next one."
    assert said[3].startswith("Level 4: ")  # and on with practice
    kept = b"".join(path.read_bytes() for path in folder().iterdir())
    assert b"Ann" not in kept
    assert lorid("--progress") == ["Nothing yet: type lorid tutor and solve your first problem."]


def test_a_problem_of_ones_own_leaves_the_practice_where_it_was(
    lorid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lorid("--seed", 1, typed="/hint\n")
    own_session(lorid, monkeypatch, think(engine("#### 1", "#### 2")), "5\n/quit\n")
    after = lorid(typed="")
    assert after[0].startswith("Welcome back!") and after[2] == before[2]


def test_ctrl_c_ends_the_waiting_and_not_the_session(
    lorid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(question: str, on_rules: Any, cancelled: Any) -> Any:
        end = time.monotonic() + 20
        while not waits and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        while not cancelled():
            time.sleep(0.01)
        return think(engine("#### 1", "#### 1"))(question, on_rules, cancelled)

    waits: list[int | None] = []
    real = thinking.Thinker.wait

    def wait(thinker: thinking.Thinker, rules: int | None = None) -> None:
        waits.append(rules)
        real(thinker, rules)

    monkeypatch.setattr(thinking.Thinker, "wait", wait)
    out = own_session(lorid, monkeypatch, slow, "/hint\n/quit\n")
    assert waits == [0]
    assert out[-3:] == [
        "One moment. Ctrl-C: do not wait.",
        "I am still working on it. Type it again in a little while.",
        "Bye! Well done for practising.",
    ]


def test_a_problem_that_is_none_is_refused(lorid: Any) -> None:
    with pytest.raises(InputError) as caught:
        lorid("  \n ")
    assert caught.value.message == "no problem text was given"
    problem = "Sam has 3 boxes of 12 eggs. How many eggs does he have?"
    assert caught.value.hint == f'lorid tutor "{problem}"'
    with pytest.raises(ModelError, match="no bundle 'nope'"):
        lorid("1 + 1?", "--bundle", "nope")
    with pytest.raises(InputError, match="no topic fits 'qqq'"):
        lorid("--topic", "qqq")


FIRST = """
import io, json, resource, sys
sys.argv = ["lorid", "tutor", "--seed", "1"]
sys.stdin = io.StringIO("/hint\\n/quit\\n")
from lorid_local.cli import main
try:
    main()
except SystemExit:
    pass
heavy = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_utime,
                  sorted(heavy & {"llama_cpp", "numpy", "torch", "fsrs", "rich"})]))
"""


def test_practice_loads_no_model_and_is_there_at_once(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FIRST],
        env={"PYTHONPATH": str(Path(running.__file__).parents[2]), "HOME": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    seconds, heavy = json.loads(ran.stdout.splitlines()[-1])
    assert heavy == []
    assert seconds < 1  # 0.5 s on an idle machine; this one may be busy
