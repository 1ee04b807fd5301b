"""llama.cpp's model and context as Python objects. The only importer of llama_cpp.

Every failure of a native call becomes a LoridError here. Knows no roles and no requests.
"""

import ctypes
import os
import re
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import llama_cpp
import numpy as np

from lorid_local.chat_template import Template
from lorid_local.errors import EngineError, ModelError
from lorid_local.kv_cache import Layout
from lorid_local.thoughts import TAGS

KEPT_LOG_LINES = 200
KvType = Literal["f16", "q8_0"]
KV_TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0}
DEBUG_LEVEL, ERROR_LEVEL = 1, 4  # GGML_LOG_LEVEL_DEBUG, _ERROR
TAGS_OF_THOUGHTS = {*TAGS, *TAGS.values()}
MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ of llama.cpp
ALL_LAYERS = -1
BUFFER = re.compile(r"(\S+) +(model|LoRA|output|KV|compute) buffer size = +([\d.]+) MiB")


class _Log:
    """Takes llama.cpp's log away from stderr; keeps its tail for error messages."""

    def __init__(self) -> None:
        self.verbose = False
        self.last_error = ""
        self.lines: deque[str] = deque(maxlen=KEPT_LOG_LINES)
        self.callback = llama_cpp.llama_log_callback(self._receive)  # kept alive by this object
        llama_cpp.llama_log_set(self.callback, ctypes.c_void_p(0))

    def _receive(self, level: int, text: bytes, _: Any) -> None:
        line = text.decode("utf-8", errors="replace")
        if level != DEBUG_LEVEL:  # a line a layer would push out what matters
            self.lines.append(line)
        if level == ERROR_LEVEL:
            self.last_error = line.strip()
        if self.verbose:
            sys.stderr.write(line)

    def reason(self) -> str:
        """Return the last line that tells of an error, for a message; it is told once."""
        lines = [line.strip() for line in self.lines]
        self.lines.clear()
        # "failed to load model" comes last and says less than the "error" before it
        told = [line for line in lines if "error" in line]
        told = told or [line for line in lines if "failed" in line]
        other, self.last_error = self.last_error, ""
        return told[-1] if told else other or "llama.cpp gave no reason"

    def buffers(self) -> dict[str, dict[str, float]]:
        """Return the MiB of each buffer that the kept lines tell of, by kind and device.

        Kinds are model, LoRA, output, KV and compute; devices are llama.cpp's, such as
        CPU_Mapped (the file itself), CPU, CPU_REPACK (a copy in another layout) and CUDA0.
        """
        found: dict[str, dict[str, float]] = {}
        for device, kind, size in BUFFER.findall("".join(self.lines)):
            sizes = found.setdefault(kind, {})
            sizes[device] = sizes.get(device, 0.0) + float(size)
        return found


LOG = _Log()


class Build(NamedTuple):
    """The llama.cpp that is loaded: its version, what it tells of its features, its folder, and
    whether it can lay layers on a GPU and finds one."""

    version: str
    told: bytes
    folder: Path
    gpu: bool


def build() -> Build:
    """Return what this build of llama.cpp is."""
    llama_cpp.llama_backend_init()
    version = getattr(llama_cpp, "llama_version", None)  # not in every fork
    return Build(
        version().decode() if version else "of unknown version",
        llama_cpp.llama_print_system_info(),
        Path(llama_cpp.llama_cpp._base_path),
        bool(llama_cpp.llama_supports_gpu_offload()),
    )


def libraries() -> list[Path]:
    """Return the files of this build of llama.cpp: the shared libraries in its folder."""
    found = build().folder.iterdir()
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def built_with_amx(told: bytes) -> bool:
    """True if a build that tells this of itself lays weights out for Intel's AMX.

    GCC before 13 drops the tile configuration as a dead store, and the first product is a
    segmentation fault (ggml-org/llama.cpp issue 20824, pull request 26954). Which compiler made
    the build cannot be asked, so those layouts, the only way into that code, are not used at all.
    """
    return b"AMX_INT8 = 1" in told


State = np.ndarray[Any, np.dtype[np.uint8]]  # a sequence's keys and values, as llama.cpp packs them


class Slot(NamedTuple):
    """A token to decode at a position of a sequence; `wanted` asks for its logits."""

    token: int
    position: int
    sequence: int
    wanted: bool


