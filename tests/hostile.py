"""Hostile adapters and bases: real ones, mutated, and what the converter may do with them.

It may convert or raise a LoridError; it may not crash, hang, take much memory or write anywhere
but to its outfile. `tests/fuzz_convert.py` runs as many cases as one likes.
"""

import json
import math
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import gguf
import numpy as np

from lorid_convert import exporting, inspecting, pipeline
from lorid_local.errors import LoridError

LIMIT = 5.0  # seconds of this thread's CPU time (others of the process are not the case's)
MOST = 32 << 20  # bytes that a case of a few kilobytes may take, where tracemalloc is on
NUMBERS = (0, 1, 2, 7, 2**15, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 4, 2**63, 10**30, 0.5, -0.0, 1e308, 1e-320, math.nan, math.inf, "",
    "../../x", "/etc/passwd", "\x00", "\x1b[31m", "a" * 5000, "(", "(a+)+", "[[a]]", ".*.*.*",
    "lora", "LORA", "q_proj", "all-linear", [], [[]], [1, 2], ["q_proj"], {}, {"a": 1},
    {"q_proj": 2}, {".*": 3}, {"(?i)q": 1}, {"(x+x+)+y": 1}, {"\\": 1}, {"(?P<a>q)": 4}, "\ud800",
    "BF16", "F16", "F64",
    [4, 64], [64, 4], [2**40, 2**40], [0, 2**63], [0, 1024],
)  # fmt: skip
Q, K, UP = "self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj"
SHAPES = {Q: (16, 16), K: (8, 16), UP: (24, 16)}
GGUF_NAMES = {Q: "attn_q", K: "attn_k", UP: "ffn_up"}


class Prey:
    """A small base, a PEFT folder and a GGUF adapter, and a folder to attack them in."""

    def __init__(self, home: Path) -> None:
        self.home = home / "prey"
        self.peft = self.home / "peft"
        self.peft.mkdir(parents=True)
        self.base, self.adapter = self.home / "base.gguf", self.home / "adapter.gguf"
        self.config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": True,
                       "rank_pattern": {"k_proj": 4}, "alpha_pattern": {".*up_proj": 3},
                       "target_modules": ["q_proj"], "bias": "none"}  # fmt: skip
        self.table, self.numbers = _safetensors()
        self.clean()
        _write_base(self.base)
        pipeline.convert(self.peft, self.base, self.adapter, "f16")
        self.good = {path: path.read_bytes() for path in (self.base, self.adapter)}
        self.out = self.home / "out.gguf"

    def clean(self) -> None:
        """Make the PEFT folder whole again."""
        for path in self.peft.iterdir():
            path.unlink()
        (self.peft / "adapter_config.json").write_text(json.dumps(self.config))
        self.weights.write_bytes(_framed(self.table) + self.numbers)

    @property
    def weights(self) -> Path:
        return self.peft / "adapter_model.safetensors"

    def attack(self, random: Random) -> str:
        """Run one case; return what came of it. Raises whatever must not be raised."""
        before = self._files()
        try:
            case = random.choice(CASES)
            case(self, random)
            outtype, base = random.choice(pipeline.OUTTYPES), random.choice((None, self.base))
            outcome = self._limited(outtype, base)
        finally:  # Hypothesis too ends a case at any draw
            self.out.unlink(missing_ok=True)
            for path, data in self.good.items():
                path.write_bytes(data)
            self.clean()
        assert self._files() == before, "wrote beside its outfile"
        return f"{case.__name__}: {outcome}"

    def _limited(self, outtype: str, base: Path | None) -> str:
        # nothing is drawn in here: at its first integer of a kind, Hypothesis reads the source of
        # every module that it takes for the project's: seconds and megabytes that are its own
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        started = time.thread_time()
        try:
            outcome = self._run(outtype, base)
        except LoridError as error:
            outcome = type(error).__name__
            assert error.message
        assert time.thread_time() - started < LIMIT, "took too long"
        assert tracemalloc.get_traced_memory()[1] - held < MOST, "took too much memory"
        return outcome

    def _run(self, outtype: str, base: Path | None) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if self.adapter.read_bytes() != self.good[self.adapter]:
                inspecting.inspect(self.adapter, base)
                exported = exporting.export(self.adapter, self.base, self.home / "back")
                for path in exported.folder.iterdir():
                    path.unlink()
                exported.folder.rmdir()
                return "exported"
            made = pipeline.convert(self.peft, self.base, self.out, outtype)
            assert made.outfile == self.out and self.out.is_file()
            return "converted"

    def _files(self) -> set[Path]:
        return {*self.home.parent.rglob("*")}


