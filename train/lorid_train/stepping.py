"""One optimizer step: examples into tensors, the loss on the targets, the update of the weights.

The logits are computed at the targets only: on a small model the head is a fifth of the work. A
step is begun and not waited for, so that the next batch is made ready while a GPU works.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lorid_train import parallel
from lorid_train.masking import Encoded
from lorid_train.parallel import Place

BETAS = (0.9, 0.99)  # a short run: the second moment must settle in tens of steps
GPU_WIDTH = 8  # tensor cores take eight numbers at a time: a batch's width is padded to that


@dataclass(frozen=True)
class Batch:
    """Examples as tensors: `ids` (rows, width), padded at the end; for every target token its id
    in `targets` (count,) and in `at` (count,) where in the flattened `ids` it is predicted.

    `total` counts the target tokens of the whole batch, of which this may be one process's part.
    """

    ids: Any
    at: Any
    targets: Any
    total: int


def collate(examples: list[Encoded], device: torch.device, total: int) -> Batch:
    """Return `examples` as tensors on `device`; `total` as in Batch."""
    multiple = GPU_WIDTH if device.type == "cuda" else 1
    lengths = [len(e.ids) for e in examples]
    width = -(-max(lengths) // multiple) * multiple
    ids = np.zeros((len(examples), width), np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
    at = np.concatenate([
        np.arange(row * width + max(1, e.prompt_length), row * width + len(e.ids))
        for row, e in enumerate(examples)
    ])  # fmt: skip
    targets = ids.reshape(-1)[at]
    tensors = {"ids": ids, "at": at - 1, "targets": targets}
    moved = {name: _moved(array, device) for name, array in tensors.items()}
    return Batch(**moved, total=total)


def _moved(array: Any, device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def shared(examples: list[Encoded], device: torch.device, here: Place) -> Batch | None:
    """Return this process's part of a batch, None if it has none."""
    mine = examples[here.rank :: here.world]
    total = sum(len(e.ids) - e.prompt_length for e in examples)
    return collate(mine, device, total) if mine else None


def target_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Return the mean loss over target tokens; of a part of a batch, what it adds to the mean."""
    causal = model.get_base_model()
    # pads stand behind every real token, so causal attention needs no mask for them
    hidden = causal.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    logits = causal.lm_head(hidden.flatten(0, 1).index_select(0, batch.at))
    return F.cross_entropy(logits.float(), batch.targets, reduction="sum") / batch.total


def optimizer(weights: Iterable[Any], learning_rate: float, device: torch.device) -> Any:
    """Return AdamW over `weights`, in one kernel where there is one."""
    return torch.optim.AdamW(weights, lr=learning_rate, betas=BETAS, weight_decay=0.0,
                             fused=device.type == "cuda")  # fmt: skip


def step(model: Any, updates: Any, weights: list[Any], batch: Batch | None, clip: float,
         here: Place) -> torch.Tensor:  # fmt: skip
    """Begin one step and return its loss, (), not waited for; not finite, it spoils the weights."""
    loss = torch.zeros((), device=weights[0].device) if batch is None else target_loss(model, batch)
    if loss.requires_grad:
        loss.backward()
    whole = parallel.add_up(weights, loss.detach(), here)
    torch.nn.utils.clip_grad_norm_(weights, clip)
    updates.step()
    updates.zero_grad(set_to_none=True)
    return whole


def steps(model: Any, updates: Any, weights: list[Any], batches: Iterable[list[Encoded]],
          clip: float, here: Place) -> Iterator[torch.Tensor]:  # fmt: skip
    """Begin a step a batch and yield its loss, the next batch made ready before that is read."""
    left, device = iter(batches), weights[0].device
    examples = next(left, None)
    ready = shared(examples, device, here) if examples else None
    while examples:
        loss = step(model, updates, weights, ready, clip, here)
        if examples := next(left, None):
            ready = shared(examples, device, here)
        yield loss


def compile_layers(model: Any, backend: str = "inductor") -> None:
    """Let torch compile the decoder's layer, once for all of them and for every batch shape."""
    base = model.get_base_model()
    base.enable_input_require_grads()  # else the first layer, which needs none, is its own case
    for layer in base.model.layers:
        layer.compile(dynamic=True, backend=backend)
