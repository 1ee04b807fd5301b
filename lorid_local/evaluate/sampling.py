"""One pass that draws what the methods need: group by group of problems, role by role.

The requests are those of a solve (`loop.request`). Pure: it knows an Engine and a Writer.
A call that was cut off is drawn again whole, so that its batch is the same; what is stored stays.
"""

import time
from collections.abc import Callable, Iterator, Sequence

from lorid_local import prompts
from lorid_local.engine import Cancelled, Completion, Engine, Request, Role, never
from lorid_local.errors import ContextOverflow
from lorid_local.evaluate.cases import Case
from lorid_local.evaluate.methods import Needs
from lorid_local.evaluate.store import Contents, Key, Writer
from lorid_local.loop import RoleTable, request

AT_ONCE = 32  # samples of a call, about: the engine's batch stays full, and little is lost
OnGroup = Callable[[range], None]


def draw(
    engine: Engine,
    cases: Sequence[Case],
    needs: Needs,
    roles: RoleTable,
    writer: Writer,
    *,
    seed: int = 0,
    cancelled: Cancelled = never,
    on_group: OnGroup = lambda group: None,
    at_once: int = AT_ONCE,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Draw the samples of `needs` that are missing; `on_group` is told of each group that is
    complete now and was not before.

    A call has about `at_once` samples; each is noted as soon as it is complete. Raises what the
    engine or the writer raises; a problem that is too long for the context gets samples that
    ended as 'failed'.
    """
    for group in _groups(len(cases), needs, at_once):
        for number in group[max(0, len(writer.contents.cases) - group.start) :]:
            writer.case(cases[number])
        call = _Call(engine, cases, roles, writer, seed, cancelled, clock)
        lacked = _lacks(group, needs, writer.contents)
        for role in Role:
            if cancelled():
                return
            if todo := _todo(group, role, needs, writer.contents):
                call.draw(todo)
        if lacked and not cancelled():
            on_group(group)


def pending(count: int, needs: Needs, contents: Contents, at_once: int = AT_ONCE) -> int:
    """Return how many of `count` problems are in groups that lack something."""
    return sum(len(g) for g in _groups(count, needs, at_once) if _lacks(g, needs, contents))


def _groups(count: int, needs: Needs, at_once: int) -> Iterator[range]:
    size = group_size(needs, at_once)
    return (range(start, min(start + size, count)) for start in range(0, count, size))


def _lacks(group: range, needs: Needs, contents: Contents) -> bool:
    return any(_todo(group, role, needs, contents) for role in Role)


def group_size(needs: Needs, at_once: int = AT_ONCE) -> int:
    """Return how many problems share a call: an even number, as neighbours lend their rules."""
    return 2 * max(1, -(-at_once // (2 * max(needs.ir, needs.kg, needs.dr, 1))))


def _todo(group: range, role: Role, needs: Needs, contents: Contents) -> list[Key]:
    """Return what a call of one role has to draw: all of it, if a call was cut off in the midst.

    What all problems of the group lack alike (no samples yet, or more rounds are asked for) was
    not cut off, and is drawn alone.
    """
    keys = [key for number in group for key in _keys(number, role, needs)]
    lacking = [key for key in keys if key not in contents.samples]
    lacks = {number: {k[1:] for k in lacking if k.case == number} for number in group}
    alike = all(of == lacks[group[0]] for of in lacks.values())
    return lacking if alike or not lacking else keys


def _keys(number: int, role: Role, needs: Needs) -> list[Key]:
    rounds: int = getattr(needs, role.value)
    keys = [Key(number, role, r) for r in range(1, rounds + 1)]
    if role is Role.DR:
        keys += [Key(number, role, 1, by) for by in needs.by]
    return keys


class _Call:
    """One call of the engine, and what becomes of it if a problem is too long."""

    def __init__(
        self,
        engine: Engine,
        cases: Sequence[Case],
        roles: RoleTable,
        writer: Writer,
        seed: int,
        cancelled: Cancelled,
        clock: Callable[[], float],
    ) -> None:
        self.engine, self.cases, self.roles, self.writer = engine, cases, roles, writer
        self.seed, self.cancelled, self.clock = seed, cancelled, clock

    def draw(self, keys: Sequence[Key]) -> None:
        try:
            self._draw(keys)
        except ContextOverflow:  # raised before anything ran: find whose it is
            for number in dict.fromkeys(key.case for key in keys):
                own = [key for key in keys if key.case == number]
                try:
                    self._draw(own)
                except ContextOverflow:
                    for key in own:
                        self.writer.sample(key, Completion("", "failed", 0), 0.0)

    def _draw(self, keys: Sequence[Key]) -> None:
        before = self.clock()

        def done(index: int, completion: Completion) -> tuple[int, ...]:
            nonlocal before
            now = self.clock()
            self.writer.sample(keys[index], completion, now - before)
            before = now
            return ()

        requests = [self._request(key) for key in keys]
        completions = self.engine.generate(requests, None, self.cancelled, done)
        for key, completion in zip(keys, completions, strict=True):
            self.writer.sample(key, completion, 0.0)  # one that failed is told of only here

    def _request(self, key: Key) -> Request:
        question = self.cases[key.case].question
        return request(self.roles, key.role, question, self._rules(key), key.round, self.seed)

    def _rules(self, key: Key) -> tuple[str, ...]:
        if key.role is not Role.DR or key.by == "none":
            return ()
        if key.by == "teacher":
            return self.cases[key.case].rules
        owner = key.case
        if key.by == "other":  # the neighbour's, of another problem in the same group
            owner = key.case ^ 1 if key.case ^ 1 < len(self.cases) else key.case - 1
        taken = self.writer.contents.samples.get(Key(owner, Role.KG, key.round))
        if taken is None:  # a file of one problem has no neighbour
            return ()
        written = prompts.printable(taken.completion.text).strip()
        return prompts.rules(written, complete=taken.completion.finish_reason == "stop")
