"""Do the embedded engine and a llama-server give the same greedy answers, and if not, why not?

    python -m benchmarks.server_answers --peers peers --data gsm8k/train.jsonl --lines dev_ids.txt

Both read the same file of the base and the same adapters in the same libraries. One greedy round a
problem; the server is asked by lorid's own --endpoint. A sample counts where both were given the
same tokens (a deep reasoner's rules may differ already).

On a CPU, ggml's flash attention sums in another order, and in f32 in place of f16, where 64 tokens
or more are read at once (ggml-cpu/ops.cpp, GGML_FA_TILE_Q). Below that, logits do not depend on
the batches at all, and both sides write the same; so both read --batch tokens at once here. With
--batch 512 the server reads as it does by itself. What the embedded engine reads in one batch
(the prompt but for its last token) and what the server does (the prompt, and all of it again
behind each computed result) then differ, and logits by several tenths.

Where two samples part, llama.cpp reads here what they have in common twice more: in the batches
of the one side and in those of the other. If the one way gives our token and the other way the
server's, then nothing but the batches parts them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.pairs import Figure, Turns, resumable, use_libraries
from benchmarks.solve_vs_peers import server
from lorid_local import bundle as bundles
from lorid_local import loop
from lorid_local.cores import usable_cores
from lorid_local.engine import Cancelled, Completion, OnDone, OnToken, Request, Role, never
from lorid_local.evaluate import cases
from lorid_local.evaluate.cases import Choice
from lorid_local.solving import Flags, base_file
from lorid_local.trace import Trace

SAME = 1.0  # of the answers
Turn = dict[str, Any]
Logits = np.ndarray[Any, np.dtype[np.float32]]
BATCH = 32  # tokens read at once: below ggml's GGML_FA_TILE_Q
CELLS = 1024


@dataclass(frozen=True)
class Written:
    """Tokens of a prompt, those behind it, and the batches in which all were read, as lengths."""

    prompt: list[int]
    tokens: list[int]
    batches: list[int]


class Embedded:
    """The embedded engine, which tells what tokens it read and wrote."""

    def __init__(self, base: Path, adapters: Mapping[Role, Path], threads: int, batch: int) -> None:
        from lorid_local.llama import LlamaEngine, Options

        self.engine = LlamaEngine(base, adapters, Options(threads=threads, width=1, batch=batch))
        self.written: dict[Role, Written] = {}

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        from lorid_local.llama_native import Context

        (request,) = requests
        context = self._context(request)
        prompt = self.engine._tokens(request)
        context.clear()  # so that the whole prompt is read, and noted
        self.engine._states[request.role].kept = []
        read: dict[int, int] = {}
        batches: list[int] = []
        decode = Context.decode

        def noted(slots: Any) -> None:
            read.update({slot.position: slot.token for slot in slots})
            batches.append(len(slots))
            decode(context, slots)

        context.decode = noted
        try:
            done = self.engine.generate(requests)
        finally:
            del context.decode
        # what was read: the prompt's last token and what is behind it, but not the last one drawn
        behind = [read[i] for i in sorted(read) if i >= len(prompt)]
        self.written[request.role] = Written(prompt, behind, batches)
        return done

    def _context(self, request: Request) -> Any:
        return self.engine._state([request], [self.engine._tokens(request)]).context

    def logits(self, role: Role, tokens: list[int], batches: list[int]) -> Logits:
        """Return the logits behind `tokens`, read in `batches` as far as they go."""
        from lorid_local.kv_cache import Layout
        from lorid_local.llama_native import Context, Slot

        options = self.engine.options
        context = Context(self.engine._model, Layout(CELLS, 1), threads=options.threads,
                          batch=options.batch)  # fmt: skip
        context.set_adapter(self.engine._adapters.get(role))
        last, start = len(tokens) - 1, 0
        for whole in batches:
            sizes = (min(left, options.batch) for left in range(whole, 0, -options.batch))
            for size in sizes:
                if start <= last:
                    part = list(enumerate(tokens[start : start + size], start))
                    context.decode([Slot(t, i, 0, i == last) for i, t in part])
                    start += size
        found: Logits = context.logits(len(part) - 1).copy()
        context.close()
        return found


class Asking:
    """A dialect that notes how long the prompts are which it asks to be gone on with."""

    def __init__(self, dialect: Any) -> None:
        self.dialect, self.lengths = dialect, list[int]()

    def ask(self, request: Request, prompt: Any, tokens: int) -> Any:
        self.lengths.append(len(prompt))
        return self.dialect.ask(request, prompt, tokens)

    def delta(self, event: dict[str, Any]) -> Any:
        return self.dialect.delta(event)


class Served:
    """lorid's engine on a server, which tells what tokens it sent and got."""

    def __init__(self, url: str, roles: loop.RoleTable) -> None:
        from lorid_local.endpoint.engine import EndpointEngine, Options
        from lorid_local.endpoint.greeting import Wanted

        wanted = Wanted({role: roles.of(role).adapter for role in Role}, {})
        self.engine = EndpointEngine(url, wanted, Options(in_flight=1))
        self.asking = Asking(self.engine.found.dialect)
        self.engine.found = replace(self.engine.found, dialect=self.asking)
        self.written: dict[Role, Written] = {}

    def generate(
        self,
        requests: Sequence[Request],
        on_token: OnToken | None = None,
        cancelled: Cancelled = never,
        on_done: OnDone | None = None,
    ) -> list[Completion]:
        from lorid_local.endpoint.sampling import Draft

        (request,) = requests
        draft = Draft(request)
        self.asking.lengths.clear()
        done: Completion = self.engine.submit(draft).result()
        prompt = self.engine.prompt(request)
        assert isinstance(prompt, list)
        # tokens that were read: a prompt at once (the last one that is short enough), then singly
        self.written[request.role] = Written(prompt, draft.ids, [*self.asking.lengths])
        return [done]


