"""`lorid teach` against a real HTTP server on loopback and against a local GGUF."""

import json
import os
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from lorid_local.commands.group import group
from lorid_local.engine import Completion, Role
from lorid_local.errors import InputError, OutputError, TrainError
from lorid_train import teacher, teaching
from lorid_train.endpoint import Access, Endpoint
from lorid_train.local_teacher import LocalTeacher
from lorid_train.rows import Row
from lorid_train.teacher import Ask, Reply, Unreadable
from tests.data_problems import SALE, write_lines
from tests.scripted import ScriptedEngine
from tests.teacher_server import Answer, completion, failure, ruled, serving

ROWS = [Row(i, f"Q{i}?", f"{i}+1=<<{i}+1={i + 1}>>{i + 1}", str(i + 1), ()) for i in range(12)]
GOOD = ruled("Add.")


def access(url: str, **values: Any) -> Access:
    """Return an access that waits hundredths of seconds between tries."""
    return Access(url, "m", **{"jobs": 1, "first_wait": 0.01, **values})


def never() -> bool:
    return False


def collect(url: str, store: teaching.Store, rows: list[Row] = ROWS, **values: Any) -> Any:
    return teaching.collect(rows, Endpoint(access(url, **values)), store, never, [].append)


def store(path: Path, model: str = "m") -> teaching.Store:
    return teaching.Store(path, {"problems_sha256": "x", "model": model, "prompt": "p"})


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"output": ["Add.", "Then halve."]}', ("Add.", "Then halve.")),
        ('Here you are:\n```json\n{"output": ["Add."]}\n```', ("Add.",)),
        ('{"output": ["Add.", "Halve.",]}', ("Add.", "Halve.")),
        ('["Add."]', ("Add.",)),
        ('{"output": ["- Add.\\nit", "Add. it", " "]}', ("Add. it",)),
        ('{"output": ["Add a\ttab."]}', ("Add a tab.",)),
        ('{"output": ["Add.", "Say \\"half\\".", "Mult', ("Add.", 'Say "half".')),
    ],
)
def test_rules_are_read_from_json_mended_where_that_is_safe(
    text: str, expected: tuple[str, ...]
) -> None:
    assert teacher.rules(Reply(text)) == expected


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply("Add the parts."), "no JSON"),
        (Reply('{"output": ["Ad', complete=False), "cut off before the first rule"),
        (Reply("3"), "no JSON"),
        (Reply('{"rules": ["Add."]}'), 'no list of texts under "output"'),
        (Reply('{"output": [1]}'), 'no list of texts under "output"'),
        (Reply('{"output": [" "]}'), "no rules"),
    ],
)
def test_what_holds_no_rules_is_refused_with_the_reason(reply: Reply, why: str) -> None:
    with pytest.raises(Unreadable) as caught:
        teacher.rules(reply)
    assert str(caught.value) == why


def test_the_question_has_the_papers_three_demands_and_no_marks() -> None:
    asked = teacher.ask(SALE)
    for demand in ("not tailored", "no semantic information", "every step"):
        assert demand in asked.system
    assert SALE.question in asked.user and "<<" not in asked.user
    assert "The price is 80-20=$60." in asked.user


@pytest.mark.usefixtures("loopback")
def test_every_problem_is_asked_once_with_key_and_paid_tokens_are_told(tmp_path: Path) -> None:
    with serving() as server, store(tmp_path / "r.jsonl") as kept:
        told = collect(server.url, kept, key="secret")
    assert written(tmp_path / "r.jsonl") == [{"id": i, "knowledge": ["Add."]} for i in range(12)]
    assert server.questions() == [f"Question: Q{i}?" for i in range(12)]
    body = server.asked[0]
    assert (body["model"], body["temperature"], body["seed"]) == ("m", 0.2, 0)
    assert body["response_format"] == {"type": "json_object"}
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert (told.done, told.prompt_tokens, told.reply_tokens) == (12, 84, 60)


@pytest.mark.usefixtures("loopback")
def test_several_are_asked_at_once(tmp_path: Path) -> None:
    with serving() as server, store(tmp_path / "r.jsonl") as kept:
        server.delay = 0.05
        collect(server.url, kept, jobs=4)
    assert server.most_at_once == 4
    assert {record["id"] for record in written(tmp_path / "r.jsonl")} == set(range(12))


@pytest.mark.usefixtures("loopback")
def test_faults_that_pass_are_tried_again_after_longer_and_longer_waits(tmp_path: Path) -> None:
    faults: list[Answer | None] = [failure(429), failure(500), None, (200, {}, b"{}")]
    with serving(*faults) as server, store(tmp_path / "r.jsonl") as kept:
        told = collect(server.url, kept, ROWS[:2], first_wait=0.1)
    assert told.done == 2 and len(server.asked) == 6
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    for at, gap in enumerate(gaps[:4]):  # half to the whole of 0.1, 0.2, 0.4, 0.8 s
        assert gap >= 0.05 * 2**at


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_the_servers_own_wish_is_waited_for(tmp_path: Path, kind: str) -> None:
    wish = "0.4" if kind == "seconds" else formatdate(time.time() + 2, usegmt=True)
    with (
        serving(failure(429, Retry_After=wish)) as server,
        store(tmp_path / "r.jsonl") as kept,
    ):
        collect(server.url, kept, ROWS[:1])
    assert server.times[1] - server.times[0] >= 0.4


