"""Does this adapter belong on this base? Answered from the two headers, before llama.cpp.

llama.cpp itself checks architecture, names and shapes, but says which only in its log.
"""

from lorid_local.errors import ModelError
from lorid_local.gguf_header import Header

CONVERT_HINT = "lorid convert PEFT_DIR --base BASE.gguf --outfile ADAPTER.gguf"
TOKENS, HEAD = "token_embd.weight", "output.weight"
Shape = tuple[int, ...]
SHOWN = 5  # mismatches listed in one message


def check_base(base: Header) -> None:
    """Raise ModelError unless `base` is a whole model."""
    kind = base.metadata.get("general.type", "model")
    if kind != "model":
        raise ModelError(
            f"{base.path}: a GGUF file of type {kind!r}, not a model",
            hint="give the base model's .gguf (-m or --base), and adapters through a bundle",
        )
    if not base.architecture:
        raise ModelError(
            f"{base.path}: names no architecture (general.architecture is missing)",
            hint="fetch the file again, or give another .gguf",
        )
    if "token_embd.weight" not in base.tensors:
        raise ModelError(
            f"{base.path}: holds no token embeddings, so it is not a language model",
            hint="give the .gguf of a language model",
        )


def check_adapter(adapter: Header, base: Header) -> None:
    """Raise ModelError, naming every fault, unless `adapter` is a LoRA for `base`."""
    kind = (adapter.metadata.get("general.type"), adapter.metadata.get("adapter.type"))
    if kind != ("adapter", "lora"):
        raise ModelError(f"{adapter.path}: not a GGUF LoRA adapter", hint=CONVERT_HINT)
    if adapter.architecture != base.architecture:
        raise ModelError(
            f"{adapter.path}: made for a {adapter.architecture!r} base, "
            f"but {base.path} is {base.architecture!r}",
            hint=CONVERT_HINT,
        )
    faults = _faults(adapter, base)
    if faults:
        more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise ModelError(
            f"{adapter.path}: made for another base than {base.path}: "
            + "; ".join(faults[:SHOWN])
            + more,
            hint=CONVERT_HINT,
        )


def _faults(adapter: Header, base: Header) -> list[str]:
    halves = [name for name in adapter.tensors if name.endswith((".lora_a", ".lora_b"))]
    names = {name.rpartition(".lora_")[0] for name in halves}
    faults = [f"tensor {n} is no LoRA pair" for n in adapter.tensors if n not in halves]
    if not names:
        faults.append("it holds no tensors")
    for name in sorted(names):
        a, b = (adapter.tensors.get(f"{name}.lora_{side}") for side in "ab")
        if a is None or b is None:
            faults.append(f"{name} lacks its lora_{'a' if a is None else 'b'}")
        elif name not in base.tensors:
            faults.append(f"the base has no tensor {name}")
        elif fault := _misfit(name, a.shape, b.shape, base):
            faults.append(fault)
    return faults


def _misfit(name: str, a: Shape, b: Shape, base: Header) -> str:
    """Return what keeps A and B from the base's tensor `name`, or ''.

    Experts share a tensor, a matrix each. The token embeddings' A is turned, and where they are
    the head as well llama.cpp would end the process (llama-graph.cpp, build_inp_embd).
    """
    shape = base.tensors[name].shape
    if len(a) not in (2, 3) or a[:-2] != b[:-2] or len(a) != len(b):
        return f"the LoRA pair of {name} is not two matrices"
    if name == TOKENS:
        if HEAD not in base.tensors:
            return f"{name} is the base's head as well, where llama.cpp can apply no adapter"
        a, shape = (*a[:-2], a[-1], a[-2]), tuple(reversed(shape))
    if a[-2] != b[-1]:
        return f"{name} has rank {a[-2]} in its lora_a and {b[-1]} in its lora_b"
    found = (*b[:-1], a[-1])
    if found in (shape, (1, *shape)[-2:]):  # a vector is a matrix of one row
        return ""
    return f"{name} is {_times(found)} here and {_times(shape)} in the base"


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))