@dataclass(frozen=True)
class Parting:
    """Where two samples part: after how many tokens, and how far ahead the embedded engine's
    token is of the server's, in logits, read in its own batches and in the server's; `rounding`
    is the most that any logit differs between the two.
    """

    problem: Any
    role: str
    after: int
    tokens: tuple[str, str]
    ahead: tuple[float, float]
    rounding: float

    @property
    def explained(self) -> bool:
        """True if the order of sums alone makes the one token or the other."""
        return self.ahead[0] >= 0 >= self.ahead[1]

    def line(self) -> str:
        """Return it as text."""
        told = "the batches decide" if self.explained else "NOT EXPLAINED by the batches"
        return (f"{self.problem}, {self.role}: part after {self.after} tokens, {self.tokens[0]!r} "
                f"here, {self.tokens[1]!r} there; ahead by {self.ahead[0]:+.4f} in our batches, by "
                f"{self.ahead[1]:+.4f} in the server's; rounding {self.rounding:.4f}: "
                f"{told}")  # fmt: skip


def parting(here: Embedded, there: Served, role: Role, problem: Any) -> Parting | None:
    """Return where the samples of `role` part; None if one is the other's beginning."""
    ours, theirs = here.written[role], there.written[role]
    pairs = list(zip(ours.tokens, theirs.tokens, strict=False))
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if at is None:
        return None
    tokens = [*ours.prompt, *ours.tokens[:at]]
    again = max(length for length in theirs.batches if length <= len(tokens))
    own = here.logits(role, tokens, ours.batches)
    served = here.logits(role, tokens, [again] + [1] * (len(tokens) - again))
    a, b = pairs[at]
    pieces = tuple(here.engine._model.piece(t).decode("utf-8", "replace") for t in (a, b))
    return Parting(problem, role.value, at, (pieces[0], pieces[1]),
                   (float(own[a] - own[b]), float(served[a] - served[b])),
                   float(np.abs(own - served).max()))  # fmt: skip


