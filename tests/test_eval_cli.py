"""`lorid eval` as a process: drawn on a tiny model, gone on with, interrupted, calibrated."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorid_local import bundle as bundles
from lorid_local import solving
from lorid_local.errors import InputError, OutputError
from lorid_local.evaluate import places, running, summary
from lorid_local.evaluate.cases import Choice
from lorid_local.evaluate.methods import Needs
from lorid_local.evaluate.progress import progress
from lorid_local.evaluate.running import Asked
from lorid_local.loop import LoopSettings, finish, solve
from lorid_local.prompts import printable
from tests.eval_engine import HashedEngine, cases, draw
from tests.scripted import table
from tests.servers import llama_server, openai_server
from tests.test_cli import START, answering_gguf, environment, failed, lorid
from tests.test_cli import tiny as tiny  # a fixture
from tests.test_endpoint import answering
from tests.tiny import tiny_llama_gguf

METHODS = "lorid,pooled,ir,dr,majority@2,reference"


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that answers 5 to everything."""
    return answering_gguf(tmp_path_factory.mktemp("five") / "five.gguf")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four problems, three of which have the answer 5."""
    path = tmp_path / "data.jsonl"
    rows = [{"question": f"{n} and some more?", "answer": 5 if n else 6} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def flags(model: Path) -> tuple[str, ...]:
    return ("-m", str(model), "--no-adapters", "-n", "40", "-r", "2", "--methods", METHODS)


def test_a_run_its_table_and_its_report(tmp_path: Path, five: Path, data: Path) -> None:
    samples, report = tmp_path / "s.jsonl", tmp_path / "r.html"
    ran = lorid("eval", data, *flags(five), "-o", samples, "--json", "--name", "sums")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["schema"], found["data"], found["problems"]) == ("lorid-eval/1", "sums", 4)
    assert {m["method"]: m["right"] for m in found["methods"]} == dict.fromkeys(
        METHODS.split(","), 3
    )
    assert found["convergence"]["rounds"][0] == {"round": 1, "n": 4, "right": 3}
    assert ran.stderr.decode().startswith(f"Samples: {samples}\n4/4 lorid right in 3 of 4, ")

    # the file is all it takes now: no model, the same figures
    again = lorid("eval", samples, "--methods", METHODS, "-r", "2", "--report", report)
    assert (again.returncode, again.stderr.decode()) == (0, f"Report: {report}\n")
    lines = again.stdout.decode().splitlines()
    assert lines[0] == "sums: 4 problems, whole rounds: 2"
    (row,) = [line.split() for line in lines if line.startswith("lorid ")]
    assert row[1:7] == ["3", "of", "4", "75.0%", "30.1-95.4", "###############....."]
    assert "round 1   #################### 4, right 3" in again.stdout.decode()
    assert report.read_text().startswith("<!doctype html>")


def test_it_goes_on_where_it_stopped(tmp_path: Path, five: Path, data: Path) -> None:
    samples = tmp_path / "s.jsonl"
    arguments = ("eval", data, *flags(five), "-o", samples, "--json", "-q")
    first = lorid(*arguments)
    whole = samples.read_bytes()
    lines = whole.splitlines(keepends=True)
    samples.write_bytes(b"".join(lines[:9]) + lines[9][:20])
    second = lorid(*arguments)
    assert (second.returncode, second.stderr.decode()) == (0, f"Samples: {samples}\n")

    def figures(ran: Any) -> Any:
        found = json.loads(ran.stdout)
        return [{k: v for k, v in m.items() if k != "seconds"} for m in found["methods"]]

    assert figures(first) == figures(second)
    failed(lorid(*arguments, "--temp", "0.9"), 2,
           f"Error: {samples}: the samples of another run: its ir.temperature is 0.7, not 0.9\n"
           "Hint: give another file with -o/--output, or remove this one\n")  # fmt: skip


def test_interrupted_it_prints_the_table_so_far(
    tmp_path: Path, tiny: tuple[str, ...], data: Path
) -> None:
    data.write_text("".join(json.dumps({"question": f"{n}?", "answer": n}) + "\n"
                            for n in range(3000)))  # fmt: skip
    samples = tmp_path / "s.jsonl"
    command = [*START, "eval", str(data), *tiny[:-1], "1", "--methods", "ir", "-o", str(samples)]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)  # fmt: skip
    end = time.monotonic() + 60
    while not samples.exists() or samples.read_bytes().count(b'"role"') < 40:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b" problems of 3000" in out.splitlines()[0]
    assert b"Traceback" not in err


def test_interrupted_before_a_problem_is_complete(
    tmp_path: Path, tiny: tuple[str, ...], data: Path
) -> None:
    samples = tmp_path / "s.jsonl"
    command = [*START, "eval", str(data), *tiny, "--methods", "lorid", "-o", str(samples)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stderr
        assert process.stderr.readline().decode() == f"Samples: {samples}\n"
        process.send_signal(signal.SIGINT)  # the model is not loaded yet
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err == b"No problem is complete yet. The same command goes on.\n"


def test_default_methods_are_those_that_a_file_has_samples_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "a.jsonl", HashedEngine(), 4, Needs(ir=2))
    asked = Asked((str(tmp_path / "a.jsonl"),), as_json=True, solve=solving.Flags(rounds=3))
    assert running.run(asked) == 0
    assert [m["method"] for m in json.loads(capsys.readouterr().out)["methods"]] == ["ir"]


def bundle(folder: Path, base: Path) -> Path:
    roles = "".join(
        f'[roles.{r}]\nprompt = "plain-1"\nmax_tokens = 40\n' for r in ("ir", "kg", "dr")
    )
    (folder / "bundle.toml").write_text(
        f'name = "b"\ndescription = "d"\nlicence = "l"\ntrained = "t"\n[base]\npath = "{base}"\n'
        f"[loop]\nrounds = 2\n{roles}"
    )
    return folder


def test_a_bundle_is_calibrated_and_solve_says_so(tmp_path: Path, five: Path, data: Path) -> None:
    folder = bundle(tmp_path, five)
    ran = lorid("eval", data, "--calibrate", folder, "--policy", "--methods", "lorid", "-o",
                tmp_path / "s.jsonl", "--name", "sums")  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.decode().splitlines()[-1] == (
        f"Calibrated {folder / 'bundle.toml'} on 4 problems, its loop set to same-round, t = 1"
    )
    contents = bundles.find(str(folder)).contents
    assert [(m.method, m.right, m.n) for m in contents.measured] == [
        ("lorid@1 (chosen on this half)", 1, 2),
        ("lorid@1 (confirmed on this half)", 2, 2),
    ]
    solved = lorid("solve", "--bundle", folder, "2 and 3 more?")
    assert (
        "How sure: right in 3 of 4 such cases on sums (95% interval 30-95%)."
        in solved.stderr.decode().splitlines()
    )
    sure = json.loads(lorid("solve", "--json", "--bundle", folder, "2 + 3?").stdout)["sureness"]
    assert (sure["right"], sure["n"], sure["case"]) == (3, 4, "agreed in round 1")


def test_parts_and_another_temperature_calibrate_a_bundle(
    tmp_path: Path, five: Path, data: Path
) -> None:
    """As two processes would draw them, with a third one at another temperature."""
    folder = bundle(tmp_path, five)
    draw = ("eval", data, "--bundle", folder, "--methods", "lorid", "-q", "-o")
    a, b, hot = (tmp_path / f"{name}.jsonl" for name in ("a", "b", "hot"))
    for arguments in ((a, "--count", "2"), (b, "--skip", "2"), (hot, "--temp", "1")):
        assert lorid(*draw, *arguments).returncode == 0
    ran = lorid("eval", a, b, "--also", hot, "--methods", "lorid,ir", "--name", "sums",
                "--calibrate", folder, "--policy")  # fmt: skip
    assert ran.stderr.decode().splitlines() == [
        f"Calibrated {folder / 'bundle.toml'} on 4 problems, its loop set to same-round, t = 1"
    ]
    assert "at T = 1 " in ran.stdout.decode()
    found = bundles.find(str(folder)).contents.calibration
    assert found and found.data == "sums" and (found.agreed[0].right, found.agreed[0].n) == (3, 4)


def test_the_default_bundle_is_measured(tmp_path: Path) -> None:
    ran = lorid("eval", "practice:", "--count", "2", "-r", "1", "--methods", "lorid", "-n", "12",
                "--base-type", "as-shipped", "-t", "1", "-o", tmp_path / "s.jsonl",
                "--json")  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["problems"], found["settings"]["bundle"]) == (2, "smollm2-135m")
    assert found["methods"][0]["generations"] == 3 and found["methods"][0]["tokens"] > 3
    assert len(found["settings"]["dr.sha256"]) == 64


# --- what is refused ---


def asked(**more: Any) -> Asked:
    return Asked(("none.jsonl",), choice=Choice(), **more)


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        (asked(calibrate="b", solve=solving.Flags(bundle="c")),
         "--calibrate and --bundle were both given", "--calibrate BUNDLE measures it too"),
        (asked(policy=True), "--policy was given without --calibrate", "--calibrate BUNDLE"),
        (asked(calibrate="b", solved=Path("x")),
         "--calibrate was given with --solved: what lorid solve wrote does not say by which "
         "adapters", "let lorid eval draw the samples"),
    ],
)  # fmt: skip
def test_flags_that_contradict_each_other(given: Asked, message: str, hint: str) -> None:
    with pytest.raises(InputError) as raised:
        running.run(given)
    assert (raised.value.message, raised.value.hint) == (message, hint)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    draw(tmp_path / "a.jsonl", HashedEngine())
    return tmp_path / "a.jsonl"


@pytest.mark.parametrize("data", ["practice:", "drawn"])
def test_a_report_does_not_replace_samples(drawn: Path, data: str) -> None:
    before = drawn.read_bytes()
    with pytest.raises(InputError) as raised:
        running.run(Asked((str(drawn) if data == "drawn" else data,), report=drawn))
    assert raised.value.message == (
        f"--report {drawn}: the file holds what is measured and would be replaced"
    )
    assert raised.value.hint == "give --report another file"
    assert drawn.read_bytes() == before


def test_the_report_is_there_though_nobody_reads_the_table(drawn: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.html"
    with open("/dev/full", "w") as full:
        ran = subprocess.run([*START, "eval", str(drawn), "--report", str(report)], stdout=full,
                             stderr=subprocess.PIPE, env=environment(), check=False)  # fmt: skip
    assert ran.returncode == 1
    assert report.read_text().endswith("</html>\n")


def test_a_report_that_cannot_be_written(drawn: Path, tmp_path: Path) -> None:
    place = tmp_path / "none" / "r.html"
    ran = lorid("eval", drawn, "--methods", "ir", "--report", place)
    assert ran.returncode == 1 and ran.stdout  # the table was printed by then
    assert ran.stderr.decode() == (
        f"Error: {place}: the report cannot be written (No such file or directory)\n"
        "Hint: give --report a file in a folder that you may write to\n"
    )


def test_methods_that_only_open_problems_have_samples_for_are_refused(tmp_path: Path) -> None:
    """Else the problems that agreed early were left out, and the figures were of hard ones."""
    data, solved = tmp_path / "d.jsonl", tmp_path / "solved.jsonl"
    data.write_text("".join(json.dumps({"question": c.question, "answer": c.gold.shown}) + "\n"
                            for c in cases(12)))  # fmt: skip
    with open(solved, "w") as file:
        for case in cases(12):
            events = solve(case.question, HashedEngine(), table(), LoopSettings(3, width=1))
            print(json.dumps(finish(events, lambda event: None).as_dict()), file=file)
    assert running.run(Asked((str(data),), solved=solved, solve=solving.Flags(rounds=3))) == 0
    for name in ("majority@2", "lorid@4", "first-to-2@3"):
        with pytest.raises(InputError) as raised:
            running.run(Asked((str(data),), solved=solved, methods=f"ir,{name}"))
        assert raised.value.message == (
            f"{name} needs samples that lorid solve did not draw: it stopped at agreement "
            "(same-round) or after 3 rounds"
        )
        assert raised.value.hint == ("--methods ir,dr,lorid@3, or let lorid eval draw the samples")


# --- what is shown ---


def test_progress_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(4, 10, quiet=False) as told:
        told(2, "lorid right in 1 of 2")
        told(4, "lorid right in 2 of 6")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("6/10 lorid right in 1 of 2, ")
    assert lines[0].endswith(" problems/min, 0 min left") and lines[1].startswith("10/10 ")
    with progress(0, 10, quiet=True) as told:
        told(1, "x")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("show", "given", "expected"),
    [
        (summary.bar, 0.75, "###############....."),
        (summary.bar, None, "...................."),
        (summary.percent, 0.065, "6.5%"),
        (summary.percent, None, "-"),
        (summary.chance, 0.0004, "p < 0.001"),
        (summary.chance, 0.25, "p = 0.250"),
        (lambda n: summary.of(n, 5), 5, ""),
        (lambda n: summary.of(n, 5), 4, " of 5"),
    ],
)
def test_how_figures_are_written(show: Callable[[Any], str], given: Any, expected: str) -> None:
    assert show(given) == expected


def test_without_an_output_samples_go_where_lorid_paths_says(
    tmp_path: Path, five: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    arguments = ("eval", data, *flags(five)[:-1], "ir", "-q")
    ran = lorid(*arguments)
    (file,) = (tmp_path / "home" / "state" / "lorid" / "samples").iterdir()
    assert ran.stderr.decode() == f"Samples: {file}\n"
    assert re.fullmatch(r"data-smollm2-135m-[0-9a-f]{8}\.jsonl", file.name)
    assert lorid(*arguments).stderr == b""  # gone on with, and complete
    # other settings and other problems are other runs, which need no file removed
    assert lorid(*arguments, "--temp", "0.9").returncode == 0
    assert lorid(*arguments, "--skip", "1").returncode == 0
    assert len(list(file.parent.iterdir())) == 3
    assert list((tmp_path / "here").iterdir()) == []


def test_without_a_home_folder_a_file_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "user_folder", lambda *a, **k: None)
    with pytest.raises(OutputError) as raised:
        places.default("practice:", {"bundle": "b"}, "How many?")
    assert raised.value.message == "no home folder is known, so there is no place for the samples"
    assert raised.value.hint == "-o FILE, or set XDG_STATE_HOME to a folder"


def test_a_model_by_prompts_alone_is_asked_as_a_solve_asks_it(tmp_path: Path) -> None:
    """In its own chat format, which the file of the base holds."""
    data, samples, model = tmp_path / "data.jsonl", tmp_path / "s.jsonl", tmp_path / "m.gguf"
    own = "{% for turn in messages %}the {{ turn['role'] }}: {{ turn['content'] }} {% endfor %}"
    tiny = ("-m", tiny_llama_gguf(model, template=own), "-n", "20")
    data.write_text(json.dumps({"question": "2 + 3?", "answer": 5}))
    solved = json.loads(lorid("solve", *tiny, "-r", "1", "--json", "2 + 3?").stdout)["rounds"][0]
    ran = lorid("eval", data, *tiny, "-r", "1", "-o", samples, "--methods", "lorid@1")
    assert ran.returncode == 0, ran.stderr
    drawn = [json.loads(line) for line in samples.read_text().splitlines()]
    texts = {row["role"]: printable(row["text"]) for row in drawn if "role" in row}
    assert texts == {role: printable(solved[role]["text"]) for role in ("ir", "kg", "dr")}


@pytest.mark.usefixtures("loopback")
@pytest.mark.parametrize("kind", [llama_server, openai_server])
def test_samples_are_drawn_on_a_server(tmp_path: Path, kind: Any) -> None:
    data, samples = tmp_path / "data.jsonl", tmp_path / "s.jsonl"
    rows = [{"question": f"What is {n}?", "answer": n} for n in range(12)]
    data.write_text("\n".join(map(json.dumps, rows)))
    arguments = ("-r", "2", "-o", samples, "--methods", "lorid,ir,majority@2", "--json", "-q")
    with kind(answering) as seen:
        endpoint = ("--endpoint", seen.url, "--in-flight", "9")
        found = json.loads(lorid("eval", data, *endpoint, *arguments).stdout)
        assert {m["method"]: m["right"] for m in found["methods"]} == dict.fromkeys(
            ("lorid", "ir", "majority@2"), 12
        )
        assert len(seen.samples) == 12 * 3 * 2 and 1 < seen.most <= 9
        again = lorid("eval", data, *endpoint, *arguments)  # all is there: the server rests
        assert json.loads(again.stdout)["rounds"] == found["rounds"]
        assert len(seen.samples) == 12 * 3 * 2
    ran = lorid("eval", data, "--endpoint", "http://127.0.0.1:9", *arguments)
    assert ran.returncode == 2 and b"its endpoint is 'http://127" in ran.stderr, ran.stderr


def test_a_server_calibrates_no_bundle(data: Path) -> None:
    failed(
        lorid("eval", data, "--endpoint", "http://127.0.0.1:9", "--calibrate", "smollm2-135m"),
        2,
        "Error: --calibrate was given with --endpoint, whose base and adapters are not known here\n"
        "Hint: let lorid eval draw the samples on this machine\n",
    )