@pytest.mark.usefixtures("loopback")
def test_after_the_last_try_the_reason_is_told(tmp_path: Path) -> None:
    def busy(user: str) -> Answer:
        return failure(503, "come back later")

    with (
        serving(otherwise=busy) as server,
        store(tmp_path / "r.jsonl") as kept,
        pytest.raises(TrainError) as caught,
    ):
        collect(server.url, kept, tries=3)
    assert len(server.asked) == 3
    assert caught.value.message == f"{server.url}: HTTP 503 come back later, after 3 tries"
    assert caught.value.hint == "start again later with the same -o/--output: it goes on"


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (failure(401, "bad key"), "HTTP 401 bad key",
         "set LORID_API_KEY or OPENAI_API_KEY in the environment"),
        (failure(404, "no such model"), "HTTP 404 no such model", "check --url and --model"),
        ((400, {}, b'{"error": "odd"}'), "HTTP 400 odd", "check --url and --model"),
        ((307, {"Location": "http://127.0.0.1:1/v1"}, b""), "HTTP 307", "check --url and --model"),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_told_at_once(
    tmp_path: Path, answer: Answer, said: str, hint: str
) -> None:
    with (
        serving(answer) as server,
        store(tmp_path / "r.jsonl") as kept,
        pytest.raises(TrainError) as caught,
    ):
        collect(server.url, kept)
    assert caught.value.message == f"{server.url}: {said}"
    assert caught.value.hint == hint
    assert len(server.asked) == 1


@pytest.mark.usefixtures("loopback")
def test_replies_under_way_when_one_fails_for_good_are_kept(tmp_path: Path) -> None:
    with serving(GOOD, failure(402, "no credit"), GOOD) as server, store(tmp_path / "r") as kept:
        server.delay = 0.1
        with pytest.raises(TrainError):
            collect(server.url, kept, jobs=3)
    assert len(written(tmp_path / "r")) == len(server.asked) - 1 >= 2


@pytest.mark.usefixtures("loopback")
def test_a_server_without_json_mode_is_asked_without(tmp_path: Path) -> None:
    with (
        serving(failure(400, "unknown field response_format")) as server,
        store(tmp_path / "r") as kept,
    ):
        told = collect(server.url, kept, ROWS[:2])
    assert told.done == 2
    assert ["response_format" in body for body in server.asked] == [True, False, False]


@pytest.mark.usefixtures("loopback")
def test_an_unreadable_reply_is_asked_again_with_another_seed_and_given_up_after_three(
    tmp_path: Path,
) -> None:
    def answer(user: str) -> Answer:
        return completion("I would add.") if "Q1?" in user else GOOD

    path = tmp_path / "r.jsonl"
    with serving(completion("?"), otherwise=answer) as server:
        with store(path) as kept:
            told = collect(server.url, kept, ROWS[:3])
        seeds = [(q[-3:], b["seed"]) for q, b in zip(server.questions(), server.asked, strict=True)]
        assert seeds == [("Q0?", 0), ("Q1?", 0), ("Q2?", 0), ("Q0?", 1), ("Q1?", 1), ("Q1?", 2)]
        assert told.given_up == {"no JSON": 1} and told.done == 2
        failed = written(tmp_path / "r.jsonl.failed")
        assert failed[-1] == {"id": 1, "why": "no JSON", "reply": "I would add."}
        with store(path) as kept:  # started again: nothing is paid for a second time
            told = collect(server.url, kept, ROWS[:3])
    assert len(server.asked) == 6
    assert (told.done, told.given_up, told.reply_tokens) == (2, {"no JSON": 1}, 0)


