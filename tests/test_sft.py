"""Training for real, on a tiny model: what is learnt, what is masked, what a resume gives."""

import json
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lorid_local.base import Base
from lorid_local.engine import Part, Role
from lorid_local.errors import ModelError, OutputError, TrainError, TrainPaused
from lorid_local.gguf_header import read_header
from lorid_train import masking, run, sft
from lorid_train import recipe as recipes
from tests import test_stepping
from tests.test_stepping import LORA, encoded, loss_of
from tests.test_train_data import FILES, RULES, write_lines

torch = pytest.importorskip("torch")
base, learner = test_stepping.base, test_stepping.learner  # fixtures
RUN = recipes.Run(learning_rate=5e-3, batch_tokens=400, epochs=6, checkpoint_steps=4)
PROBLEMS: list[dict[str, object]] = [
    {"question": f"What is {a} and {a}?", "answer": f"It is <<{a}+{a}={2 * a}>>.\n#### {2 * a}"}
    for a in range(1, 25)
]


def silent(step: sft.Step) -> None:
    pass


def test_the_loss_falls_and_the_adapter_is_saved(learner: sft.Learner, tmp_path: Path) -> None:
    figures = sft.train(learner, encoded(learner), RUN, tmp_path, seed=1, progress=silent)
    losses = figures["losses"]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    assert (tmp_path / "adapter/adapter_model.safetensors").is_file()


def test_a_base_in_bf16_learns_with_an_adapter_in_f32(base: Path, tmp_path: Path) -> None:
    learner = sft.load(base, LORA, threads=1, seed=1, precision="bf16")
    kinds = {(p.dtype, p.requires_grad) for p in learner.model.parameters()}
    assert kinds == {(torch.bfloat16, False), (torch.float32, True)}
    figures = sft.train(learner, encoded(learner), RUN, tmp_path, seed=1, progress=silent)
    losses = figures["losses"]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_special_tokens_are_read_in_special_parts_only(learner: sft.Learner) -> None:
    encode = sft.encoder(learner.tokenizer)
    parts = (Part("<|im_start|>", special=True), Part("a<|im_end|>"))
    ids = masking.encode_prompt(parts, encode)
    assert ids[0] == 1
    assert 2 not in ids
    assert learner.tokenizer.eos_token_id == 2


