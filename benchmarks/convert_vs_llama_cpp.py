"""`lorid convert` against llama.cpp's convert_lora_to_gguf.py: time, memory and tensors.

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36   # and unpack it
    python -m benchmarks.convert_vs_llama_cpp --llama-cpp llama_cpp_python-0.3.36/vendor/llama.cpp

An adapter of Mistral-7B's shapes, rank 64 on q_proj and v_proj, of random numbers (109 MB as
float32), to f16. Whole processes in interleaved pairs, wall time and peak memory as the kernel
accounts them, and beside them a plain copy of the adapter's bytes that is synced to the disk as
ours is. Then the tensors of both outputs are compared. llama.cpp's script needs torch,
transformers and the base's Hugging Face config; ours the base's GGUF, here a file of holes with
the right header. Neither reads the base's weights. Run it on an idle machine.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.pairs import Cost
from benchmarks.solve_vs_stock import LORID, measure

LAYERS, HIDDEN, KV, FFN, VOCAB, RANK = 32, 4096, 1024, 14336, 32000, 64
ADAPTED = {"q_proj": HIDDEN, "v_proj": KV}
ITSELF = [sys.executable, "-m", "benchmarks.convert_vs_llama_cpp"]
COPY = (
    "import os, shutil, sys; shutil.copyfile(*sys.argv[1:]); "
    "f = os.open(sys.argv[2], os.O_RDONLY); os.fsync(f)"
)


def write_base(path: Path) -> None:
    """Write a GGUF file with Mistral-7B's header; its weights are a hole."""
    import gguf
    import numpy as np

    shapes = {"token_embd": (VOCAB, HIDDEN), "output": (VOCAB, HIDDEN), "output_norm": (HIDDEN,)}
    block = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (KV, HIDDEN), "attn_v": (KV, HIDDEN),
             "attn_output": (HIDDEN, HIDDEN), "ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN),
             "ffn_down": (HIDDEN, FFN), "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}  # fmt: skip
    shapes |= {f"blk.{i}.{name}": shape for i in range(LAYERS) for name, shape in block.items()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_head_count(HIDDEN // 128)
    writer.add_head_count_kv(KV // 128)
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        writer.add_tensor_info(f"{name}.weight", shape, np.dtype(np.float16), size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size + sum(2 * int(np.prod(s)) + 64 for s in shapes.values()))


def write_config(folder: Path) -> None:
    """Write the config.json that llama.cpp's script reads in place of the base."""
    folder.mkdir()
    config = {"architectures": ["MistralForCausalLM"], "model_type": "mistral",
              "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
              "num_attention_heads": HIDDEN // 128, "num_key_value_heads": KV // 128,
              "vocab_size": VOCAB, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "max_position_embeddings": 32768}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def write_adapter(folder: Path) -> None:
    """Write the PEFT folder."""
    import numpy as np
    from safetensors.numpy import save_file

    random, tensors = np.random.default_rng(0), {}
    for layer in range(LAYERS):
        for name, out in ADAPTED.items():
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_"
            tensors[f"{prefix}A.weight"] = random.standard_normal((RANK, HIDDEN), np.float32)
            tensors[f"{prefix}B.weight"] = random.standard_normal((out, RANK), np.float32)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "bias": "none",
              "target_modules": [*ADAPTED]}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))


def differences(ours: Path, theirs: Path) -> list[str]:
    """Return how two GGUF adapters differ in alpha, names, types and numbers."""
    import gguf
    import numpy as np

    one, two = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    told = []
    alphas = [float(r.fields["adapter.lora.alpha"].contents()) for r in (one, two)]
    if alphas[0] != alphas[1]:
        told.append(f"alpha {alphas[0]} and {alphas[1]}")
    tensors = [{t.name: t for t in reader.tensors} for reader in (one, two)]
    if tensors[0].keys() != tensors[1].keys():
        told.append(f"names: {sorted(tensors[0].keys() ^ tensors[1].keys())[:4]}")
    for name in tensors[0].keys() & tensors[1].keys():
        a, b = tensors[0][name], tensors[1][name]
        if a.tensor_type != b.tensor_type or not np.array_equal(a.data, b.data):
            told.append(f"{name}: {a.tensor_type.name} {a.shape}, {b.tensor_type.name} {b.shape}")
    return told


@click.command()
@click.option("--llama-cpp", type=click.Path(exists=True, path_type=Path), required=True,
              help="The folder that holds convert_lora_to_gguf.py.")  # fmt: skip
@click.option("--pairs", default=7, show_default=True)
@click.option("--prepare", type=click.Path(path_type=Path), hidden=True)
def main(llama_cpp: Path, pairs: int, prepare: Path | None) -> None:
    """Print medians, ratios pair by pair, and how the outputs differ."""
    if prepare:
        write_base(prepare / "base.gguf")
        write_config(prepare / "config")
        write_adapter(prepare / "adapter")
        return
    with tempfile.TemporaryDirectory() as home:
        # in a process of its own: on Linux a child's peak begins with what its parent holds
        measure([*ITSELF, "--llama-cpp", str(llama_cpp), "--prepare", home])
        folder = Path(home)
        base, ours, theirs = folder / "base.gguf", folder / "ours.gguf", folder / "theirs.gguf"
        weights = folder / "adapter" / "adapter_model.safetensors"
        adapter, script = str(folder / "adapter"), str(llama_cpp / "convert_lora_to_gguf.py")
        commands = {
            "lorid": [*LORID, "convert", adapter, "--base", str(base), "--outfile", str(ours),
                      "--outtype", "f16"],
            "lorid, unverified": [*LORID, "convert", adapter, "--base", str(base), "--outfile",
                                  str(ours), "--outtype", "f16", "--verify=off"],
            "llama.cpp": [sys.executable, script, adapter, "--base", str(folder / "config"),
                          "--outfile", str(theirs), "--outtype", "f16"],
            "copy": [sys.executable, "-c", COPY, str(weights), str(folder / "copy")],
        }  # fmt: skip
        for command in commands.values():  # all that is read is in the page cache afterwards
            measure(command)
        turns = [{name: measure(c)[0] for name, c in commands.items()} for _ in range(pairs)]
        _report(turns)
        print("the outputs differ in:", differences(ours, theirs) or "nothing")


def _report(turns: list[dict[str, Cost]]) -> None:
    for figure in ("wall", "cpu", "peak"):
        unit = "MiB" if figure == "peak" else "s"
        for name in turns[0]:
            mine = [getattr(turn[name], figure) for turn in turns]
            line = f"{figure} {name}: {statistics.median(mine):.2f} {unit} (median of {len(mine)})"
            for other in ("llama.cpp", "copy"):
                pairs = zip(mine, (getattr(turn[other], figure) for turn in turns), strict=True)
                line += f", {statistics.median(x / y for x, y in pairs):.2f} of {other}"
            print(line)


if __name__ == "__main__":
    main()
