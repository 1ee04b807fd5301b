"""LlamaEngine: draws samples with llama.cpp, a context and an adapter a role, in one process.

Samples of one call run in one batch. A role's context keeps its last prompt, so that the
same prompt costs nothing in the next round, and prompts that begin alike share that part.
"""

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lorid_local import calculator
from lorid_local.engine import Cancelled, Completion, OnToken, Request, Role, never
from lorid_local.errors import ContextOverflow, EngineError, ModelError
from lorid_local.gguf_check import check_adapter, check_base
from lorid_local.gguf_header import read_header
from lorid_local.llama_native import LOG, MAX_SEQUENCES, Context, Model, Slot
from lorid_local.sample import Sample

KEPT = 0  # the sequence that holds the last prompt of a role
CELL_STEP = 256  # contexts grow in steps, so that a longer problem does not remake them
PROOF_TEXT = "2 + 2 ="


@dataclass(frozen=True)
class Options:
    """How to run. threads 0: one for each core this process may use; context_size 0: as needed,
    up to the model's own; gpu_layers None: all, if this build of llama.cpp can.
    """

    threads: int = 0
    context_size: int = 0
    gpu_layers: int | None = None
    width: int = 16
    batch: int = 256
    verbose: bool = False


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass
class _RoleState:
    """A role's context and the prompt whose KV its sequence KEPT holds."""

    context: Context
    kept: list[int] = field(default_factory=list)


class LlamaEngine:
    """Implements `lorid_local.engine.Engine` on one base GGUF and at most one adapter a role.

    Raises ModelError at construction when a file is missing, damaged or does not fit, or
    when an adapter changes nothing. Close it, or use it as a context manager.
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
        self._states: dict[Role, _RoleState] = {}
        adapters = adapters or {}
        header = read_header(base)
        check_base(header)
        for path in adapters.values():
            check_adapter(read_header(path), header)
        self._model = Model(base, self.options.gpu_layers)
        try:
            self._adapters = {role: self._model.load_adapter(p) for role, p in adapters.items()}
            self._prove(adapters)
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
    ) -> list[Completion]:
        """Return one completion a request, in order.

        Raises ContextOverflow before anything runs if a prompt and its max_tokens exceed the
        context, EngineError if llama.cpp fails; the engine stays usable after either.
        """
        if not self._model.handle:
            raise EngineError("the engine is closed")
        if not requests:
            return []
        if len({request.role for request in requests}) > 1:
            raise EngineError("one call draws samples of one role")
        prompts = [self._tokens(request) for request in requests]
        state = self._state(requests, prompts)
        run = _Run(self._model, state, requests, prompts, self.options.width)
        try:
            return run.finish(on_token, _latched(cancelled))
        finally:
            run.clean_up()

    def _tokens(self, request: Request) -> list[int]:
        tokens = [] if self._model.bos is None else [self._model.bos]
        for part in request.prompt:
            tokens += self._model.tokenize(part.text, part.special)
        if not tokens:
            raise EngineError("a request's prompt holds no tokens")
        limit = self._limit()
        if len(tokens) + request.max_tokens > limit:
            raise ContextOverflow(
                f"the problem takes {len(tokens)} tokens and the answer up to "
                f"{request.max_tokens}, but the context holds {limit}",
                hint="shorten the problem or lower -n/--n-predict",
            )
        return tokens

    def _limit(self) -> int:
        """Tokens that one sequence may hold."""
        return min(self.options.context_size or self._model.context_length,
                   self._model.context_length)  # fmt: skip

    def _state(self, requests: Sequence[Request], prompts: list[list[int]]) -> _RoleState:
        """Return the role's context, made anew if this call needs a larger one."""
        role = requests[0].role
        width = min(len(requests), self.options.width)
        cells = _cells(requests, prompts, width)
        state = self._states.get(role)
        if state and state.context.cells >= cells and state.context.sequences > width:
            return state
        if state:
            cells = max(cells, state.context.cells)
            width = max(width, state.context.sequences - 1)
            state.context.close()
            del self._states[role]
        context = self._context(cells, width + 1)
        context.set_adapter(self._adapters.get(role))
        self._states[role] = _RoleState(context)
        return self._states[role]

    def _context(self, cells: int, sequences: int) -> Context:
        threads = self.options.threads or usable_cores()
        batch = max(sequences, min(cells, self.options.batch))
        return Context(self._model, cells=cells, sequences=sequences, threads=threads, batch=batch)

    def _prove(self, adapters: Mapping[Role, Path]) -> None:
        """Raise ModelError for an adapter that leaves a fixed prompt's logits as they are."""
        if not adapters:
            return
        context = self._context(CELL_STEP, 1)
        try:
            plain = self._proof_logits(context, None)
            for role, path in adapters.items():
                if np.array_equal(plain, self._proof_logits(context, self._adapters[role])):
                    raise ModelError(
                        f"{path}: the adapter does not act: the logits are the same without it",
                        hint="train it for at least one step, then convert it again",
                    )
        finally:
            context.close()

    def _proof_logits(self, context: Context, adapter: Any) -> Any:
        context.clear()
        context.set_adapter(adapter)
        tokens = self._model.tokenize(PROOF_TEXT, False)
        last = len(tokens) - 1
        context.decode([Slot(t, i, KEPT, i == last) for i, t in enumerate(tokens)])
        return context.logits(last).copy()