def _safetensors() -> tuple[dict[str, Any], bytes]:
    random = np.random.default_rng(0)
    table, data = {}, b""
    for module, (out, width) in SHAPES.items():
        for side, shape in (("A", (4, width)), ("B", (out, 4))):
            raw = random.standard_normal(shape, np.float32).tobytes()
            name = f"base_model.model.model.layers.0.{module}.lora_{side}.weight"
            offsets = [len(data), len(data) + len(raw)]
            table[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": offsets}
            data += raw
    return table, data


def _framed(table: Any) -> bytes:
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text


def _write_base(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_tensor("token_embd.weight", np.ones((8, 16), np.float32))
    for module, shape in SHAPES.items():
        writer.add_tensor(f"blk.0.{GGUF_NAMES[module]}.weight", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# --- mutations


def mutated(random: Random, data: bytes) -> bytes:
    """Return `data` with a few bytes changed, moved, lost or replaced by large numbers."""
    raw = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(raw) + 1)
        size = random.choice((1, 1, 2, 4, 8, 64))
        change = random.randrange(6)
        if change == 0:
            raw[at : at + 1] = bytes([random.randrange(256)])
        elif change == 1:
            raw[at : at + 8] = random.choice(NUMBERS).to_bytes(8, "little")
        elif change == 2:
            del raw[at : at + size]
        elif change == 3:
            raw[at:at] = raw[at : at + size]
        elif change == 4:
            raw[at : at + size] = random.randbytes(size)
        else:
            del raw[at:]
    return bytes(raw)


def altered(random: Random, value: Any) -> Any:
    """Return a copy of parsed JSON with one part of it replaced, removed or renamed."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.15:
        return random.choice(ODD)
    copy: Any = value.copy()
    key = random.choice([*copy] if isinstance(copy, dict) else range(len(copy)))
    change = random.randrange(8)
    if change == 0:
        del copy[key]
    elif change == 1 and isinstance(copy, dict):
        copy[str(random.choice(ODD))] = copy.pop(key)
    elif change == 2 and isinstance(copy, dict):
        copy[random.choice(("use_dora", "modules_to_save", "new", *copy))] = random.choice(ODD)
    else:
        copy[key] = altered(random, copy[key])
    return copy


def _several(random: Random, value: Any) -> Any:
    for _ in range(random.randint(1, 3)):
        value = altered(random, value)
    return value


def odd_config(prey: Prey, random: Random) -> None:
    text = json.dumps(_several(random, prey.config))
    (prey.peft / "adapter_config.json").write_text(text)


def damaged_config(prey: Prey, random: Random) -> None:
    path = prey.peft / "adapter_config.json"
    path.write_bytes(mutated(random, path.read_bytes()))


def odd_weights(prey: Prey, random: Random) -> None:
    prey.weights.write_bytes(_framed(_several(random, prey.table)) + prey.numbers)


def damaged_weights(prey: Prey, random: Random) -> None:
    head = len(_framed(prey.table))
    data = prey.weights.read_bytes()
    cut = random.choice((head, len(data)))  # the header for the most part, NaNs at times
    prey.weights.write_bytes(mutated(random, data[:cut]) + data[cut:])


def odd_index(prey: Prey, random: Random) -> None:
    shard = "adapter_model-1.safetensors"
    prey.weights.rename(prey.peft / shard)
    index = {"weight_map": dict.fromkeys(prey.table, shard), "metadata": {"total_size": 1}}
    text = json.dumps(_several(random, index))
    (prey.peft / "adapter_model.safetensors.index.json").write_text(text)


def damaged_base(prey: Prey, random: Random) -> None:
    prey.base.write_bytes(mutated(random, prey.good[prey.base]))


def damaged_adapter(prey: Prey, random: Random) -> None:
    prey.adapter.write_bytes(mutated(random, prey.good[prey.adapter]))


def linked_files(prey: Prey, random: Random) -> None:
    """Files that are links: to nothing, to themselves, to a device, to a folder."""
    path = random.choice((prey.weights, prey.peft / "adapter_config.json"))
    path.unlink()
    path.symlink_to(random.choice(("nothing", path.name, "/dev/zero", "/proc/self/mem", ".")))


CASES: tuple[Callable[[Prey, Random], None], ...] = (
    odd_config, odd_config, damaged_config, odd_weights, odd_weights, damaged_weights, odd_index,
    damaged_base, damaged_base, damaged_adapter, damaged_adapter, linked_files,
)  # fmt: skip


def outcomes(prey: Prey, seed: int, count: int) -> Iterator[str]:
    """Run `count` cases, their seeds from `seed` on; yield what came of each."""
    for number in range(seed, seed + count):
        yield prey.attack(Random(number))
