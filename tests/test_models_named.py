"""A name of `lorid models` means the same model to every command that takes a base."""

import json
from pathlib import Path

import pytest

from lorid_local import bench, doctor
from lorid_local.bench import Task
from lorid_local.errors import EXIT_MODEL, ModelError
from lorid_local.models import pulling, shelf
from lorid_local.solving import Flags
from tests.hub_server import hub
from tests.test_cli import failed, lorid
from tests.tiny import tiny_llama_gguf

NAMED = Flags(model=Path("mine"), threads=1, n_predict=8)
PROBLEM = '{"question": "2 + 2?", "answer": 4}\n'


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model that is called mine."""
    path = tiny_llama_gguf(tmp_path / "tiny.gguf")
    pulling.bring(path, "mine", lambda line: None)
    return path


def test_bench_and_doctor_and_eval_know_it(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.run(NAMED, Task((1,), 4, 1), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["machine"]["base"] == "tiny.gguf"
    assert doctor.run(NAMED, as_json=True) == 0
    found = {c["name"]: c["found"] for c in json.loads(capsys.readouterr().out)["checks"]}
    assert found["base"].startswith(f"{base} (llama, ")
    (tmp_path / "data.jsonl").write_text(PROBLEM)
    ran = lorid("eval", tmp_path / "data.jsonl", "-m", "mine", "-n", "8", "-r", "1", "--json",
                "-o", tmp_path / "samples.jsonl")  # fmt: skip
    assert (ran.returncode, json.loads(ran.stdout)["problems"]) == (0, 1), ran.stderr.decode()


COMMANDS = {
    "solve": ("-m", "mien", "2 + 2?"),
    "eval": ("data.jsonl", "-m", "mien"),
    "bench": ("-m", "mien"),
    "convert": ("adapter", "--base", "mien"),
    "bundle": ("made", "--base", "mien", "--prompt", "terse-1"),
}


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_name_that_means_nothing(name: str) -> None:
    failed(lorid(name, *COMMANDS[name]), EXIT_MODEL,
           "Error: no model 'mien' (did you mean mine?)\n"
           "Hint: here: mine; lorid models list shows what is offered\n")  # fmt: skip


@pytest.mark.usefixtures("base")
def test_the_doctor_tells_of_it_as_of_a_base(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(Flags(model=Path("mien")), as_json=True) == EXIT_MODEL
    checks = json.loads(capsys.readouterr().out)["checks"]
    (found,) = (check for check in checks if check["status"] == "problem")
    assert found == {
        "name": "base",
        "status": "problem",
        "found": "no model 'mien' (did you mean mine?)",
        "hint": "here: mine; lorid models list shows what is offered",
    }


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    held = shelf.Part(str(tmp_path / "GSM8K-Tiny-IR" / "adapter_config.json"), 2, "0" * 64)
    shelf.keep(shelf.Note("GSM8K-Tiny-IR", "peft", (held,)))
    with pytest.raises(ModelError) as raised:
        shelf.located(Path("GSM8K-Tiny-IR"))
    assert raised.value.message == "GSM8K-Tiny-IR: an adapter, and no model to run"
    assert raised.value.hint == f"lorid convert {tmp_path}/GSM8K-Tiny-IR --base BASE.gguf"


@pytest.mark.usefixtures("loopback")
def test_a_model_in_parts_is_pulled_whole(tmp_path: Path) -> None:
    first = tiny_llama_gguf(tmp_path / "tiny.gguf").read_bytes()
    names = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    with hub({"someone/Split": {names[0]: first, names[1]: b"the rest"}}) as held:
        ran = lorid("models", "pull", "someone/Split", HF_ENDPOINT=held.url)
    assert ran.returncode == 0, ran.stderr.decode()
    path = Path(ran.stdout.decode().strip())
    assert path.name == names[0]  # the one that llama.cpp is given
    assert [Path(part.path).name for part in shelf.find(path.stem).parts] == list(names)
    assert (path.parent / names[1]).read_bytes() == b"the rest"