def _cells(requests: Sequence[Request], prompts: list[list[int]], width: int) -> int:
    """Return how many cells `width` samples at once may need, the kept prompt included."""
    one_prompt = all(prompt == prompts[0] for prompt in prompts)
    needed = [
        request.max_tokens + (0 if one_prompt else len(prompt))
        for prompt, request in zip(prompts, requests, strict=True)
    ]
    cells = max(map(len, prompts)) + sum(sorted(needed)[-width:])
    return -(-cells // CELL_STEP) * CELL_STEP


def _latched(cancelled: Cancelled) -> Cancelled:
    """Return `cancelled` with a yes that holds: a prompt read in part must not be sampled from."""
    told = False

    def asked() -> bool:
        nonlocal told
        told = told or cancelled()
        return told

    return asked


class _Run:
    """One call of `generate`: admits requests while there is room, steps, collects."""

    def __init__(
        self,
        model: Model,
        state: _RoleState,
        requests: Sequence[Request],
        prompts: list[list[int]],
        width: int,
    ) -> None:
        self.model, self.state, self.context = model, state, state.context
        # same prompts side by side, so that the kept prompt serves them all
        order = sorted(range(len(requests)), key=lambda i: (prompts[i], i))
        self.waiting = deque((i, requests[i], prompts[i]) for i in order)
        self.active: list[Sample] = []
        self.done: dict[int, Completion] = {}
        self.free = list(range(min(width, len(requests)), KEPT, -1))

    def finish(self, on_token: OnToken | None, cancelled: Cancelled) -> list[Completion]:
        """Run every request to its end and return the completions in request order."""
        while self.waiting or self.active:
            if cancelled():
                self._cancel(on_token)
                break
            while self.waiting and self._fits(self.waiting[0]):
                self._admit(*self.waiting.popleft(), cancelled)
            if not cancelled():  # a prefill that was cut short must not be sampled from
                self._step(on_token)
        return [self.done[i] for i in sorted(self.done)]

    def clean_up(self) -> None:
        """Forget what is half done; the kept prompt stays if no exception left it half done."""
        for sample in self.active:
            self.context.forget(sample.sequence)
        if self.active:
            self.context.clear()
            self.state.kept = []

    def _fits(self, entry: tuple[int, Request, list[int]]) -> bool:
        """True if a sequence is free and the cells suffice, whatever the samples still write."""
        _, request, prompt = entry
        used = len(prompt) + request.max_tokens
        for sample in self.active:
            shared = sample.prompt == prompt  # its prompt's cells are those of KEPT
            used += sample.request.max_tokens + (0 if shared else len(sample.prompt))
        return bool(self.free) and used <= self.context.cells

    def _admit(self, index: int, request: Request, prompt: list[int], cancelled: Cancelled) -> None:
        """Prefill all but the prompt's last token; that one is the sample's first step."""
        ready = self._prefill(prompt, cancelled)
        sequence = self.free.pop()
        self.context.share(KEPT, [sequence], ready)
        self.active.append(Sample(index, request, sequence, prompt))

    def _prefill(self, prompt: list[int], cancelled: Cancelled) -> int:
        """Bring prompt[:-1] into sequence KEPT, keeping what it begins with; return its length."""
        body = prompt[:-1]
        kept = self.state.kept
        same = next((i for i, (a, b) in enumerate(zip(kept, body, strict=False)) if a != b),
                    min(len(kept), len(body)))  # fmt: skip
        self.context.forget(KEPT, same)
        self.state.kept = body[:same]
        for start in range(same, len(body), self.context.batch):
            if cancelled():
                break
            chunk = body[start : start + self.context.batch]
            self.context.decode([Slot(t, start + i, KEPT, False) for i, t in enumerate(chunk)])
            self.state.kept += chunk
        return len(self.state.kept)

    def _step(self, on_token: OnToken | None) -> None:
        """Decode what every active sample has pending and draw its next token."""
        for group in self._groups():
            slots, last = [], {}
            for sample in group:
                slots += [Slot(t, at, sample.sequence, False) for at, t in sample.hand_over()]
                slots[-1] = slots[-1]._replace(wanted=True)
                last[sample.index] = len(slots) - 1
            self.context.decode(slots)
            for sample in group:
                self._advance(sample, sample.sampler.draw(self.context.logits(last[sample.index])))
                self._show(sample, on_token)
        for sample in [s for s in self.active if s.finish]:
            self._retire(sample)

    def _groups(self) -> Iterator[list[Sample]]:
        """Yield the active samples, as many at once as a batch holds tokens pending."""
        group: list[Sample] = []
        room = self.context.batch
        for sample in self.active:
            if len(sample.tokens_pending) > room:
                yield group
                group, room = [], self.context.batch
            group.append(sample)
            room -= len(sample.tokens_pending)
        if group:
            yield group

    def _advance(self, sample: Sample, token: int) -> None:
        """Take a drawn token, and what the calculator puts behind it."""
        if self.model.ends(token):
            sample.end()
            return
        sample.take(token, self.model.piece(token))
        if not sample.request.calculator or sample.finish:
            return
        forced = self.model.continuation("=", calculator.result(sample.text))
        fits = sample.tokens + len(forced) < sample.request.max_tokens
        if fits and len(sample.tokens_pending) + len(forced) <= self.context.batch:
            for token in forced:
                sample.take(token, self.model.piece(token))

    def _show(self, sample: Sample, on_token: OnToken | None) -> None:
        if on_token and (fresh := sample.fresh_text()):
            on_token(sample.index, fresh)

    def _retire(self, sample: Sample) -> None:
        self.active.remove(sample)
        self.context.forget(sample.sequence)
        self.free.append(sample.sequence)
        self.done[sample.index] = sample.completion()

    def _cancel(self, on_token: OnToken | None) -> None:
        for sample in list(self.active):
            sample.finish = "cancelled"
            self._show(sample, on_token)  # what was held back for a stop string
            self._retire(sample)
        for index, _, _ in self.waiting:
            self.done[index] = Completion("", "cancelled", 0)
        self.waiting.clear()
