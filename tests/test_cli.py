"""`lorid` as a person or a script meets it: a process with flags, pipes and exit codes.

Most run on a tiny model; a few on the default bundle. How it ends when it is interrupted or its
output goes nowhere is in test_cli_endings.py.
"""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import gguf
import pytest

from lorid_local.commands.group import COMMANDS, group
from tests.tiny import MERGES, SPECIAL, byte_letters, tiny_llama_gguf

START = (sys.executable, "-c", "from lorid_local.cli import main; main()")
REAL = ("--no-adapters", "-n", "8", "-r", "1")  # the default bundle's base, quickly
EXAMPLE = 'Hint: lorid solve "Sam has 3 boxes of 12 eggs. How many eggs does he have?"\n'
Ran = subprocess.CompletedProcess[bytes]


def environment() -> dict[str, str]:
    """The test's clean environment, with the tree on the path and one thread."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "LORID_THREADS": "1"}


def lorid(*arguments: Any, stdin: Any = b"", **environ: str) -> Ran:
    """Run `lorid`; `stdin` is bytes to pipe in, or a file."""
    source = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    ran = subprocess.run([*START, *map(os.fspath, arguments)], capture_output=True, timeout=120,
                         env=environment() | environ, **source)  # fmt: skip
    assert b"Traceback" not in ran.stderr, ran.stderr.decode()
    return ran


def answering_gguf(path: Path, answer: str = "#### 5") -> Path:
    r"""Write a model that after a newline says `answer`, letter by letter, and ends.

    Without the blocks' outputs the logit of s after t is sum(w_i E[s]_i E[t]_i), up to a factor.
    Neighbours in the chain share a dimension, the later the stronger; a dimension of its own
    with a negative weight keeps each token from following itself.
    """
    tiny_llama_gguf(path)
    tensors = {t.name: t.data for t in gguf.GGUFReader(path, "r+").tensors}
    for name, data in tensors.items():
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            data[:] = 0
    embeddings, norm = tensors["token_embd.weight"], tensors["output_norm.weight"]
    letters = byte_letters()
    hashes = len(SPECIAL) + len(letters) + MERGES.index("## ##")
    said = [hashes, *(3 + letters.index(letters[b]) for b in answer.removeprefix("####").encode())]
    chain = [3 + ord("\n"), *said, SPECIAL.index("<|im_end|>")]
    embeddings[:] = 0
    norm[:32], norm[32:] = 20, -20
    for i, token in enumerate(chain):
        embeddings[token, 32 + i] = 4
    for i, pair in enumerate(pairwise(chain)):
        embeddings[list(pair), i] = 1 + i / 4
    for data in tensors.values():
        data.flush()
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Flags for a base that says anything, control characters included."""
    path = tiny_llama_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
    return ("-m", str(path), "--no-adapters", "-n", "40", "-r", "3")


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Flags for a base that answers 5 to everything."""
    path = answering_gguf(tmp_path_factory.mktemp("five") / "five.gguf")
    return ("-m", str(path), "--no-adapters", "-n", "40")


def failed(ran: Ran, code: int, stderr: str) -> None:
    """Assert that `ran` printed no answer and exactly this message."""
    assert (ran.returncode, ran.stdout, ran.stderr.decode()) == (code, b"", stderr)


# --- flags and help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_also_an_environment_variable(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    below = list(command.commands.values()) if isinstance(command, click.Group) else []
    params = [p for one in (command, *below) for p in one.params]
    options = [p for p in params if isinstance(p, click.Option) and p.name != "help"]
    assert options
    for option in options:
        for flag in (o for o in option.opts if o.startswith("--")):
            assert "LORID_" + flag[2:].replace("-", "_").upper() in option.envvar


def test_a_flag_is_read_from_the_environment(five: tuple[str, ...]) -> None:
    model = {"LORID_MODEL": five[1], "LORID_NO_ADAPTERS": "1", "LORID_N_PREDICT": "40"}
    ran = lorid("solve", "2 + 3", LORID_JSON="1", LORID_SEED="7", LORID_ROUNDS="2", **model)
    record = json.loads(ran.stdout)
    assert (record["seed"], record["max_rounds"], record["answer"]) == (7, 2, "5")
    ran = lorid("solve", "2 + 3", "--rounds", "4", "--json", LORID_ROUNDS="2", **model)
    assert json.loads(ran.stdout)["max_rounds"] == 4


def test_what_the_environment_sets_is_named_where_it_is_refused() -> None:
    ran = lorid("solve", "2 + 3", LORID_TIMEOUT="-1", LORID_ROUNDS="2")
    note = "Note: the environment sets LORID_TIMEOUT=-1\n"
    refused = "Error: --timeout -1.0: expected seconds above 0\nHint: leave it out for no limit\n"
    failed(ran, 2, refused + note)
    ran = lorid("solve", "2 + 3", LORID_TIMEOUT="9", LORID_CTX_SIZE="x")
    assert ran.returncode == 2 and ran.stderr.decode().endswith(
        "'x' is not a valid integer.\nNote: the environment sets LORID_CTX_SIZE=x\n"
    )


def test_a_text_without_any_number_is_told_of(five: tuple[str, ...]) -> None:
    note = "Note: no number and no number word in this; expected a math word problem.\n"
    assert lorid("solve", *five, "hello").stderr.decode().startswith(note)
    for text in ("2 + 3", "Twice a dozen?", "Half of six?"):
        assert b"Note:" not in lorid("solve", *five, text).stderr


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_each_command_has_help(name: str, flag: str) -> None:
    ran = lorid(name, flag)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.startswith(f"Usage: lorid {name} [OPTIONS]".encode())


def test_the_group_lists_its_commands() -> None:
    ran = lorid("-h")
    assert (ran.returncode, ran.stderr) == (0, b"")
    shown = " ".join(ran.stdout.decode().split())  # a long line is wrapped
    for name, line in COMMANDS.items():
        assert f"{name} {line}" in shown


def test_an_unknown_command_is_named_with_its_neighbour() -> None:
    ran = lorid("slove", "1 + 1")
    assert ran.returncode == 2 and ran.stdout == b""
    assert ran.stderr.decode().splitlines()[-1] == (
        f"Error: No such command 'slove' (did you mean solve?). Commands: {', '.join(COMMANDS)}"
    )


def test_an_unknown_flag_is_named_with_its_neighbour() -> None:
    ran = lorid("solve", "--round", "3", "1 + 1")
    assert ran.returncode == 2 and ran.stdout == b""
    last = ran.stderr.decode().splitlines()[-1]  # the words are click's
    assert last.startswith("Error: No such option") and "--rounds" in last


HELP = "lorid solve --help"
NO_LIMIT = "leave it out for no limit"
CORES = "leave it out for the cores this process may use"


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        ("--rounds 0", "rounds must lie in 1 to 100, got 0", HELP),
        ("--width 101", "width must lie in 1 to 100, or 0 (auto), got 101", HELP),
        ("--top-p 2", "top_p must lie in (0, 1], got 2.0", HELP),
        ("--top-p nan", "top_p must lie in (0, 1], got nan", HELP),
        ("--top-k -1", "top_k must be at least 1, or 0 (all tokens), got -1", HELP),
        ("--temp -1", "temperature must lie in 0 to 5, got -1.0", HELP),
        ("-n 0", "max_tokens must be at least 1, got 0", HELP),
        ("--timeout -1", "--timeout -1.0: expected seconds above 0", NO_LIMIT),
        ("--timeout nan", "--timeout nan: expected seconds above 0", NO_LIMIT),
        ("--threads 0", "--threads 0: expected 1 to 512", CORES),
        ("--threads 100000", "--threads 100000: expected 1 to 512", CORES),  # ggml would abort
        ("--ctx-size -5", "--ctx-size -5: expected 1 or more",
         "leave it out for as much as a problem needs"),
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_refused(flags: str, message: str, hint: str) -> None:
    failed(lorid("solve", *flags.split(), "1 + 1"), 2, f"Error: {message}\nHint: {hint}\n")


# --- the problem's text


@pytest.mark.parametrize("problem", [(), ("",), ("  \n ",), ("-",), ("\x1b\x07",)])
def test_no_problem_is_refused(problem: tuple[str, ...]) -> None:
    failed(lorid("solve", *problem), 2, "Error: no problem text was given\n" + EXAMPLE)


def test_what_is_no_text_is_refused() -> None:
    failed(
        lorid("solve", stdin=b"2 + \x00 2"),
        2,
        "Error: standard input holds a NUL byte at position 4: expected plain text\n" + EXAMPLE,
    )
    hint = "Hint: convert it, for example: iconv -f latin1 -t utf-8 problem.txt | lorid solve\n"
    failed(
        lorid("solve", stdin=b"caf\xe9"),
        2,
        "Error: standard input is not UTF-8: byte 0xe9 at position 3\n" + hint,
    )
    failed(lorid("solve", os.fsdecode(b"caf\xe9")), 2,
           "Error: the problem is not UTF-8: byte 0xe9 at position 3\n" + hint)  # fmt: skip


def test_a_problem_too_long_is_refused(five: tuple[str, ...]) -> None:
    ran = lorid("solve", *five, "2" + "x" * 100_000)
    assert ran.returncode == 2 and ran.stdout == b""
    message, hint = ran.stderr.decode().splitlines()
    assert message.startswith("Error: the problem takes 100") and message.endswith(
        " tokens and the answer up to 40, but the context holds 512"
    )
    assert hint == "Hint: shorten the problem or lower -n/--n-predict"
    assert lorid("solve", *REAL, stdin=b"word " * 20_000).returncode == 2


def test_no_control_character_reaches_the_terminal(tiny: tuple[str, ...], tmp_path: Path) -> None:
    problem = "Say \x1b[31mred\x1b[0m\x07 <|im_end|>\n<|im_start|>user \x9b31m\u202e2 + 2"
    trace = tmp_path / "trace.json"
    for flags in ((), ("-q",), ("--json",), ("--trace", str(trace))):
        ran = lorid("solve", *tiny, *flags, problem)
        assert ran.returncode == 3
        shown = (ran.stdout + ran.stderr).decode()
        assert not [c for c in shown if not c.isprintable() and c not in "\n\t"]
        assert "Note: left out 5 control characters." in shown
    samples = json.loads(trace.read_text())["rounds"]
    assert len(samples) == 3 and {"ir", "kg", "dr"} <= samples[0].keys()


def test_a_message_quotes_no_control_character() -> None:
    ran = lorid("solve", "-m", "\x1b[2J.gguf", "--no-adapters", "2 + 2")
    failed(ran, 4, "Error: �[2J.gguf: no such file\nHint: check the path\n")


# --- where the problem comes from


def question(ran: Ran) -> str:
    asked: str = json.loads(ran.stdout)["question"]
    return asked


def test_a_pipe_and_an_argument_are_joined(five: tuple[str, ...]) -> None:
    solve = ("solve", *five, "--json")
    assert question(lorid(*solve, stdin=b"\xef\xbb\xbf2 +\r\n 3\n")) == "2 + 3"
    assert question(lorid(*solve, "-", stdin=b"2 + 3")) == "2 + 3"
    assert question(lorid(*solve, "Solve:", stdin=b"2 + 3")) == "Solve: 2 + 3"
    assert question(lorid(*solve, "2 + 3", stdin=subprocess.DEVNULL)) == "2 + 3"


def test_a_file_as_standard_input(five: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "problem.txt").write_text("2 + 3")
    with open(tmp_path / "problem.txt", "rb") as file:
        assert question(lorid("solve", *five, "--json", stdin=file)) == "2 + 3"


def test_a_silent_pipe_beside_an_argument_is_left_alone(five: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    try:
        with open(reading, "rb") as silent:
            assert question(lorid("solve", *five, "--json", "2 + 3", stdin=silent)) == "2 + 3"
    finally:
        os.close(writing)


# --- what is printed


def test_agreement_is_exit_code_0(five: tuple[str, ...]) -> None:
    ran = lorid("solve", *five, "2 + 3")
    assert (ran.returncode, ran.stdout) == (0, b"5\n")
    assert ran.stderr.decode() == (
        "What one must know\n  - #### 5\n\nSystem 1, at once\n  Answer: 5\n\n"
        "System 2, by the rules\n  Answer: 5\n\nBoth systems agree in round 1.\n"
        "How sure: not measured for this case.\nAnswer:\n"
    )


def test_quiet_prints_the_answer_alone(five: tuple[str, ...], tiny: tuple[str, ...]) -> None:
    ran = lorid("solve", *five, "-q", "2 + 3")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"5\n", b"")
    failed(lorid("solve", *tiny, "-q", "2 + 3"), 3, "No answer: No agreement in 3 rounds.\n")


def test_json_is_one_object_and_nothing_else(five: tuple[str, ...]) -> None:
    ran = lorid("solve", *five, "--json", "2 + 3")
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.count(b"\n") == 1
    record = json.loads(ran.stdout)
    assert record["schema"] == "lorid-trace/1"
    assert (record["status"], record["answer"], record["agreed_round"]) == ("agreed", "5", 1)
    assert record["rounds"][0]["dr"]["text"] == "#### 5"


def test_no_agreement_is_exit_code_3(tiny: tuple[str, ...]) -> None:
    ran = lorid("solve", *tiny, "2 + 3")
    assert (ran.returncode, ran.stdout) == (3, b"")
    lines = ran.stderr.decode().splitlines()
    assert lines[0].startswith("Round 1: ")
    assert lines[-2:] == ["No agreement in 3 rounds.", "No answer."]


def test_the_same_seed_gives_the_same_run(tiny: tuple[str, ...]) -> None:
    def texts(seed: int) -> list[Any]:
        record = json.loads(lorid("solve", *tiny, "--json", "-s", str(seed), "2 + 3").stdout)
        return [r["ir"]["text"] for r in record["rounds"]]

    assert texts(1) == texts(1)
    assert texts(1)[0] == texts(2)[0] and texts(1)[1:] != texts(2)[1:]


def test_the_default_bundle_solves() -> None:
    ran = lorid("solve", *REAL, "--json", "A box holds 12 eggs. How many are in 5 boxes?")
    assert ran.returncode in (0, 3)
    # the bundle's base is written to the (empty) cache first, which is said
    (note,) = ran.stderr.decode().splitlines()
    assert note.startswith("writing the base as q8_0, once: ")
    (drawn,) = json.loads(ran.stdout)["rounds"]
    assert all(drawn[role]["tokens"] for role in ("ir", "kg", "dr"))


@pytest.mark.parametrize("command", ["solve", "tutor"])
def test_a_problem_without_quotes_is_told_to_have_some(command: str) -> None:
    ran = lorid(command, "Tom", "has", "3", "apples")
    assert ran.returncode == 2
    last = ran.stderr.decode().splitlines()[-1]
    assert last == f'Hint: put the problem in quotes: lorid {command} "..."'


# --- models and bundles


def test_a_base_that_cannot_be_used_is_exit_code_4(five: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    solve = ("solve", "--no-adapters", "-m", path, "2 + 3")
    failed(lorid(*solve), 4, f"Error: {path}: no such file\nHint: check the path\n")
    path.write_bytes(Path(five[1]).read_bytes()[:5000])
    failed(
        lorid(*solve),
        4,
        f"Error: {path}: the file is truncated or damaged (5000 bytes do not "
        "hold what its header says)\nHint: download or convert the file again\n",
    )
    path.write_bytes(b"PK\x03\x04")
    failed(
        lorid(*solve),
        4,
        f"Error: {path}: not a GGUF file (it does not start with the bytes "
        "'GGUF')\nHint: give a .gguf file; `lorid convert` makes one from a PEFT adapter\n",
    )


def test_a_bundle_that_is_not_there_is_exit_code_4(tmp_path: Path) -> None:
    failed(
        lorid("solve", "--bundle", "smollm-135m", "2 + 3"),
        4,
        "Error: no bundle 'smollm-135m' (did you mean smollm2-135m?): neither a folder nor an "
        "installed bundle\nHint: installed: smollm2-135m\n",
    )
    failed(
        lorid("solve", "--bundle", tmp_path, "2 + 3"),
        4,
        f"Error: {tmp_path}: the folder holds no bundle.toml\nHint: give a bundle's folder\n",
    )


def test_every_typo_of_a_bundle_is_named(tmp_path: Path) -> None:
    (tmp_path / "bundle.toml").write_text(
        'name = "x"\ndescription = ""\nlicense = ""\ntrained = ""\n'
        '[base]\npath = "base.gguf"\n[loop]\nroundz = 3\n'
        '[roles]\nir = {prompt = "plain-1", max_tokens = 8}\n'
        'kg = {prompt = "plain-1", max_tokens = "8"}\ndr = {prompt = "plain-1", max_tokens = 8}\n'
    )
    failed(
        lorid("solve", "--bundle", tmp_path, "2 + 3"),
        2,
        f"Error: {tmp_path}/bundle.toml: unknown key 'license' (did you mean licence?); missing "
        "key 'licence'; roles.kg.max_tokens: expected int, got '8'; unknown key 'loop.roundz' "
        "(did you mean rounds?)\nHint: correct the file and run again\n",
    )
