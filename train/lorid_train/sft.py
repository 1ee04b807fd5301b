"""Supervised fine-tuning of one role's LoRA on the base read from its GGUF.

Imports torch, transformers and peft, as only `merged`, `parallel` and `stepping` below it do.
"""

import io
import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lorid_local.errors import TrainError, TrainPaused
from lorid_local.gguf_header import read_header
from lorid_local.prompts import Encode
from lorid_train import parallel, stepping
from lorid_train.masking import Encoded, plan
from lorid_train.merged import merge
from lorid_train.parallel import Place, place
from lorid_train.recipe import Lora, Precision, Run

CHECKPOINT = "checkpoint.pt"
# else peft looks for a config beside the base, which a GGUF has not, and warns
LINEARS = {"save_embedding_layers": False}


class Progress(Protocol):
    """Told of every step; shows what it likes."""

    def __call__(self, step: "Step") -> None: ...


@dataclass(frozen=True)
class Step:
    """One optimizer step. `tokens` counts all tokens so far, padding excluded."""

    number: int
    total: int
    loss: float
    tokens: int
    tokens_per_second: float
    seconds_left: float


@dataclass
class Learner:
    """A base with a fresh adapter, its tokenizer and the optimizer's state."""

    model: Any
    tokenizer: Any
    device: torch.device
    here: Place = field(default_factory=Place)

    @property
    def precision(self) -> str:
        """The number type of the base: 'bf16' or 'f32'."""
        base: torch.dtype = self.model.get_input_embeddings().weight.dtype
        return "bf16" if base is torch.bfloat16 else "f32"


def load(
    base: Path,
    lora: Lora,
    *,
    threads: int,
    seed: int,
    start_from: str = "",
    precision: Precision = "auto",
    gradient_checkpointing: bool = False,
    compiled: bool = False,
) -> Learner:
    """Load `base` dequantized and put an adapter on it, in f32; raises TrainError.

    `precision` is the base's: auto is bf16 where the machine multiplies it fast, else f32.
    `gradient_checkpointing` computes each layer twice, and keeps its activations not at all.
    `compiled` layers cost a minute at the start: for long runs on a GPU.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    here = place()
    on = parallel.device(here)
    tokenizer, model = read(base, precision, on)
    model.config.use_cache = False
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # of old names that peft still uses
            peft_model = get_peft_model(model, config)
    except ValueError as error:
        raise TrainError(
            f"the adapter does not fit the base: {error}",
            hint="name linears of the base as lora.targets in the recipe",
        ) from None
    if start_from:
        _start_from(peft_model, Path(start_from))
    merge(peft_model)
    if gradient_checkpointing:
        with warnings.catch_warnings(action="ignore"):  # of the name that 5.17 has alone
            model.gradient_checkpointing_enable({"use_reentrant": False})
    if compiled:
        stepping.compile_layers(peft_model)
    return Learner(peft_model.to(on), tokenizer, on, here)


def read(base: Path, precision: Precision, on: torch.device) -> tuple[Any, Any]:
    """Return the tokenizer and the dequantized model of a GGUF, on the CPU; raises TrainError."""
    with _quiet_transformers(), _translated(base):
        where = {"pretrained_model_name_or_path": base.parent, "gguf_file": base.name}
        model = AutoModelForCausalLM.from_pretrained(
            **where,
            dtype=_dtype(precision, on),
            # short rows: the flash kernel's backward pass takes a fifth of a step on a CPU
            attn_implementation="eager" if on.type == "cpu" else "sdpa",
        )
        tokenizer = AutoTokenizer.from_pretrained(**where)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end_token(base, tokenizer))
    return tokenizer, model


def end_token(base: Path, tokenizer: Any) -> int:
    """Return the id that ends a text: the GGUF's own, which is the one that llama.cpp stops at.

    Not the tokenizer's: transformers 5.17 takes the one that begins a text of ChatML for it.
    """
    found = read_header(base).metadata.get("tokenizer.ggml.eos_token_id", tokenizer.eos_token_id)
    return int(found)


def fast_bf16(on: torch.device) -> bool:
    """True if `on` has bf16 instructions; on a CPU without them a step takes minutes."""
    return on.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())


def _dtype(precision: Precision, on: torch.device) -> torch.dtype:
    half = precision == "bf16" or (precision == "auto" and fast_bf16(on))
    return torch.bfloat16 if half else torch.float32


def encoder(tokenizer: Any, known: Iterable[str] = ()) -> Encode:
    """Return how `tokenizer` encodes a prompt's part.

    `known` texts, without special tokens, are encoded at once: ten times faster on many cores.
    Parts with special tokens are few, the same in every prompt, and are encoded once.
    """
    texts = list(dict.fromkeys(known))
    plain = {"add_special_tokens": False, "split_special_tokens": True}
    ready = dict(zip(texts, tokenizer(texts, **plain).input_ids if texts else (), strict=True))

    @lru_cache(maxsize=256)
    def fresh(text: str, special: bool) -> list[int]:
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=not special)
        return list(ids.input_ids)

    def encode(text: str, special: bool) -> list[int]:
        return list(ready[text] if not special and text in ready else fresh(text, special))

    return encode


def train(learner: Learner, examples: list[Encoded], run: Run, out: Path, *, seed: int,
          progress: Progress, until: float = math.inf) -> dict[str, Any]:  # fmt: skip
    """Train, or go on from `out`'s checkpoint; save the PEFT folder `out`/adapter.

    Returns the run's figures. Raises TrainError when the loss is not finite, TrainPaused after
    the first step that ends later than `until` (of time.monotonic()) and is not the last.
    """
    lengths = [len(e.ids) for e in examples]
    batches = plan(lengths, batch_tokens=run.batch_tokens, epochs=run.epochs,
                   budget=run.token_budget, seed=seed)  # fmt: skip
    weights = [p for p in learner.model.parameters() if p.requires_grad]
    optimizer = stepping.optimizer(weights, run.learning_rate, learner.device)
    state = _resume(learner, optimizer, out, fingerprint=[len(batches), seed, sum(lengths)])
    learner.model.train()
    started = time.monotonic()
    planned = ([examples[i] for i in batch] for batch in batches[state.done :])
    losses = stepping.steps(learner.model, optimizer, weights, planned, run.clip, learner.here)
    for number in range(state.done, len(batches)):
        for group in optimizer.param_groups:
            group["lr"] = run.learning_rate * schedule(number, len(batches), run.warmup)
        value = _finite(next(losses))
        now = time.monotonic()
        state.record(number, value, sum(lengths[i] for i in batches[number]), now - started)
        started = now
        if learner.here.first:
            progress(state.step(len(batches)))
        over = parallel.any_of(time.monotonic() >= until, learner.here)
        if over and number + 1 < len(batches):
            _save_checkpoint(learner, optimizer, state, out)
            raise TrainPaused(
                f"{out}: the time is over at step {number + 1} of {len(batches)}",
                hint="run the same command again to go on",
            )
        if (number + 1) % run.checkpoint_steps == 0:
            _save_checkpoint(learner, optimizer, state, out)
    _save_checkpoint(learner, optimizer, state, out)
    if learner.here.first:
        learner.model.save_pretrained(out / "adapter", **LINEARS)
    parallel.wait(learner.here)
    return state.figures(len(batches))


def _finite(loss: torch.Tensor) -> float:
    """Wait for a step's loss and return it; raises TrainError."""
    value = float(loss)
    if not math.isfinite(value):
        raise TrainError(
            f"the loss is {value}: training has diverged; the last checkpoint is kept",
            hint="lower learning_rate in the recipe and start again in a fresh --out folder",
        )
    return value