def test_a_text_ends_with_the_token_that_llama_cpp_stops_at(
    base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever transformers makes of the file: 5.17 has <|im_start|> for it."""
    read_by_transformers = sft.AutoTokenizer.from_pretrained

    def mistaken(**where: Any) -> Any:
        tokenizer = read_by_transformers(**where)
        tokenizer.eos_token = "<|im_start|>"
        assert tokenizer.eos_token_id == 1
        assert sft.end_token(base, tokenizer) == 2
        return tokenizer

    monkeypatch.setattr(sft.AutoTokenizer, "from_pretrained", mistaken)
    ends: set[int] = set()

    def train(learner: Any, examples: list[masking.Encoded], *_: Any, **__: Any) -> Any:
        ends.update(e.ids[-1] for e in examples)
        raise TrainPaused("seen", hint="")

    monkeypatch.setattr(sft, "train", train)
    write_lines(tmp_path / "train.jsonl", PROBLEMS)
    write_lines(tmp_path / "rules.jsonl", [{"id": 0, "knowledge": ["Add."]}])
    recipe = recipes.Recipe(
        "r", "terse-1", Base(path=str(base)),
        recipes.Data(questions="train.jsonl", knowledge="rules.jsonl"), LORA,
    )  # fmt: skip
    with pytest.raises(TrainPaused):
        run.start(recipe, Role.IR, tmp_path, tmp_path / "out", silent, lambda text: None)
    assert ends == {2}


def interrupted_after(steps: int) -> Callable[[sft.Step], None]:
    def progress(step: sft.Step) -> None:
        if step.number == steps:
            raise KeyboardInterrupt

    return progress


def test_a_resumed_run_has_the_loss_curve_of_an_uninterrupted_one(
    base: Path, tmp_path: Path
) -> None:
    def losses(out: Path, progress: Callable[[sft.Step], None] = silent) -> list[float]:
        learner = sft.load(base, recipes.Lora(rank=4, alpha=8, dropout=0.1), threads=1, seed=1)
        found: Any = sft.train(learner, encoded(learner), RUN, out, seed=1, progress=progress)[
            "losses"
        ]
        return list(found)

    whole = losses(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):  # past the checkpoint of step 4, which must serve
        losses(tmp_path / "cut", interrupted_after(6))
    assert losses(tmp_path / "cut") == whole


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process, which has torch loaded; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork, where there are threads
def test_a_run_that_was_killed_goes_on_with_the_same_loss_curve(base: Path, tmp_path: Path) -> None:
    lora = replace(LORA, dropout=0.1)  # so that the random state counts, too

    def train(out: Path, progress: Callable[[sft.Step], None] = silent) -> list[float]:
        learner = sft.load(base, lora, threads=1, seed=1, precision="f32")
        found = sft.train(learner, encoded(learner), RUN, out, seed=1, progress=progress)
        return list(found["losses"])

    whole, cut = train(tmp_path / "whole"), tmp_path / "cut"
    child = in_child(lambda: train(cut, lambda step: time.sleep(0.05)) and None)
    while not (cut / sft.CHECKPOINT).exists():
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (cut / "adapter").exists()
    seen: list[int] = []
    assert train(cut, lambda step: seen.append(step.number)) == whole
    assert seen[0] > RUN.checkpoint_steps
    name = "adapter/adapter_model.safetensors"
    assert (cut / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_processes_have_the_loss_curve_of_one(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = sft.load(base, LORA, threads=1, seed=1, precision="f32")
    one = sft.train(alone, encoded(alone), RUN, tmp_path / "one", seed=1, progress=silent)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, value in (("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", port)):
        monkeypatch.setenv(name, value)

    def work(rank: int) -> None:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        learner = sft.load(base, LORA, threads=1, seed=1, precision="f32")
        told: list[int] = []
        figures = sft.train(learner, encoded(learner), RUN, tmp_path / "two", seed=1,
                            progress=lambda step: told.append(step.number))  # fmt: skip
        record = {"told": len(told), "losses": figures["losses"]}
        (tmp_path / f"{rank}.json").write_text(json.dumps(record))

    children = [in_child(lambda rank=rank: work(rank)) for rank in (0, 1)]  # type: ignore[misc]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(one["losses"], abs=2e-3)
    assert (first["told"], second["told"]) == (one["steps"], 0)
    assert (tmp_path / "two/adapter/adapter_config.json").is_file()


def test_gradient_checkpointing_changes_the_memory_and_not_the_loss(
    base: Path, learner: sft.Learner, tmp_path: Path
) -> None:
    saving = sft.load(base, LORA, threads=1, seed=1, precision="f32", gradient_checkpointing=True)
    held = []
    for one in (learner, saving):
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t
        ):
            one.model.train()
            loss_of(one, encoded(one)[:5])
        held.append(sum(kept))
    assert held[1] < held[0] / 2
    losses = [
        sft.train(one, encoded(one), RUN, tmp_path / name, seed=1, progress=silent)["losses"]
        for one, name in ((learner, "a"), (saving, "b"))
    ]
    assert losses[0] == losses[1]


def test_a_checkpoint_of_another_run_is_refused(learner: sft.Learner, tmp_path: Path) -> None:
    examples = encoded(learner)
    short = recipes.Run(batch_tokens=400, token_budget=1)
    sft.train(learner, examples, short, tmp_path, seed=1, progress=silent)
    with pytest.raises(TrainError) as caught:
        sft.train(learner, examples, RUN, tmp_path, seed=1, progress=silent)
    assert caught.value.message == (
        f"{tmp_path / 'checkpoint.pt'}: belongs to another run (other data, seed or batch plan)"
    )


def test_a_diverged_run_stops_and_keeps_its_checkpoint(
    learner: sft.Learner, tmp_path: Path
) -> None:
    with torch.no_grad():
        next(p for p in learner.model.parameters() if p.requires_grad).fill_(float("nan"))
    with pytest.raises(TrainError) as caught:
        sft.train(learner, encoded(learner), RUN, tmp_path, seed=1, progress=silent)
    assert caught.value.message == (
        "the loss is nan: training has diverged; the last checkpoint is kept"
    )


def test_an_adapter_that_does_not_fit_the_base_is_refused(base: Path) -> None:
    with pytest.raises(TrainError) as caught:
        sft.load(base, recipes.Lora(targets=("no_such_linear",)), threads=1, seed=1)
    assert caught.value.message.startswith("the adapter does not fit the base: ")


@pytest.mark.parametrize(("step", "share"), [(0, 0.5), (1, 1.0), (2, 1.0), (11, 0.5), (20, 0.0)])
def test_the_schedule_warms_up_and_falls_along_a_cosine(step: int, share: float) -> None:
    assert sft.schedule(step, 20, 0.1) == pytest.approx(share, abs=1e-9)


def recipe_for(base: Path) -> recipes.Recipe:
    runs = recipes.Roles(ir=recipes.Run(batch_tokens=600, max_length=256, checkpoint_steps=100))
    return recipes.Recipe("tiny", "terse-1", Base(path=str(base)), FILES, LORA, runs, threads=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_lines(folder / "train.jsonl", PROBLEMS)
    write_lines(folder / "rules.jsonl", list(RULES))
    (folder / "dev_ids.txt").write_text("3\n")
    return folder


def test_a_recipe_runs_from_start_to_end_and_leaves_a_manifest(
    base: Path, root: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    adapter = run.start(recipe_for(base), Role.IR, root, out, silent, said.append)
    assert adapter == out / "adapter"
    assert said[0] == "23 examples; left out: 1 dev_ids.txt"
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["role"] == "ir"
    assert manifest["examples"] == 23
    assert set(manifest["data_sha256"]) == {"train.jsonl", "rules.jsonl"}
    assert len(manifest["losses"]) == manifest["steps"] > 0
    picture = ElementTree.parse(out / "loss.svg").getroot()
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [manifest["steps"]] * 2
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "tiny ir: loss" and texts[-1] == f"step {manifest['steps']}"


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_bf16_is_chosen_where_it_is_fast_and_a_slow_one_is_told_of(
    precision: recipes.Precision, fast: bool, base: Path, root: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: fast)
    recipe, said, out = replace(recipe_for(base), precision=precision), [], tmp_path / "run"
    run.start(recipe, Role.IR, root, out, silent, said.append)
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["precision"] == ("bf16" if fast or precision == "bf16" else "f32")
    assert (run.SLOW in said) is (precision == "bf16" and not fast)


def test_a_run_whose_time_is_over_goes_on_when_started_again(
    base: Path, root: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(base)
    whole = run.start(recipe, Role.IR, root, tmp_path / "whole", silent, [].append)
    steps = json.loads((whole.parent / "run.json").read_text())["steps"]
    out = tmp_path / "parts"
    for number in range(1, steps):
        with pytest.raises(TrainPaused) as caught:
            run.start(recipe, Role.IR, root, out, silent, [].append, minutes=0)
        assert caught.value.message == f"{out}: the time is over at step {number} of {steps}"
        assert caught.value.hint == "run the same command again to go on"
        assert caught.value.exit_code == 75
    run.start(recipe, Role.IR, root, out, silent, [].append, minutes=0)
    losses = [json.loads((f / "run.json").read_text())["losses"] for f in (whole.parent, out)]
    assert losses[0] == losses[1]


def test_texts_encoded_at_once_are_as_one_by_one(learner: sft.Learner) -> None:
    texts = ["What is 2 and 3?", "<|im_end|> 7", "", "a  b"]
    one, many = sft.encoder(learner.tokenizer), sft.encoder(learner.tokenizer, texts)
    assert [many(t, False) for t in texts] == [one(t, False) for t in texts]
    assert many(texts[1], True) == one(texts[1], True) != one(texts[1], False)


def test_a_trained_adapter_converts_and_acts(base: Path, root: Path, tmp_path: Path) -> None:
    from lorid_convert.pipeline import convert
    from lorid_local.llama import LlamaEngine, Options

    adapter = run.start(recipe_for(base), Role.IR, root, tmp_path / "run", silent, [].append)
    convert(adapter, base, tmp_path / "ir.gguf")
    assert len(read_header(tmp_path / "ir.gguf").tensors) == 2 * 2 * len(LORA.targets)
    with LlamaEngine(base, {Role.IR: tmp_path / "ir.gguf"}, Options(threads=1)) as engine:
        engine.prove()


def test_another_base_than_the_recipe_names_is_refused(
    base: Path, root: Path, tmp_path: Path
) -> None:
    recipe = replace(recipe_for(base), base=Base(path=str(base), sha256="0" * 64))
    with pytest.raises(ModelError) as caught:
        run.start(recipe, Role.IR, root, tmp_path / "run", silent, lambda text: None)
    assert caught.value.message == (
        f"{base}: not the base that the recipe names (its SHA-256 differs)"
    )


def test_an_out_folder_that_cannot_be_made_is_named(base: Path, root: Path) -> None:
    out = root / "train.jsonl" / "run"
    with pytest.raises(OutputError) as caught:
        run.start(recipe_for(base), Role.IR, root, out, silent, lambda text: None)
    assert caught.value.message == f"{out}: cannot be made (Not a directory)"
