"""What a GGUF LoRA file is: for which base, of which ranks and scales, and what is odd about it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gguf import GGMLQuantizationType as Kind

from lorid_convert import architectures, lora_file, notes
from lorid_convert.fingerprint import fingerprint
from lorid_local.errors import ModelError
from lorid_local.gguf_check import check_adapter
from lorid_local.gguf_header import Header, TensorInfo, read_header

LORA_KEYS = ("general.type", "adapter.type")
# metadata that is shown, with its name there
SHOWN = {
    "general.name": "name",
    "general.architecture": "architecture",
    "general.license": "licence",
    "lorid.role": "role",
    "lorid.prompt": "prompt",
    "lorid.trained_on": "trained on",
    "lorid.base_fingerprint": "base fingerprint",
    "lorid.base_sha256": "base sha256",
    "lorid.source_sha256": "source sha256",
    "lorid.version": "lorid version",
    "adapter.lora.alpha": "alpha",
}
MOST_WARNINGS = 20


@dataclass(frozen=True)
class Found:
    """A tensor pair: `scale` is what llama.cpp multiplies B·A by, `bytes` those of both."""

    tensor: str
    a: tuple[int, ...]
    b: tuple[int, ...]
    rank: int
    scale: float
    type: str
    bytes: int


@dataclass(frozen=True)
class Inspection:
    """What a file is. `facts` are names and values to show."""

    facts: dict[str, str]
    pairs: tuple[Found, ...]
    warnings: tuple[str, ...]


def inspect(path: Path, base: Path | None = None) -> Inspection:
    """Read an adapter's header and say what it is, and whether it fits `base`.

    Raises ModelError if it is no GGUF LoRA, or not one for `base`.
    """
    header = read_header(path)
    kind = [header.metadata.get(key) for key in LORA_KEYS]
    if kind != ["adapter", "lora"]:
        raise ModelError(
            f"{path}: not a GGUF LoRA adapter (general.type is {kind[0]!r}, adapter.type is "
            f"{kind[1]!r})",
            hint="lorid convert PEFT_DIR --base BASE.gguf --outfile ADAPTER.gguf",
        )
    pairs = tuple(_pairs(header))
    warnings = [*_odd(header, pairs)]
    if base:
        model = read_header(base)
        check_adapter(header, model)
        noted = header.metadata.get("lorid.base_fingerprint")
        if noted and noted != fingerprint(model):
            warnings.append(f"made for a base of another fingerprint than {base}")
    facts = {
        name: str(header.metadata[key]) for key, name in SHOWN.items() if key in header.metadata
    }
    facts["ranks"] = _counted(Counter(pair.rank for pair in pairs))
    facts["types"] = _counted(Counter(pair.type for pair in pairs))
    return Inspection(facts, pairs, tuple(warnings[:MOST_WARNINGS]))


def _pairs(header: Header) -> list[Found]:
    found = []
    for name, b in sorted(header.tensors.items()):
        tensor = name.removesuffix(".lora_b")
        a = header.tensors.get(f"{tensor}.lora_a")
        if tensor == name or a is None or not b.shape or not b.shape[-1]:
            continue
        rank = b.shape[-1]
        found.append(
            Found(tensor, a.shape, b.shape, rank, lora_file.scale(header, rank), _types(a, b),
                  a.nbytes + b.nbytes)
        )  # fmt: skip
    return found


def _types(a: TensorInfo, b: TensorInfo) -> str:
    names = [Kind(tensor.type).name.lower() for tensor in (a, b)]
    return "/".join(dict.fromkeys(names))


def _odd(header: Header, pairs: tuple[Found, ...]) -> list[str]:
    told = []
    if not lora_file.alpha(header):
        told.append("has no alpha, so llama.cpp applies it at scale 1, whatever its rank")
    paired = {f"{pair.tensor}.lora_{side}" for pair in pairs for side in "ab"}
    ignored = sorted(header.tensors.keys() - paired)
    if ignored:
        told.append(f"{len(ignored)} tensors are no LoRA pair, the first is {ignored[0]}")
    if not pairs:
        told.append("holds no LoRA pair")
    if header.architecture not in architectures.SUPPORTED:
        told.append(f"its architecture {header.architecture!r} is none that lorid converts")
    highest = max((pair.rank for pair in pairs), default=1)
    if notes.vllm_rank(highest) is None:
        told.append(f"rank {highest} is more than vLLM takes ({notes.VLLM_RANKS[-1]})")
    too_large = [pair for pair in pairs if pair.rank > min(pair.a[-1], pair.b[-2])]
    if too_large:
        told.append(
            f"{len(too_large)} pairs have a rank above that of what they adapt, the first is "
            f"{too_large[0].tensor}: a smaller rank says the same"
        )
    if "lorid.base_fingerprint" not in header.metadata:
        told.append("does not say which base it was made for")
    return told


def _counted(counts: "Counter[int] | Counter[str]") -> str:
    """Return '8, 16' or, of unequal shares, '8 (28 pairs), 16 (2 pairs)'."""
    if len(counts) == 1:
        return str(next(iter(counts)))
    return ", ".join(f"{value} ({n} pairs)" for value, n in sorted(counts.items()))