def schedule(step: int, total: int, warmup: float) -> float:
    """Return the share of the learning rate at `step`: linear warm-up, then half a cosine."""
    ramp = max(1, round(total * warmup))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, total - ramp)))


class _State:
    """Where a run stands: steps done, tokens, seconds and the loss of each step."""

    def __init__(self, out: Path, fingerprint: list[int]) -> None:
        self.out = out
        self.fingerprint = fingerprint
        self.done = 0
        self.tokens = 0
        self.seconds = 0.0
        self.losses: list[float] = []

    def record(self, number: int, loss: float, tokens: int, seconds: float) -> None:
        self.done = number + 1
        self.tokens += tokens
        self.seconds += seconds
        self.losses.append(loss)

    def step(self, total: int) -> Step:
        left = self.seconds / self.done * (total - self.done)
        speed = self.tokens / self.seconds
        return Step(self.done, total, self.losses[-1], self.tokens, speed, left)

    def figures(self, total: int) -> dict[str, Any]:
        tail = self.losses[-max(1, len(self.losses) // 10) :]
        return {
            "steps": total,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(self.tokens / self.seconds, 1) if self.seconds else 0.0,
            "final_loss": round(sum(tail) / len(tail), 4) if tail else None,
            "losses": [round(loss, 4) for loss in self.losses],
        }


def _save_checkpoint(learner: Learner, optimizer: Any, state: _State, out: Path) -> None:
    """Write the checkpoint beside the old one, then put it in its place."""
    if not learner.here.first:
        return
    out.mkdir(parents=True, exist_ok=True)
    part = out / (CHECKPOINT + ".part")
    record = {
        "adapter": get_peft_model_state_dict(learner.model, **LINEARS),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all(),  # an empty list without CUDA
        "state": {k: v for k, v in vars(state).items() if k != "out"},
    }
    try:
        torch.save(record, part)
        os.replace(part, out / CHECKPOINT)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise TrainError(
            f"{out / CHECKPOINT}: cannot be written ({error})",
            hint="make room there; the same command goes on from the last one",
        ) from None


def _resume(learner: Learner, optimizer: Any, out: Path, *, fingerprint: list[int]) -> _State:
    state = _State(out, fingerprint)
    path = out / CHECKPOINT
    if not path.is_file():
        return state
    record = torch.load(path, map_location="cpu", weights_only=True)
    if record["state"]["fingerprint"] != fingerprint:
        raise TrainError(
            f"{path}: belongs to another run (other data, seed or batch plan)",
            hint="give a fresh folder with --out, or delete that checkpoint",
        )
    set_peft_model_state_dict(learner.model, record["adapter"])
    optimizer.load_state_dict(record["optimizer"])
    torch.set_rng_state(record["rng"])
    if record.get("cuda_rng") and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(record["cuda_rng"])
    vars(state).update(record["state"])
    return state


def _start_from(model: Any, folder: Path) -> None:
    from safetensors.torch import load_file

    try:
        weights = load_file(folder / "adapter_model.safetensors")
    except OSError as error:
        raise TrainError(
            f"start_from: {folder}: {error}",
            hint="name a PEFT folder; lorid export-peft makes one of a GGUF LoRA",
        ) from None
    set_peft_model_state_dict(model, weights)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep stderr for our own progress: its bars and warnings obey no single switch."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(level)


@contextmanager
def _translated(base: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise TrainError(
            f"{base}: transformers cannot load it: {error}",
            hint="give a GGUF of an architecture that transformers reads",
        ) from None