def compared(own: Trace, served: Trace, here: Embedded, there: Served, problem: Any) -> Turn:
    """Return what a problem's two rounds have in common, JSON-ready."""
    same: list[bool] = []
    partings: list[Parting] = []
    for role in Role:
        if _prompt(here, role) != _prompt(there, role):
            continue
        same.append(_text(own, role) == _text(served, role))
        if not same[-1] and (found := parting(here, there, role, problem)):
            partings.append(found)
            print(found.line())
    print(f"{problem}: {_answers(own)} here, {_answers(served)} there", flush=True)
    return {
        "same_answer": _answers(own) == _answers(served),
        "same_texts": same,
        "prompts_differ": len(Role) - len(same),
        "partings": [asdict(found) | {"explained": found.explained} for found in partings],
    }


def figures(turns: Sequence[Turn]) -> list[Figure]:
    """Return the shares of answers, and of texts of the same prompt, that are the same."""
    answers = [turn["same_answer"] for turn in turns]
    texts = [same for turn in turns for same in turn["same_texts"]]
    partings = [found for turn in turns for found in turn["partings"]]
    apart = sum(turn["prompts_differ"] for turn in turns)
    unexplained = sum(not found["explained"] for found in partings)
    print(f"{len(answers)} problems; {len(texts)} samples had the same prompt, {apart} had not; "
          f"partings: {len(partings)}, unexplained by the batches: {unexplained}")  # fmt: skip
    return [
        Figure("same answers", (sum(answers) / len(answers),), SAME),
        Figure("same texts, of prompts that are the same", (sum(texts) / max(1, len(texts)),)),
    ]


def _prompt(side: "Embedded | Served", role: Role) -> list[int] | None:
    return side.written[role].prompt if role in side.written else None


def _answers(trace: Trace) -> tuple[Any, ...]:
    (drawn,) = trace.rounds
    return (trace.status, *(getattr(s.answer, "shown", None) for s in drawn.samples))


def _text(trace: Trace, role: Role) -> Any:
    return trace.rounds[0].as_dict()[role.value]["text"]


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), required=True)
@click.option("--data", required=True, help="As lorid eval reads it.")
@click.option("--lines", type=click.Path(path_type=Path), help="As lorid eval reads it.")
@click.option("--count", default=50, show_default=True)
@click.option("--batch", default=BATCH, show_default=True, help="Tokens read at once (-ub).")
@click.option("--slots", default=1, show_default=True, help="-np of the server.")
@click.option("--threads", type=int, default=usable_cores, show_default="usable cores")
@click.option("--no-calculator", is_flag=True)
@click.option("--bundle", default=bundles.DEFAULT, show_default=True)
@click.option("--base-type", type=click.Choice(["as-shipped", "q8_0", "q4_0", "iq4_nl"]))
@resumable
def main(peers: Path, data: str, lines: Path | None, count: int, batch: int, slots: int,
         threads: int, no_calculator: bool, bundle: str, base_type: Any,
         out: Path | None, minutes: float | None) -> None:  # fmt: skip
    """Solve --count problems on both and print the shares that are the same, and each parting."""
    from lorid_local.solving import settle

    use_libraries(peers)
    chosen = bundles.find(bundle)
    flags = Flags(base_type=base_type, no_calculator=no_calculator, rounds=1)
    setup = settle(chosen.contents, flags)
    todo = cases.load(data, Choice(count=count, lines=lines))
    settings = {"data": data, "bundle": bundle, "base_type": base_type, "batch": batch,
                "slots": slots, "threads": threads, "calculator": not no_calculator}  # fmt: skip
    here = Embedded(base_file(chosen, flags), chosen.adapters(), threads, batch)
    with (
        server(peers, bundle, base_type, threads, slots, "-ub", str(batch)) as url,
        Turns(out, minutes, settings) as turns,
    ):
        there = Served(url, setup.roles)
        for number in turns.left(len(todo)):
            case = todo[number]
            pair = [
                loop.finish(loop.solve(case.question, engine, setup.roles, setup.loop), _ignore)
                for engine in (here, there)
            ]
            turns.add(compared(pair[0], pair[1], here, there, case.id))
        there.engine.close()
    turns.report(figures)


def _ignore(event: Any) -> None:
    pass


if __name__ == "__main__":
    main()