class Model:
    """A base model's weights and vocabulary, and the adapters loaded onto it."""

    def __init__(self, path: Path, gpu_layers: int | None) -> None:
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        if gpu_layers is None:
            gpu_layers = ALL_LAYERS if llama_cpp.llama_supports_gpu_offload() else 0
        params.n_gpu_layers = gpu_layers
        params.use_extra_bufts = not built_with_amx(llama_cpp.llama_print_system_info())
        LOG.lines.clear()
        self.handle = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise ModelError(
                f"{path}: llama.cpp cannot load this model ({LOG.reason()})",
                hint="run again with -v to see llama.cpp's own log",
            )
        self.buffers: dict[str, float] = LOG.buffers().get("model", {})  # MiB by device
        self.name = str(path)
        self.vocab = llama_cpp.llama_model_get_vocab(self.handle)
        self.vocab_size: int = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.context_length: int = llama_cpp.llama_model_n_ctx_train(self.handle)
        self.bos: int | None = (
            llama_cpp.llama_vocab_bos(self.vocab)
            if llama_cpp.llama_vocab_get_add_bos(self.vocab)
            else None
        )
        self._pieces: dict[int, bytes] = {}

    def chat_template(self) -> Template | None:
        """Return the chat template in the model's file, with the texts it may name."""
        text = llama_cpp.llama_model_chat_template(self.handle, None)
        if not text:
            return None
        bos, eos = (self._text(end(self.vocab)) for end in (llama_cpp.llama_vocab_bos,
                                                           llama_cpp.llama_vocab_eos))  # fmt: skip
        return Template(text.decode("utf-8", "replace"), bos, eos, self.bos is not None, self.name)

    def _text(self, token: int) -> str:
        if token < 0:  # LLAMA_TOKEN_NULL: the vocabulary has none
            return ""
        text: bytes = llama_cpp.llama_vocab_get_text(self.vocab, token)
        return text.decode("utf-8", "replace")

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Return the tokens of `text`, without BOS; special tokens are read only if `special`."""
        data = text.encode("utf-8", errors="replace")
        room = len(data) + 8
        tokens = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), tokens, room, False, special)
        if count < 0:
            raise EngineError(f"llama.cpp could not tokenize {len(data)} bytes of text")
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """Return the bytes that `token` stands for; b'' for a control token.

        Tags of thoughts are control tokens in some models (Magistral); they are given as text.
        """
        if token not in self._pieces:
            buffer = ctypes.create_string_buffer(256)
            size = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, False)
            if size == 0 and (tag := self._text(token)) in TAGS_OF_THOUGHTS:
                self._pieces[token] = tag.encode()
            else:
                self._pieces[token] = buffer.raw[: max(0, size)]
        return self._pieces[token]

    def continuation(self, before: str, text: str) -> list[int]:
        """Return the tokens of `text` where it follows the tokens of `before`."""
        head, whole = self.tokenize(before, False), self.tokenize(before + text, False)
        if whole[: len(head)] == head:
            return whole[len(head) :]
        return self.tokenize(text, False)  # a token such as '=-' would stand across the seam

    def ends(self, token: int) -> bool:
        """True for a token with which the model ends its turn."""
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def load_adapter(self, path: Path) -> Any:
        """Load a GGUF LoRA; it lives as long as the model."""
        adapter = llama_cpp.llama_adapter_lora_init(self.handle, os.fsencode(path))
        if not adapter:
            raise ModelError(
                f"{path}: llama.cpp refused this adapter ({LOG.reason()})",
                hint="run again with -v to see llama.cpp's own log",
            )
        return adapter

    def close(self) -> None:
        """Free the weights and all adapters; contexts must be closed before."""
        if self.handle:
            llama_cpp.llama_model_free(self.handle)
            self.handle = None


class Context:
    """A KV cache and its compute. `batch` tokens are computed at once, at most."""

    def __init__(
        self,
        model: Model,
        layout: Layout,
        *,
        threads: int,
        batch: int,
        kv_type: KvType = "f16",
    ) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_seq_max = layout.total, layout.sequences
        params.n_batch = params.n_ubatch = batch
        params.n_outputs_max = layout.sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = not layout.streams
        params.no_perf = True
        params.type_k = params.type_v = KV_TYPES[kv_type]
        self.model, self.layout, self.batch = model, layout, batch
        self.handle = llama_cpp.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise EngineError(
                f"llama.cpp could not make a context of {layout.total} tokens ({LOG.reason()})",
                hint="lower -c/--ctx-size or -n/--n-predict, or free some memory",
            )
        self.memory = llama_cpp.llama_get_memory(self.handle)
        self._room = llama_cpp.llama_batch_init(batch, 0, 1)
        self._to_copy: set[int] = set()  # streams that the next decode copies another's into

    def set_adapter(self, adapter: Any, scale: float = 1.0) -> None:
        """Apply one adapter, or none if it is None."""
        count = 0 if adapter is None else 1
        adapters = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
        scales = (ctypes.c_float * 1)(scale)
        if llama_cpp.llama_set_adapters_lora(self.handle, adapters, count, scales):
            raise EngineError("llama.cpp could not apply the adapter to the context")

    def decode(self, slots: Sequence[Slot]) -> None:
        """Compute at most `batch` tokens; raises EngineError with llama.cpp's code."""
        room = self._room
        room.n_tokens = len(slots)
        for i, slot in enumerate(slots):
            room.token[i], room.pos[i] = slot.token, slot.position
            room.n_seq_id[i], room.seq_id[i][0] = 1, slot.sequence
            room.logits[i] = slot.wanted
        code = llama_cpp.llama_decode(self.handle, room)
        self._to_copy.clear()
        if code == 1:
            raise EngineError(
                f"the context of {self.layout.cells} tokens is full",
                hint="raise -c/--ctx-size or lower -n/--n-predict",
            )
        if code:
            raise EngineError(f"llama.cpp failed to decode (code {code}: {LOG.reason()})")

    def logits(self, index: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
        """Return the logits of the last batch's token `index`; shape (vocabulary,).

        They are llama.cpp's own memory: copy what must outlive the next decode.
        """
        pointer = llama_cpp.llama_get_logits_ith(self.handle, index)
        if not pointer:
            raise EngineError(f"llama.cpp has no logits of token {index} of the batch")
        return np.ctypeslib.as_array(pointer, (self.model.vocab_size,))

    def share(self, source: int, target: int) -> None:
        """Let sequence `target` begin with what `source` holds: the same cells, or a copy of them
        in a stream of its own (whose whole memory is copied, before the next decode)."""
        llama_cpp.llama_memory_seq_cp(self.memory, source, target, -1, -1)
        if self.layout.streams:
            self._to_copy.add(target)

    def move(self, source: int, target: int) -> None:
        """Let sequence `target` hold what `source` held."""
        self.share(source, target)
        self.forget(source)

    def forget(self, sequence: int, start: int = 0) -> None:
        """Drop the tokens of `sequence` from position `start` on."""
        llama_cpp.llama_memory_seq_rm(self.memory, sequence, start, -1)

    def state(self, sequence: int) -> State:
        """Return a copy of the keys and values of `sequence`, for `restore` of this context."""
        size = llama_cpp.llama_state_seq_get_size(self.handle, sequence)
        state = np.empty(size, np.uint8)
        llama_cpp.llama_state_seq_get_data(self.handle, _bytes(state), size, sequence)
        return state

    def restore(self, sequence: int, state: State) -> bool:
        """Let `sequence` hold what `state` holds, and nothing else; False, and nothing at all, if
        there is no room, if the state holds a window of its tokens only, or if llama.cpp still has
        to copy what was shared with it."""
        if sequence in self._to_copy:
            return False
        self.forget(sequence)
        got = llama_cpp.llama_state_seq_set_data(self.handle, _bytes(state), state.nbytes, sequence)
        if got and not llama_cpp.llama_memory_seq_pos_min(self.memory, sequence):
            return True
        self.forget(sequence)
        return False

    def clear(self) -> None:
        """Drop everything."""
        llama_cpp.llama_memory_clear(self.memory, True)

    def close(self) -> None:
        """Free the cache and the compute buffers."""
        if self.handle:
            llama_cpp.llama_batch_free(self._room)
            llama_cpp.llama_free(self.handle)
            self.handle = None


def _bytes(state: State) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def quantize(source: Path, target: Path, ftype_name: str, threads: int) -> None:
    """Write the model `source` to `target` with its weights as `ftype_name`, such as 'q8_0'.

    Weights that are quantized already are quantized again from what they stand for. Raises
    ModelError with llama.cpp's reason; `target` then holds a part. Takes seconds, blocks, and
    on metadata that llama.cpp asserts about it ends the process: call it in one of its own.
    """
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{ftype_name.upper()}")
    params.allow_requantize, params.nthread = True, threads
    LOG.lines.clear()
    if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), params):
        reason = LOG.reason().rpartition("failed to quantize: ")[2]
        raise ModelError(
            f"{source}: llama.cpp cannot write this model as {ftype_name} ({reason})",
            hint="--base-type as-shipped runs it as it is",
        )