def started(url: str, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start `lorid teach` as a process of its own."""
    code = "from lorid_local.cli import main; main()"
    arguments = ["teach", "p.jsonl", "--data", str(folder), "--url", url, "-m", "m",
                 "-o", str(folder / "r.jsonl"), "--jobs", "1", *more]  # fmt: skip
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env={"PYTHONPATH": path, "OPENAI_API_KEY": "k"},
        stderr=subprocess.PIPE,
    )  # fmt: skip


def problems(folder: Path, count: int = 12) -> None:
    write_lines(folder / "p.jsonl", [
        {"question": r.question, "answer": f"{r.rationale}\n#### {r.answer}"} for r in ROWS[:count]
    ])  # fmt: skip


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_without_paying_twice(tmp_path: Path, how: signal.Signals) -> None:
    problems(tmp_path)
    with serving() as server:
        server.delay = 0.05
        first = started(server.url, tmp_path)
        while lines(tmp_path / "r.jsonl") < 4:
            time.sleep(0.01)
        first.send_signal(how)
        _, said = first.communicate()
        assert first.returncode == (-9 if how == signal.SIGKILL else 130), said
        with (tmp_path / "r.jsonl").open("a") as file:
            file.write('{"id": 99, "knowl')  # what a kill in the middle of a write leaves
        before, kept = len(server.asked), lines(tmp_path / "r.jsonl")
        again = started(server.url, tmp_path)
        _, said = again.communicate()
        assert again.returncode == 0, said
    assert said.decode().splitlines()[0] == f"{kept} of 12 are there already"
    assert {r["id"] for r in written(tmp_path / "r.jsonl")} == set(range(12))
    # only what was under way is asked again; Ctrl-C waits for that
    assert len(server.asked) - before == 12 - kept
    assert before - kept <= (1 if how == signal.SIGKILL else 0)


def test_an_output_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    store(path).__exit__()
    with pytest.raises(TrainError) as caught:
        store(path, "other")
    assert caught.value.message == f"{path}: belongs to another run (other model)"
    assert caught.value.hint == "choose another -o/--output"
    (tmp_path / "mine.jsonl").write_text("")
    with pytest.raises(TrainError) as caught:
        store(tmp_path / "mine.jsonl")
    assert caught.value.message == (
        f"{tmp_path / 'mine.jsonl'}: exists, but not from a run of lorid teach"
    )
    path.write_text("[]\n")
    with pytest.raises(TrainError) as caught:
        store(path)
    assert caught.value.message == f"{path}:1: expected an object with id"


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        store(tmp_path / "file" / "r.jsonl")
    assert caught.value.message == (
        f"{tmp_path / 'file' / 'r.jsonl'}: cannot be written (File exists)"
    )


def test_a_local_teacher_asks_in_batches_and_knows_what_was_cut_off() -> None:
    lines = ['{"output": ["Add."]}', Completion('{"output": ["A.", "B', "length", 9)]
    engine = ScriptedEngine({Role.KG: lines * 5})
    with LocalTeacher(lambda: _entered(engine), max_tokens=50) as local:
        asks = [Ask(i, "be a teacher", "<|im_end|>q", i % 2) for i in range(10)]
        found = list(local.answers(asks, never))
    assert [ask.id for ask, _ in found] == list(range(10))
    assert [teacher.rules(reply) for _, reply in found[:2]] == [("Add.",), ("A.",)]
    assert [len(call) for call in engine.calls] == [8, 2]
    request = engine.requests[1]
    assert (request.temperature, request.seed, request.max_tokens) == (0.2, 1, 50)
    assert [part.special for part in request.prompt] == [True, False, True, False, True]


class _entered:
    """An engine as a context manager."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    def __enter__(self) -> ScriptedEngine:
        return self.engine

    def __exit__(self, *_: object) -> None:
        pass


def lorid(*arguments: object) -> Any:
    return group.main(["teach", *map(str, arguments)], prog_name="lorid", standalone_mode=False)


def test_a_local_gguf_is_asked_until_it_is_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tiny import tiny_llama_gguf

    problems(tmp_path, 1)
    model = tiny_llama_gguf(tmp_path / "tiny.gguf", vocab=288)
    arguments = ("p.jsonl", "--data", tmp_path, "-o", tmp_path / "r.jsonl", "-m", model, "-t", 1)
    assert lorid(*arguments, "-n", 8) == 1  # random weights write no JSON
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "0 of 1 problems have rules"
    assert said[1].startswith("tokens of this run: 0 asked, ")
    assert said[2].startswith("given up after 3 attempts: 1, ")
    assert len(written(tmp_path / "r.jsonl.failed")) == 3


@pytest.mark.usefixtures("loopback")
def test_the_commands_file_is_read_as_rules(tmp_path: Path) -> None:
    from lorid_train import rows

    problems(tmp_path)
    (tmp_path / "dev.txt").write_text("0\n3\n")
    with serving() as server:
        asked = ("p.jsonl", "--data", tmp_path, "--url", server.url + "/", "-m", "m")
        code = lorid(*asked, "-o", tmp_path / "r.jsonl", "--leave-out", "dev.txt", "--limit", 5)
    assert code == 0
    read = list(rows.read(tmp_path, "p.jsonl", "gsm8k", "r.jsonl"))
    assert [row.id for row in read if row.knowledge == ("Add.",)] == [1, 2, 4, 5, 6]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-m", "x"], "-o/--output is missing"),
        (["-o", "r"], "-m/--model is missing"),
        (["-o", "r", "-m", "x"], "--model x: expected a .gguf file, or --url"),
        (["-o", "r", "-m", "x", "--url", "host/v1"],
         "--url host/v1: expected http:// or https:// and a host"),
        (["-o", "r", "--audit", "k"],
         "--audit judges a file that is there: it takes no -o, --url or --model"),
        (["--audit", "none"], "none: no such file"),
    ],
)  # fmt: skip
def test_flags_that_do_not_fit_are_named(tmp_path: Path, more: list[str], message: str) -> None:
    problems(tmp_path)
    with pytest.raises(InputError) as caught:
        lorid("p.jsonl", "--data", tmp_path, *more)
    assert caught.value.message == message
