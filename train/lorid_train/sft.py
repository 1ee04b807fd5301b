"""Supervised fine-tuning of one role's LoRA on the base read from its GGUF.

Imports torch, transformers and peft, as only `merged` and `parallel` below it do. The loss is on
the targets, and the logits are computed there only: on a small model the head is a fifth of the
work.
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
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lorid_local.errors import TrainError, TrainPaused
from lorid_local.prompts import Encode
from lorid_train import parallel
from lorid_train.masking import Encoded, plan
from lorid_train.merged import merge
from lorid_train.parallel import Place, place
from lorid_train.recipe import Lora, Precision, Run

IGNORED = -100  # the label that carries no loss, torch's default
BETAS = (0.9, 0.99)  # a short run: the second moment must settle in tens of steps
CHECKPOINT = "checkpoint.pt"


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
) -> Learner:
    """Load `base` dequantized and put an adapter on it, in f32; raises TrainError.

    `precision` is the base's: auto is bf16 where the machine multiplies it fast, else f32.
    `gradient_checkpointing` computes each layer twice, and keeps its activations not at all.
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
        model.gradient_checkpointing_enable({"use_reentrant": False})
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
        return AutoTokenizer.from_pretrained(**where), model


def fast_bf16(on: torch.device) -> bool:
    """True if `on` has bf16 instructions; on a CPU without them a step takes minutes."""
    return on.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())


def _dtype(precision: Precision, on: torch.device) -> torch.dtype:
    half = precision == "bf16" or (precision == "auto" and fast_bf16(on))
    return torch.bfloat16 if half else torch.float32


def encoder(tokenizer: Any, known: Iterable[str] = ()) -> Encode:
    """Return how `tokenizer` encodes a prompt's part.

    `known` texts, without special tokens, are encoded at once: ten times faster on many cores.
    """
    texts = list(dict.fromkeys(known))
    plain = {"add_special_tokens": False, "split_special_tokens": True}
    ready = dict(zip(texts, tokenizer(texts, **plain).input_ids if texts else (), strict=True))

    def encode(text: str, special: bool) -> list[int]:
        if not special and text in ready:
            return list(ready[text])
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=not special)
        return list(ids.input_ids)

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
    optimizer = torch.optim.AdamW(weights, lr=run.learning_rate, betas=BETAS, weight_decay=0.0)
    state = _resume(learner, optimizer, out, fingerprint=[len(batches), seed, sum(lengths)])
    learner.model.train()
    for number in range(state.done, len(batches)):
        started = time.monotonic()
        batch = [examples[i] for i in batches[number]]
        for group in optimizer.param_groups:
            group["lr"] = run.learning_rate * schedule(number, len(batches), run.warmup)
        loss = _step(learner, optimizer, weights, batch, run.clip)
        state.record(number, loss, sum(len(e.ids) for e in batch), time.monotonic() - started)
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
        learner.model.save_pretrained(out / "adapter")
    parallel.wait(learner.here)
    return state.figures(len(batches))


def schedule(step: int, total: int, warmup: float) -> float:
    """Return the share of the learning rate at `step`: linear warm-up, then half a cosine."""
    ramp = max(1, round(total * warmup))
    if step < ramp:
        return (step + 1) / ramp
    return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, total - ramp)))


def target_loss(
    model: Any, batch: list[Encoded], device: torch.device, tokens: int = 0
) -> torch.Tensor:
    """Return the mean loss over the target tokens of `batch`.

    Of a part of a batch, with the whole batch's target `tokens`: what the part adds to the mean.
    """
    width = max(len(e.ids) for e in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORED)
    for row, example in enumerate(batch):
        length, start = len(example.ids), example.prompt_length
        ids[row, :length] = torch.tensor(example.ids)
        labels[row, start:length] = ids[row, start:length]
    ids, labels = ids.to(device), labels.to(device)
    causal = model.get_base_model()
    # pads stand behind every real token, so causal attention needs no mask for them
    hidden = causal.model(input_ids=ids, use_cache=False).last_hidden_state
    wanted = labels[:, 1:] != IGNORED
    logits = causal.lm_head(hidden[:, :-1][wanted])
    if not tokens:
        return F.cross_entropy(logits.float(), labels[:, 1:][wanted])
    return F.cross_entropy(logits.float(), labels[:, 1:][wanted], reduction="sum") / tokens


def _step(learner: Learner, optimizer: Any, weights: list[Any], batch: list[Encoded],
          clip: float) -> float:  # fmt: skip
    loss = _share_of_loss(learner, batch)
    if loss.requires_grad:
        loss.backward()
    value = float(parallel.add_up(weights, loss.detach(), learner.here))
    if not math.isfinite(value):
        raise TrainError(
            f"the loss is {value}: training has diverged; the last checkpoint is kept",
            hint="lower learning_rate in the recipe and start again in a fresh --out folder",
        )
    torch.nn.utils.clip_grad_norm_(weights, clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return value


def _share_of_loss(learner: Learner, batch: list[Encoded]) -> torch.Tensor:
    """Return the loss of this process's examples of `batch`, a share of the batch's mean."""
    here = learner.here
    if here.world == 1:
        return target_loss(learner.model, batch, learner.device)
    mine = batch[here.rank :: here.world]
    if not mine:
        return torch.zeros((), device=learner.device)
    tokens = sum(len(e.ids) - e.prompt_length for e in batch)
    return target_loss(learner.model, mine, learner.device, tokens)


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
        "adapter": get_peft_model_state_dict(learner.model),
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
