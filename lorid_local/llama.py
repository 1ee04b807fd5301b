"""LlamaEngine: draws samples with llama.cpp, a context and an adapter a role, in one process.

Samples of one call run in one batch. A role's context keeps its last prompt, so that the
same prompt costs nothing in the next round, and prompts that begin alike share that part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorid_local.chat_template import Template
from lorid_local.cores import usable_cores
from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Part, Request, Role, never
from lorid_local.errors import ContextOverflow, EngineError, ModelError
from lorid_local.gguf_check import check_adapter, check_base
from lorid_local.gguf_header import Header, read_header
from lorid_local.kv_cache import CELL_STEP, MIB, Layout, Need, kv_bytes, need
from lorid_local.llama_native import (
    LOG,
    MAX_SEQUENCES,
    Context,
    KvType,
    Model,
    Slot,
    build,
    libraries,
)
from lorid_local.llama_run import KEPT, RoleState, Run, latched
from lorid_local.prompt_store import PromptStore
from lorid_local.prompts import encode
from lorid_local.verified import Claim

PROOF_TEXT = "2 + 2 ="
FEW = 2  # tokens of it: enough for nearly all; one is not, it attends to nothing but itself


@dataclass(frozen=True)
class Options:
    """How to run. threads 0: one for each physical core this process may use; context_size 0: as
    needed, up to the model's own; gpu_layers None: all, if this build of llama.cpp can;
    low_memory: one context for all roles, whose adapter is switched and whose cache is cleared
    between them; kv_type: how keys and values are cached (q8_0 takes about half of f16's memory);
    stream_mib: how large a role's cache may get for streams (kv_cache.py; low_memory has none);
    prompt_mib: how much of a role's prompts is kept for when they come again, as they do where many
    problems run side by side (prompt_store.py; low_memory keeps none).
    """

    threads: int = 0
    context_size: int = 0
    gpu_layers: int | None = None
    width: int = 16
    batch: int = 256
    low_memory: bool = False
    kv_type: KvType = "f16"
    stream_mib: int = 512
    prompt_mib: int = 0
    verbose: bool = False


class LlamaEngine:
    """Implements `lorid_local.engine.Engine` on one base GGUF and at most one adapter a role.

    Raises ModelError at construction when a file is missing, damaged or does not fit. That an
    adapter acts is proven when its role is first asked, unless it is remembered of these files and
    this llama.cpp (`verified`), or by `prove`. Close the engine, or use it as a context manager.
    """

    def __init__(
        self,
        base: Path,
        adapters: Mapping[Role, Path] | None = None,
        options: Options | None = None,
    ) -> None:
        self.options = options or Options()
        if not 1 <= self.options.width < MAX_SEQUENCES:
            raise EngineError(f"width {self.options.width}: expected 1 to {MAX_SEQUENCES - 1}")
        LOG.verbose = self.options.verbose
        self._states: dict[Role | None, RoleState] = {}  # None: the one of all roles
        adapters = adapters or {}
        self._unproven = dict(adapters)
        told, files = build().told, libraries()  # claims are made before llama.cpp reads a file
        self._acts = {role: Claim([base, p, *files], told) for role, p in adapters.items()}
        header = read_header(base)
        check_base(header)
        for path in adapters.values():
            check_adapter(read_header(path), header)
        self._stream_cells = self._cells_of_streams(header)
        self._model = Model(base, self.options.gpu_layers)
        try:
            self._adapters = {role: self._model.load_adapter(p) for role, p in adapters.items()}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "LlamaEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free contexts, adapters and weights."""
        for state in self._states.values():
            state.context.close()
        self._states.clear()
        self._model.close()

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        """Return one completion a request, in order.

        Raises, before anything runs, ContextOverflow if a prompt and its max_tokens exceed the
        context and ModelError if the role's adapter changes nothing; EngineError if llama.cpp
        fails for every request (if only for some, those end as 'failed'). The engine stays
        usable after each.
        """
        if not self._model.handle:
            raise EngineError("the engine is closed")
        if not requests:
            return []
        if len({request.role for request in requests}) > 1:
            raise EngineError("one call draws samples of one role")
        prompts = [self._tokens(request) for request in requests]
        state = self._state(requests, prompts)
        run = Run(self._model, state, requests, prompts, self.options.width)
        try:
            return run.finish(on_token, latched(cancelled), on_done)
        finally:
            run.clean_up()

    @property
    def weights(self) -> dict[str, float]:
        """The MiB of the base's weights by llama.cpp's device; CPU_Mapped is the file itself."""
        return dict(self._model.buffers)

    def layout(self, needed: Need) -> Layout:
        """Return how `generate` lays out a KV cache for what is needed."""
        return needed.layout(self._stream_cells)

    def buffers(self, layout: Layout) -> dict[str, float]:
        """Return the MiB of a context as `generate` makes it, by kind: KV, compute and output.

        The context is made and freed at once; raises EngineError if there is no room for it.
        """
        LOG.lines.clear()
        self._context(layout).close()
        return {kind: sum(sizes.values()) for kind, sizes in LOG.buffers().items()}

    def count(self, prompt: tuple[Part, ...]) -> int:
        """Return how many tokens a request's prompt takes."""
        return (self._model.bos is not None) + len(encode(prompt, self._model.tokenize))

    @property
    def template(self) -> Template | None:
        """The base's own chat template; None if its file holds none."""
        return self._model.chat_template()

    @property
    def room(self) -> int:
        """Tokens that one sequence may hold, prompt and answer."""
        return self._limit()

    def _tokens(self, request: Request) -> list[int]:
        tokens = [] if self._model.bos is None else [self._model.bos]
        tokens += encode(request.prompt, self._model.tokenize)
        if not tokens:
            raise EngineError("a request's prompt holds no tokens")
        limit = self._limit()
        if len(tokens) + request.max_tokens > limit:
            raise ContextOverflow(
                f"the problem takes {len(tokens)} tokens and the answer up to "
                f"{request.max_tokens}, but the context holds {limit}",
                hint="raise -c/--ctx-size or lower -n/--n-predict"
                if limit < self._model.context_length
                else "shorten the problem or lower -n/--n-predict",
            )
        return tokens

    def _limit(self) -> int:
        """Tokens that one sequence may hold."""
        return min(self.options.context_size or self._model.context_length,
                   self._model.context_length)  # fmt: skip

    def _state(self, requests: Sequence[Request], prompts: list[list[int]]) -> RoleState:
        """Return the role's context, made anew if this call needs a larger one."""
        role = requests[0].role
        place = None if self.options.low_memory else role
        needed = need(requests, prompts, min(len(requests), self.options.width))
        state = self._states.get(place)
        if state and not needed.fits(state.context.layout):
            needed = needed.joined(state.need)
            state.context.close()
            state = None
        if state is None:
            kept = 0 if self.options.low_memory else self.options.prompt_mib * MIB
            state = RoleState(self._context(self.layout(needed)), needed, PromptStore(kept))
            self._states[place] = state
        if state.role is not role:  # another adapter's keys and values are of no use
            state.kept, state.role = [], None
            state.context.clear()
            if role in self._unproven and not self._acts[role].holds():
                self._prove(role, state.context)
            self._unproven.pop(role, None)
            state.context.set_adapter(self._adapters.get(role))
            state.role = role
        return state

    def _cells_of_streams(self, header: Header) -> int:
        """Return how many cells a cache in streams may have; 0 where their size is not known."""
        size = kv_bytes(header, 1)
        return 0 if self.options.low_memory or not size else self.options.stream_mib * MIB // size

    def _context(self, layout: Layout) -> Context:
        batch = max(layout.sequences, min(layout.cells, self.options.batch))
        return Context(
            self._model,
            layout,
            threads=self.options.threads or usable_cores(),
            batch=batch,
            kv_type=self.options.kv_type,
        )

    def prove(self) -> None:
        """Raise ModelError for an adapter that changes nothing, of any role not asked so far."""
        if not self._unproven:
            return
        context = self._context(Layout(CELL_STEP, 1))
        try:
            for role in list(self._unproven):
                self._prove(role, context)
                del self._unproven[role]
        finally:
            context.close()

    def _prove(self, role: Role, context: Context) -> None:
        """Raise ModelError if a fixed text's logits are the same with the role's adapter.

        Else it is remembered. The context, which must be clear, is left clear and with any adapter.
        """
        tokens = self._model.tokenize(PROOF_TEXT, False)
        both = (None, self._adapters[role])
        for part in (tokens[:FEW], tokens):
            plain, adapted = (self._proof_logits(context, adapter, part) for adapter in both)
            if not np.array_equal(plain, adapted):
                self._acts[role].remember()
                return
        raise ModelError(
            f"{self._unproven[role]}: the adapter does not act: the logits are the same without it",
            hint="train it for at least one step, then convert it again",
        )

    def _proof_logits(self, context: Context, adapter: Any, tokens: list[int]) -> Any:
        context.set_adapter(adapter)
        last = len(tokens) - 1
        context.decode([Slot(t, i, KEPT, i == last) for i, t in enumerate(tokens)])
        logits = context.logits(last).copy()
        context.clear()
        return logits
