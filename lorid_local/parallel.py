"""Many problems at once, a thread each, for an engine that many threads may call.

Like `batch`, which fills the batch of an engine in this process; a server fills its own, and one
problem's slow sample holds no other one up.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from lorid_local.batch import Outcome
from lorid_local.engine import Cancelled, Engine, never
from lorid_local.errors import ContextOverflow
from lorid_local.loop import LoopSettings, RoleTable, finish, solve

AHEAD = 4  # windows of problems that may be solved, or under way, behind a slow one


def solve_all(
    questions: Iterable[str],
    engine: Engine,
    roles: RoleTable,
    settings: LoopSettings,
    *,
    seed: int = 0,
    timeout: float | None = None,
    cancelled: Cancelled = never,
    window: int,
) -> Iterator[Outcome]:
    """Yield what became of each question, in their order: a Trace, or why it is too long.

    At most `window` problems are under way, and as many results wait for an earlier one as AHEAD
    says, so that memory stays flat. Cancelled, those under way end as interrupted and no other
    one starts. Raises what else the engine raises, at that problem's turn; the others then end.
    """
    leaving = threading.Event()

    def over() -> bool:
        return leaving.is_set() or cancelled()

    def one(question: str) -> Outcome:
        try:
            events = solve(
                question, engine, roles, settings, seed=seed, timeout=timeout, cancelled=over
            )
            return finish(events, lambda event: None)
        except ContextOverflow as error:
            return error

    waiting = iter(questions)
    pool = ThreadPoolExecutor(window, thread_name_prefix="lorid")
    try:
        unseen: deque[Future[Outcome]] = deque()
        first = 1  # even if all is cancelled, so that there is something to tell
        while True:
            room = first if cancelled() else AHEAD * window - len(unseen)
            unseen.extend(pool.submit(one, question) for question in islice(waiting, room))
            first = 0
            if not unseen:
                return
            outcome = unseen.popleft().result()
            if cancelled():
                _drop(unseen)
            yield outcome
    finally:
        leaving.set()
        pool.shutdown(cancel_futures=True)


def _drop(unseen: "deque[Future[Outcome]]") -> None:
    """Leave those out that have not begun; those under way end as interrupted."""
    begun = [future for future in unseen if not future.cancel()]
    unseen.clear()
    unseen.extend(begun)
