"""GGUF LoRA -> PEFT folder, the way back: for vLLM, transformers and further training.

Numbers of f32, f16 and bf16 are kept bit by bit; q8_0 becomes F32, which holds its values exactly.
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from lorid_convert import architectures, lora_file, peft_config, peft_folder, safetensors_file
from lorid_convert.architectures import TOKENS, Architecture, Place
from lorid_local.errors import ConvertError, OutputError
from lorid_local.gguf_check import check_adapter
from lorid_local.gguf_header import Header, read_header

PREFIX = "base_model.model."
STORED = {Kind.F32: ("F32", "<f4"), Kind.F16: ("F16", "<f2"), Kind.BF16: ("BF16", "<u2")}


@dataclass(frozen=True)
class Half:
    """A PEFT tensor and where it is in the GGUF file."""

    name: str
    source: str
    expert: int | None
    turned: bool
    heads: int | None
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Exported:
    """A written PEFT folder; `modules` are its adapted layers."""

    folder: Path
    modules: int
    ranks: tuple[int, ...]


def export(adapter: Path, base: Path, folder: Path) -> Exported:
    """Write `adapter`, a GGUF LoRA for `base`, as the PEFT folder `folder`.

    Raises ModelError if the adapter does not fit the base, ConvertError if PEFT has no name for
    what it adapts, OutputError if `folder` is there already or cannot be written.
    """
    if folder.exists() or not folder.parent.is_dir():
        said = "is there already" if folder.exists() else "lies in no folder"
        raise OutputError(f"{folder}: {said}", hint="give another --outdir")
    header, model = read_header(adapter), read_header(base)
    architecture = architectures.of(model)
    check_adapter(header, model)
    halves = [*_halves(header, model, architecture)]
    config = _config(header, halves)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            made = Path(temporary) / "adapter"
            made.mkdir()
            text = json.dumps(config, indent=2, sort_keys=True) + "\n"
            (made / peft_config.FILE).write_text(text, encoding="utf-8")
            rows = {half.name: (half.dtype, half.shape) for half in halves}
            data = (_numbers(header, half) for half in halves)
            safetensors_file.write(made / peft_folder.FILE, rows, data)
            shutil.move(made, folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error})",
            hint="free some space or give another --outdir",
        ) from error
    ranks = {half.shape[0] for half in halves if _side(half) == "A"}
    return Exported(folder, len(halves) // 2, tuple(sorted(ranks)))


def _halves(header: Header, base: Header, architecture: Architecture) -> Iterator[Half]:
    names = _module_names(architecture, base)
    # in the file's order, so that converting it again gives the same file
    tensors = dict.fromkeys(name.rpartition(".lora_")[0] for name in header.tensors)
    if unknown := [tensor for tensor in tensors if tensor not in names]:
        raise ConvertError(
            f"{header.path}: PEFT has no module for {', '.join(unknown[:5])}",
            hint="only what `lorid convert` makes can be turned back",
        )
    for tensor in tensors:
        for module, place in names[tensor]:
            if place.expert is not None and not _is_adapted(header, place):
                continue
            for side in "AB":
                yield _half(header, base, module, place, side)


def _module_names(
    architecture: Architecture, base: Header
) -> Mapping[str, list[tuple[str, Place]]]:
    """Return the modules by the tensor that they adapt, several where experts share one."""
    root = architecture.roots[0]
    modules = [f"{root}.embed_tokens", "lm_head"]
    layers, experts = base.get("block_count"), base.get("expert_count", 0)
    for layer in range(layers if type(layers) is int else 0):
        for part in architecture.parts:
            numbers = range(experts if type(experts) is int and "*" in part else 1)
            modules += [f"{root}.layers.{layer}.{part.replace('*', str(n))}" for n in numbers]
    names: dict[str, list[tuple[str, Place]]] = {}
    for module in modules:
        place = architecture.place(module)
        if place and place.tensor in base.tensors:
            names.setdefault(place.tensor, []).append((module, place))
    return names


def _is_adapted(header: Header, place: Place) -> bool:
    """False for an expert that had no adapter: its share of the tensor is zero."""
    return bool(lora_file.read_tensor(header, f"{place.tensor}.lora_a")[place.expert].any())


def _half(header: Header, base: Header, module: str, place: Place, side: str) -> Half:
    source = f"{place.tensor}.lora_{side.lower()}"
    info = header.tensors[source]
    dtype, _ = STORED.get(Kind(info.type), ("F32", ""))
    turned = place.tensor == TOKENS and side == "A"
    shape = info.shape[-2:]
    heads = architectures.heads(place, base) if side == "B" else None
    end = f"lora_embedding_{side}" if place.tensor == TOKENS else f"lora_{side}.weight"
    return Half(f"{PREFIX}{module}.{end}", source, place.expert, turned, heads, dtype,
                shape[::-1] if turned else shape)  # fmt: skip


def _numbers(header: Header, half: Half) -> NDArray[Any]:
    """Return a half as it is stored in safetensors."""
    numbers = _stored(header, half.source)
    if half.expert is not None:
        numbers = numbers[half.expert]
    if half.turned:
        numbers = numbers.T
    return numbers if half.heads is None else architectures.unpermute(numbers, half.heads)


def _stored(header: Header, name: str) -> NDArray[Any]:
    """Read a tensor in its own type, bit by bit, or as float32 where safetensors lacks that."""
    info = header.tensors[name]
    if Kind(info.type) not in STORED:
        return lora_file.read_tensor(header, name)
    _, dtype = STORED[Kind(info.type)]
    return lora_file.read_raw(header, name).view(dtype).reshape(info.shape)


def _config(header: Header, halves: list[Half]) -> dict[str, Any]:
    """PEFT's scale is lora_alpha / rank, as llama.cpp's; without an alpha llama.cpp's is 1."""
    ranks = {_module(half): half.shape[0] for half in halves if _side(half) == "A"}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    other = {module: r for module, r in ranks.items() if r != rank}
    alpha = lora_file.alpha(header)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": header.metadata.get("lorid.trained_on") or None,
        "inference_mode": True,
        "bias": "none",
        "lora_dropout": 0.0,
        "r": rank,
        "lora_alpha": _shortest(alpha or rank),
        "rank_pattern": other,
        "alpha_pattern": {} if alpha else other,
        # whole names: a short one would also name layers that have no adapter
        "target_modules": sorted(ranks),
    }


def _shortest(alpha: float) -> float:
    """Return an alpha without the digits that float32 does not hold, whole where it is."""
    short = float(str(np.float32(alpha)))
    return int(short) if short.is_integer() else short


def _module(half: Half) -> str:
    return half.name.removeprefix(PREFIX).partition(".lora_")[0]


def _side(half: Half) -> str:
    return "A" if half.name.endswith(("_A", "_A.weight")) else "B"
