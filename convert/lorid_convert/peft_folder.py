"""Reads a PEFT adapter folder: its config and the A and B tensors of each module.

Knows PEFT's names and shapes, not the base's and not GGUF's. Weights in a pickle
(adapter_model.bin) are not read: unpickling runs code. Who has torch gives them as safetensors.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorid_convert import peft_config, safetensors_file
from lorid_convert.peft_config import MERGE, LoraConfig
from lorid_convert.safetensors_file import Entry
from lorid_local.errors import ModelError

FILE = "adapter_model.safetensors"
INDEX = "adapter_model.safetensors.index.json"
PICKLE = "adapter_model.bin"
_LORA = re.compile(
    r"base_model\.model\.(?P<module>.{1,200})\."  # patterns are matched against it
    r"(?:lora_(?P<side>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))"
)
# PEFT saves the base's own weight with an adapter of embed_tokens or lm_head
_COPY = re.compile(r"base_model\.model\.(?P<module>.+)\.base_layer\.weight")


@dataclass(frozen=True)
class Pair:
    """A module's two tensors: A is (rank, in), B is (out, rank).

    Of an `embedding` A is (rank, tokens) and B (width, rank): what it adds to the table of
    tokens is (B·A) transposed.
    """

    module: str
    a: Entry
    b: Entry
    embedding: bool = False

    @property
    def rank(self) -> int:
        return self.a.shape[0]


@dataclass(frozen=True)
class Adapter:
    """An adapter folder whose tensors are still on disk, in `files`.

    `copies` are weights of the base, by module, that PEFT saved along.
    """

    files: tuple[Path, ...]
    config: LoraConfig
    pairs: tuple[Pair, ...]
    copies: dict[str, Entry]

    def load(self, pair: Pair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read A and B of `pair` as float32."""
        return safetensors_file.load(pair.a), safetensors_file.load(pair.b)


def read(folder: Path, problems: list[str], unpickled: Path | None = None) -> Adapter:
    """Read `folder`'s config and tensor table; what cannot be converted goes to `problems`.

    `unpickled` is what the folder's adapter_model.bin holds, as safetensors. Raises ModelError
    if the folder, its config or its weights are missing or damaged.
    """
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: no such folder", hint="give the folder that PEFT's save_pretrained() wrote"
        )
    config = peft_config.read(folder, problems)
    if config.peft_type != "LORA":
        return Adapter((), config, (), {})
    files, table = _weights(folder, unpickled)
    copies = {m["module"]: table.pop(name) for name in [*table] if (m := _COPY.fullmatch(name))}
    sides = _sides(table, problems)
    pairs = tuple(_pairs(sides, problems))
    for pair in pairs:
        _check_rank(pair, config, problems)
    if not sides:
        problems.append(f"{FILE} holds no LoRA tensors")
    return Adapter(files, config, pairs, copies)


def only_pickled(folder: Path) -> bool:
    """True if torch is needed to read the folder's weights."""
    return (folder / PICKLE).exists() and not any((folder / f).exists() for f in (FILE, INDEX))


def _weights(folder: Path, unpickled: Path | None) -> tuple[tuple[Path, ...], dict[str, Entry]]:
    """Return the files that the weights lie in and their tensors."""
    if (folder / FILE).exists():
        return (folder / FILE,), safetensors_file.read_table(folder / FILE)
    if (folder / INDEX).exists():
        table = safetensors_file.read_sharded(folder / INDEX)
        return tuple(sorted({entry.path for entry in table.values()})), table
    if unpickled and only_pickled(folder):
        return (folder / PICKLE,), safetensors_file.read_table(unpickled)
    raise _no_weights(folder)


def _no_weights(folder: Path) -> ModelError:
    hint = "give the folder that PEFT's save_pretrained() wrote"
    if only_pickled(folder):
        hint = "load the adapter with PEFT and save it again with safe_serialization=True"
    return ModelError(f"{folder}: has no {FILE}", hint=hint)


def _sides(
    table: dict[str, Entry], problems: list[str]
) -> dict[tuple[str, bool], dict[str, Entry]]:
    """Return {(module, is it an embedding): {'A': entry, 'B': entry}}."""
    sides: dict[tuple[str, bool], dict[str, Entry]] = {}
    for name, entry in table.items():
        match = _LORA.fullmatch(name)
        if not match:
            problems.append(
                f"tensor {name}: not a lora_A or lora_B weight, so it would be lost; {MERGE}"
            )
        elif entry.dtype not in safetensors_file.ITEM_SIZES:
            problems.append(f"tensor {name}: of type {entry.dtype}; save as F32, F16 or BF16")
        elif len(entry.shape) != 2 or 0 in entry.shape:
            problems.append(f"tensor {name}: of shape {entry.shape}; expected two dimensions")
        else:
            key = (match["module"], match["embedding"] is not None)
            sides.setdefault(key, {})[match["side"] or match["embedding"]] = entry
    return sides


def _pairs(sides: dict[tuple[str, bool], dict[str, Entry]], problems: list[str]) -> list[Pair]:
    pairs = []
    for (module, embedding), found in sides.items():
        for side, other in (("A", "B"), ("B", "A")):
            if side not in found:
                problems.append(f"module {module}: has lora_{other} and no usable lora_{side}")
        if len(found) == 2:
            pairs.append(Pair(module, found["A"], found["B"], embedding))
    return pairs


def _check_rank(pair: Pair, config: LoraConfig, problems: list[str]) -> None:
    rank, said = pair.rank, config.rank(pair.module)
    if pair.b.shape[1] != rank:
        problems.append(f"module {pair.module}: lora_A has rank {rank}, lora_B {pair.b.shape[1]}")
    elif said and rank != said:
        problems.append(
            f"module {pair.module}: its tensors have rank {rank}, r and rank_pattern say {said}"
        )
