"""One call of `LlamaEngine.generate`: samples of one role, advanced together token by token."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lorid_local import calculator
from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, Role
from lorid_local.errors import EngineError
from lorid_local.kv_cache import Need
from lorid_local.llama_native import Context, Model, Slot, State
from lorid_local.prompt_store import WORTH, Found, PromptStore, common
from lorid_local.sample import Sample

KEPT = 0  # the sequence that holds the last prompt of a role


@dataclass
class RoleState:
    """A context, what it was made for, the role whose adapter it has, the prompt whose KV
    sequence KEPT holds, and prompts before it."""

    context: Context
    need: Need
    store: PromptStore[State]
    role: Role | None = None
    kept: list[int] = field(default_factory=list)


def latched(cancelled: Cancelled) -> Cancelled:
    """Return `cancelled` with a yes that holds: a prompt read in part must not be sampled from."""
    told = False

    def asked() -> bool:
        nonlocal told
        told = told or cancelled()
        return told

    return asked


class Run:
    """One call of `generate`: admits requests while there is room, steps, collects."""

    def __init__(
        self,
        model: Model,
        state: RoleState,
        requests: Sequence[Request],
        prompts: list[list[int]],
        width: int,
    ) -> None:
        self.model, self.state, self.context = model, state, state.context
        self.count = len(requests)
        # same prompts side by side, so that the kept prompt serves them all
        order = sorted(range(len(requests)), key=lambda i: (prompts[i], i))
        self.waiting = deque((i, requests[i], prompts[i]) for i in order)
        self.active: list[Sample] = []
        self.done: dict[int, Completion] = {}
        self.error: EngineError | None = None  # the last one that cost a sample
        self.free = list(range(min(width, len(requests)), KEPT, -1))

    def finish(
        self, on_token: OnToken | None, cancelled: Cancelled, on_done: OnDone | None
    ) -> list[Completion]:
        """Run every request to its end and return the completions in request order."""
        while self.waiting or self.active:
            if cancelled():
                self._drop(set(range(self.count)), on_token)
                break
            while self.waiting and self._fits(self.waiting[0]):
                self._admit(*self.waiting.popleft(), cancelled)
            if not cancelled():  # a prefill that was cut short must not be sampled from
                self._close_gaps()
                self._step(on_token)
                self._collect(on_token, on_done)
        if self.error and all(c.finish_reason == "failed" for c in self.done.values()):
            raise self.error
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
        if self.context.layout.streams:  # made for the longest
            return bool(self.free)
        used = len(prompt) + request.max_tokens
        for sample in self.active:
            shared = sample.prompt == prompt  # its prompt's cells are those of KEPT
            used += sample.request.max_tokens + (0 if shared else len(sample.prompt))
        return bool(self.free) and used <= self.context.layout.cells

    def _admit(self, index: int, request: Request, prompt: list[int], cancelled: Cancelled) -> None:
        """Prefill all but the prompt's last token; that one is the sample's first step."""
        sequence = self.free.pop()
        try:
            self._prefill(prompt[:-1], sequence, cancelled)
        except EngineError as error:
            self.context.forget(KEPT)
            self.context.forget(sequence)
            self.state.kept = []
            self.free.append(sequence)
            self.done[index], self.error = Completion("", "failed", 0), error
            return
        self.active.append(Sample(index, request, sequence, prompt))

    def _prefill(self, body: list[int], sequence: int, cancelled: Cancelled) -> None:
        """Bring `body`, and nothing else, into `sequence`: by way of KEPT, or in streams from the
        store into the sequence's own, as KEPT's would be copied behind the next change of it."""
        same, found = self._same(body)
        if found and self.context.layout.streams and self.context.restore(sequence, found.state):
            self.context.forget(sequence, found.same)
            self._read(sequence, body, found.same, cancelled)
            return
        if self.state.store.wants(self.state.kept, body):
            self.state.store.keep(self.state.kept, self.context.state(KEPT))
        if found and not self.context.layout.streams:
            same = found.same if self.context.restore(KEPT, found.state) else 0
        self.context.forget(KEPT, same)
        self.state.kept = body[:same]
        self._read(KEPT, body, same, cancelled, self.state.kept)
        self.context.share(KEPT, sequence)

    def _same(self, body: list[int]) -> tuple[int, Found[State] | None]:
        """Return how many tokens of `body` KEPT begins with, and what begins with more of them."""
        same = common(self.state.kept, body)
        found = self.state.store.nearest(body)
        return same, found if found and found.same >= same + WORTH else None

    def _read(
        self,
        sequence: int,
        body: list[int],
        start: int,
        cancelled: Cancelled,
        noted: list[int] | None = None,
    ) -> None:
        """Decode `body` from `start` on; `noted` takes the tokens that were."""
        for first in range(start, len(body), self.context.batch):
            if cancelled():
                return
            chunk = body[first : first + self.context.batch]
            slots = [Slot(token, first + i, sequence, False) for i, token in enumerate(chunk)]
            self.context.decode(slots)
            if noted is not None:
                noted += chunk

    def _close_gaps(self) -> None:
        """Move samples into the streams below theirs that are free.

        llama.cpp computes streams in one go only if they follow one another.
        """
        if not self.context.layout.streams:
            return
        for sample in sorted(self.active, key=lambda s: s.sequence, reverse=True):
            lowest = min(self.free, default=sample.sequence)
            if lowest >= sample.sequence:
                break
            self.context.move(sample.sequence, lowest)
            self.free.remove(lowest)
            self.free.append(sample.sequence)
            sample.sequence = lowest

    def _step(self, on_token: OnToken | None) -> None:
        """Decode what every active sample has pending and draw its next token."""
        for group in self._groups():
            self._advance_group(group, on_token)

    def _advance_group(self, group: list[Sample], on_token: OnToken | None) -> None:
        slots: list[Slot] = []
        last: dict[int, int] = {}  # by index, of samples that have nothing pending then
        count = self._pending(group)
        for sample in group:
            slots += [Slot(t, at, sample.sequence, False) for at, t in sample.pending(count)]
            if len(sample.tokens_pending) <= count:
                slots[-1] = slots[-1]._replace(wanted=True)
                last[sample.index] = len(slots) - 1
        try:
            self.context.decode(slots)
        except EngineError as error:
            self._isolate(group, error, on_token)
            return
        for sample in group:
            sample.decoded(count)
            if sample.index in last:
                self._draw(sample, last[sample.index], on_token)

    def _pending(self, group: list[Sample]) -> int:
        """Return how many tokens of each sample to decode, at most: all that are pending.

        Of streams llama.cpp computes the same number each and the rest in a pass of its own, so
        what the calculator put into one sample goes along with the others' next tokens.
        """
        counts = [len(sample.tokens_pending) for sample in group]
        return min(counts) if self.context.layout.streams else max(counts)

    def _draw(self, sample: Sample, place: int, on_token: OnToken | None) -> None:
        try:
            logits = self.context.logits(place)
            token = sample.sampler.draw(logits)
            if sample.request.logprob:
                sample.logprob += sample.sampler.logprob(logits, token)
            self._advance(sample, token)
        except EngineError as error:
            self._fail(sample, error)
        self._show(sample, on_token)

    def _isolate(self, group: list[Sample], error: EngineError, on_token: OnToken | None) -> None:
        """Decode again one by one, so that only those fail which llama.cpp cannot decode."""
        for sample in group:
            self.context.forget(sample.sequence, sample.position)
        if len(group) == 1:
            self._fail(group[0], error)
            return
        for sample in group:
            self._advance_group([sample], on_token)

    def _fail(self, sample: Sample, error: EngineError) -> None:
        """End a sample; where the context is full, its cells are what the others need."""
        sample.finish, self.error = "failed", error
        self.context.forget(sample.sequence)

    def _collect(self, on_token: OnToken | None, on_done: OnDone | None) -> None:
        """Retire what has ended, and what need not go on because of it."""
        for sample in [s for s in self.active if s.finish]:
            if sample.index in self.done:
                continue  # an earlier one made it needless
            self._retire(sample)
            if on_done:
                self._drop(set(on_done(sample.index, self.done[sample.index])), on_token)

    def _drop(self, needless: set[int], on_token: OnToken | None) -> None:
        """End the requests `needless` that are not done."""
        for sample in [s for s in self.active if s.index in needless]:
            sample.finish = "cancelled"
            self._show(sample, on_token)  # what was held back for a stop string
            self._retire(sample)
        for entry in [entry for entry in self.waiting if entry[0] in needless]:
            self.waiting.remove(entry)
            self.done[entry[0]] = Completion("", "cancelled", 0)

    def _groups(self) -> Iterator[list[Sample]]:
        """Yield the active samples by sequence, as many at once as a batch holds tokens pending."""
        group: list[Sample] = []
        room = self.context.batch
        for sample in sorted(self.active, key=lambda s: s.sequence):
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
        computed = calculator.result(sample.text)
        forced = self.model.continuation("=", computed) if computed else []
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
