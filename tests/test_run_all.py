"""train/run_all.py: three roles trained, converted and measured, in calls that end in time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lorid_local.evaluate import sampling, store
from lorid_local.evaluate.methods import Needs
from lorid_local.gguf_header import read_header
from tests.test_sft import PROBLEMS
from tests.test_train_data import write_lines
from tests.tiny import tiny_llama_gguf

SCRIPT = Path(__file__).parent.parent / "train/run_all.py"
RECIPE = """
name = "tiny"
prompt = "terse-1"
precision = "f32"
[base]
path = "{base}"
[data]
questions = "train.jsonl"
knowledge = "rules.jsonl"
[lora]
rank = 4
alpha = 8
[roles.dr]
start_from = "runs/tiny-ir/adapter"
"""
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the script is not part of the wheel")


def test_it_goes_on_until_all_is_trained_converted_and_measured(tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "tiny.gguf")
    write_lines(tmp_path / "train.jsonl", PROBLEMS)
    rules = [{"id": i, "knowledge": ["Add."]} for i in range(len(PROBLEMS))]
    write_lines(tmp_path / "rules.jsonl", rules)
    (tmp_path / "recipe.toml").write_text(RECIPE.format(base=base))
    command = [sys.executable, SCRIPT, "recipe.toml", "--data", ".", "--problems", "train.jsonl",
               "--rules-file", "rules.jsonl", "--rounds", "2"]  # fmt: skip

    def call(*more: str) -> tuple[int, str]:
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run([*command, *more], cwd=tmp_path, env=environ, capture_output=True,
                             text=True, timeout=300)  # fmt: skip
        return ran.returncode, ran.stderr

    code, told = call("--minutes", "0")
    assert code == 75 and "runs/tiny-ir: the time is over at step 1 of " in told
    code, told = call()
    assert code == 0, told
    for role in ("ir", "kg", "dr"):
        assert read_header(tmp_path / f"runs/tiny/{role}.gguf").metadata["adapter.lora.alpha"] == 8
    contents = store.read(tmp_path / "runs/tiny/samples.jsonl")
    assert [case.question for case in contents.cases] == [p["question"] for p in PROBLEMS]
    needs = Needs(2, 2, 2, ("teacher", "none", "other"))
    assert not sampling.pending(len(PROBLEMS), needs, contents)
    assert contents.settings["trained"] == "tiny"
    code, told = call("--rounds", "3", "--minutes", "0")
    assert (code, "samples.jsonl: the time is over; run the same command again" in told) == (75, 1)
    assert call()[0] == 0  # nothing is left to do
