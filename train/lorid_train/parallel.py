"""More than one process on one run, as `accelerate launch` or torchrun starts them.

The examples of each batch are shared out and the gradients added up: so many processes make a run
faster, and leave its batches, steps and (but for rounding) its loss curve as they are.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Place:
    """This process among `world`; the first one writes what there is to write."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """True for the process that writes and tells."""
        return self.rank == 0


def place() -> Place:
    """Return where this process stands, by the variables that launchers set."""
    rank, world, local = (int(os.environ.get(n, d)) for n, d in
                          (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")))  # fmt: skip
    return Place(rank, world, local)


def device(here: Place) -> torch.device:
    """Return the device of this process, and join the others."""
    if torch.cuda.is_available():
        found = torch.device("cuda", here.local_rank)
        torch.cuda.set_device(found)
    else:
        found = torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if here.world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return found


def add_up(weights: list[Any], loss: torch.Tensor, here: Place) -> torch.Tensor:
    """Replace each gradient, and return the loss, by the sums over all processes."""
    if here.world == 1:
        return loss
    parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    flat = torch.cat([*(part.flatten().float() for part in parts), loss.reshape(1).float()])
    dist.all_reduce(flat)
    at = 0
    for weight, part in zip(weights, parts, strict=True):
        weight.grad = flat[at : at + part.numel()].view_as(part).to(part.dtype)
        at += part.numel()
    return flat[-1]


def any_of(flag: bool, here: Place) -> bool:
    """Return whether `flag` is True in any process, so that all do the same."""
    if here.world == 1:
        return flag
    told = torch.tensor([float(flag)], device=device(here))
    dist.all_reduce(told)
    return bool(told[0] > 0)


def wait(here: Place) -> None:
    """Wait until all processes are here."""
    if here.world > 1:
        dist.barrier()
