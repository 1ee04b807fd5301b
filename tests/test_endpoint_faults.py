"""A server that answers 429, 500, half a stream, wrong JSON, nothing; all is solved the same."""

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from lorid_local import parallel
from lorid_local.endpoint import wire
from lorid_local.endpoint.engine import EndpointEngine
from lorid_local.endpoint.patience import IN_A_ROW, Health, Patience, Trouble
from lorid_local.endpoint.wire import Times
from lorid_local.engine import Completion, Part, Role
from lorid_local.errors import (
    EXIT_FAILURE,
    EXIT_MODEL,
    EXIT_USAGE,
    ContextOverflow,
    EngineError,
    InputError,
    LoridError,
    ModelError,
)
from lorid_local.trace import Trace
from tests.scripted import ScriptedEngine, loop_settings, shown, table
from tests.servers import Reply, as_json, events, llama_server, openai_server, serving
from tests.test_cli import lorid
from tests.test_endpoint import IR, PROMPT, QUICK, THREE, answering, echo

pytestmark = pytest.mark.usefixtures("loopback")
LETTER = {"content": "a", "tokens": [97], "stop": False}
TEXT = {"choices": [{"text": "a", "finish_reason": None}]}
HINT = "see whether it runs and what its log says; lorid solve --file goes on with -o"

# how a request for a sample goes wrong, and what is said where it always does
FAULTS = {
    "busy": (as_json({"error": {"message": "slow down"}}, 429, retry_after="0.01"),
             "answered 429 (slow down)"),
    "broken": (as_json({"detail": "boom"}, 500), "answered 500 (boom)"),
    "a page": (Reply(502, (b"<html>\nbad   gateway",)), "answered 502 (<html> bad gateway)"),
    "loading": (as_json({"message": "loading model"}, 503), "answered 503 (loading model)"),
    "no body": (Reply(500), "answered 500 (no reason)"),
    "half": (events(LETTER | TEXT), "ended in the middle of an answer"),
    "half, cut": (events(LETTER | TEXT, cut=True), "broke off (peer closed connection without "
                  "sending complete message body (incomplete chunked read))"),
    "gone": (Reply(cut=True), "broke off (Server disconnected without sending a response.)"),
    "nothing": (Reply(), "answered nothing"),
    "not JSON": (events(b"{oops"), "sent '{oops', which is not JSON"),
    "deep": (events(b"[" * 100_000), f"sent {'[' * 200!r}, which is not JSON"),
    "no object": (events(b"[1]"), "sent '[1]' where an object was expected"),
    "other JSON": (events({"a": 1, "b": 2}), "sent an event that is no part of an answer: a, b"),
    "empty": (events({}), "sent an event that is no part of an answer: an empty object"),
    "error in stream": (events(LETTER | TEXT, {"error": {"code": 500, "message": "no room"}}),
                        "answered 500 (no room)"),
    "error as text": (events({"error": "no room"}), "answered 500 (no room)"),
    "odd end": (events(LETTER | TEXT, {"content": "", "stop": True, "stop_type": "tired",
                                       "choices": [{"text": "", "finish_reason": "tired"}]}),
                "ended a sample by 'tired'"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("kind", [llama_server, openai_server])
def test_what_passes_by_is_tried_again(kind: Any, name: str) -> None:
    told: list[str] = []
    with kind(echo, lambda n: FAULTS[name][0] if n < 4 else None) as seen:
        with EndpointEngine(seen.url, THREE, QUICK) as engine:
            (done,) = engine.generate([IR], lambda i, text: told.append(text))
        assert done.finish_reason == "length"
        assert len(done.text) == len("".join(told)) == 20  # nothing is shown twice
        assert len(seen.samples) == 4


@pytest.mark.parametrize("name", FAULTS)
def test_what_stays_is_told_once_and_for_all(name: str) -> None:
    reply, why = FAULTS[name]
    with llama_server(echo, lambda n: reply) as seen:
        with EndpointEngine(seen.url, THREE, QUICK) as engine, pytest.raises(EngineError) as raised:
            engine.generate([IR])
        assert raised.value.message == f"{seen.url}: the server {why} (4 tries)"
        assert raised.value.hint == HINT
        assert raised.value.exit_code == EXIT_FAILURE
        assert len(seen.samples) == 4


def test_a_server_that_says_nothing_at_all() -> None:
    quick = replace(QUICK, times=Times(silence=0.15), patience=Patience(tries=2, first=0.01))
    with llama_server(echo, lambda n: Reply(stall=1)) as seen:
        with EndpointEngine(seen.url, THREE, quick) as engine, pytest.raises(EngineError) as raised:
            engine.generate([IR])
        assert raised.value.message == (
            f"{seen.url}: the server said nothing for too long (2 tries)"
        )


@pytest.mark.parametrize(
    ("reply", "kind", "message", "hint", "code"),
    [
        (as_json({"error": {"message": "Invalid API Key"}}, 401), EngineError,
         "{url}: the server refuses the key (401: Invalid API Key)",
         "put the key into the environment as LORID_API_KEY", EXIT_FAILURE),
        (as_json({"message": "The model `x` does not exist."}, 404), ModelError,
         "{url}: the server does not know what was asked for (The model `x` does not exist.)",
         "lorid solve --endpoint URL --server-models NAME ...", EXIT_MODEL),
        (as_json({"message": "maximum context length is 9"}, 400), ContextOverflow,
         "the server's context is too small (maximum context length is 9)",
         "shorten the problem or lower -n/--n-predict", EXIT_USAGE),
        (as_json({"detail": [{"msg": "seed"}]}, 422), EngineError,
         "{url}: the server refuses the request (422: [{{'msg': 'seed'}}])",
         "check --endpoint and --server-models", EXIT_FAILURE),
    ],
)  # fmt: skip
def test_what_is_refused_is_not_tried_again(
    reply: Reply, kind: type[LoridError], message: str, hint: str, code: int
) -> None:
    with openai_server(echo, lambda n: reply) as seen:
        with EndpointEngine(seen.url, THREE, QUICK) as engine, pytest.raises(LoridError) as raised:
            engine.generate([IR, IR])
        assert type(raised.value) is kind
        assert raised.value.message == message.format(url=seen.url)
        assert (raised.value.hint, raised.value.exit_code) == (hint, code)
        assert len(seen.samples) <= 2


def test_nobody_at_the_address() -> None:
    with serving(lambda *_: Reply()) as seen:
        url = seen.url
    started = time.monotonic()
    ran = lorid("solve", "--endpoint", url, "2 + 2")
    assert ran.returncode == EXIT_FAILURE
    told = ran.stderr.decode()
    assert told.startswith(f"Error: {url}: the server cannot be reached (")
    assert told.endswith(f")\nHint: {HINT}\n")
    assert time.monotonic() - started < 20


def test_a_server_that_still_loads_is_waited_for() -> None:
    asked = itertools.count()

    def answer(path: str, *_: Any) -> Reply:
        if next(asked) < 2:
            return as_json({"error": {"message": "Loading model"}}, 503)
        models = [{"id": f"a-{role}"} for role in Role]
        return as_json({"data": models}) if path == "/v1/models" else as_json({}, 404)

    with serving(answer) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        assert engine.room > 4096


@pytest.mark.parametrize(
    ("url", "why"),
    [("localhost:8080", "expected http:// or https:// and a host"),
     ("http://", "expected http:// or https:// and a host"),
     ("http://a:b", "Invalid port: 'b'")],
)  # fmt: skip
def test_an_address_that_is_none(url: str, why: str) -> None:
    with pytest.raises(InputError) as raised:
        EndpointEngine(url, THREE, QUICK)
    assert raised.value.message == f"--endpoint {url}: {why}"
    assert raised.value.hint == "--endpoint http://127.0.0.1:8080"


def test_one_bad_sample_costs_itself_alone() -> None:
    bad = replace(IR, prompt=(*PROMPT, Part("bad", special=True)))

    def answer_none(prompt: str, role: str) -> str:
        if "bad" in prompt:
            raise BrokenPipeError
        return "good"

    with llama_server(answer_none) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        engine.generate([IR])
        done = engine.generate([IR, bad, IR])
    assert [c.finish_reason for c in done] == ["stop", "failed", "stop"]
    assert done[1] == Completion("", "failed", 0)


def test_a_server_that_dies_is_given_up() -> None:
    with (
        llama_server(echo, lambda n: FAULTS["broken"][0] if n > 1 else None) as seen,
        EndpointEngine(seen.url, THREE, QUICK) as engine,
    ):
        engine.generate([IR])
        lost = [engine.generate([IR])[0].finish_reason for _ in range(IN_A_ROW - 1)]
        assert set(lost) == {"failed"}
        with pytest.raises(EngineError):
            engine.generate([IR])


def test_patience() -> None:
    patience = Patience(tries=6, first=1.0, longest=8.0)
    for tried, most in ((1, 1), (2, 2), (3, 4), (4, 8), (9, 8)):
        delays = [patience.delay(tried, None) for _ in range(50)]
        assert most / 2 <= min(delays) < max(delays) <= most
    assert patience.delay(1, 30.0) == 30.0
    now = [0.0]
    health = Health(clock=lambda: now[0])
    health.pause(3)
    health.pause(1)
    assert health.wait == 3
    now[0] = 5
    assert health.wait == 0
    assert health.lost()  # nothing ever came: no use to go on
    health.answered()
    assert [health.lost() for _ in range(IN_A_ROW)] == [False] * (IN_A_ROW - 1) + [True]


def _subclasses(kind: type) -> Iterator[type]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _subclasses(sub)


@pytest.mark.parametrize("kind", sorted(_subclasses(httpx2.RequestError), key=lambda k: k.__name__))
def test_every_failure_of_the_library_has_a_meaning(kind: Any) -> None:
    error = kind("why", request=httpx2.Request("GET", "http://a"))
    assert isinstance(wire._trouble(error), Trouble | EngineError)


@pytest.mark.parametrize("value", [None, "", "Tue, 24 Nov 2026 13:00:00 GMT", "nan?"])
def test_a_retry_after_that_is_no_number(value: str | None) -> None:
    assert wire._seconds(value) is None
    assert wire._seconds("1e9") == wire.LONGEST_WAIT
    assert wire._seconds("-1") == 0


def questions(count: int) -> list[str]:
    return [f"What is {i}?" for i in range(count)]


def test_every_problem_is_answered_once_in_order_though_one_in_ten_fails() -> None:
    count, at_once = 210, 200
    faults = itertools.cycle([reply for reply, _ in FAULTS.values()])
    numbers = itertools.count(1)  # len(seen.samples) may be read twice alike
    together = threading.Barrier(at_once)

    def fault(_: int) -> Reply | None:
        number = next(numbers)
        if number <= at_once:
            together.wait(60)  # none is answered before all of them are here
        return next(faults) if number % 10 == 0 else None

    with (
        llama_server(answering, fault) as seen,
        EndpointEngine(seen.url, THREE, QUICK) as engine,
    ):
        outcomes = list(
            parallel.solve_all(questions(count), engine, table(), loop_settings(2), window=at_once)
        )
        assert [shown(t) for t in outcomes if isinstance(t, Trace)] == [
            str(i) for i in range(count)
        ]
        assert all(isinstance(t, Trace) and t.status == "agreed" for t in outcomes)
        asked = len(seen.samples)
        assert asked - asked // 10 == 3 * count  # no sample that was drawn is drawn again
        assert seen.most == at_once


class Threaded(ScriptedEngine):
    """Answers from any thread; `gate`, while it is shut, keeps the first problem waiting."""

    def __init__(self) -> None:
        super().__init__({})
        self.gate = threading.Event()

    def generate(self, requests: Any, *_: Any) -> list[Completion]:
        text = requests[0].prompt[1].text
        if "is 0?" in text:
            self.gate.wait(10)
        if "is 13?" in text and requests[0].role is Role.DR:
            raise ContextOverflow("too long")
        if "is 31?" in text:
            raise EngineError("the server is gone")
        number = text.partition(" is ")[2].partition("?")[0]
        said = "- Rule." if requests[0].role is Role.KG else f"#### {number}"
        return [Completion(said, "stop", 1)] * len(requests)


def solving(engine: Threaded, source: Any, **more: Any) -> Iterator[Any]:
    return parallel.solve_all(source, engine, table(), loop_settings(1), window=4, **more)


def test_memory_stays_flat_behind_a_slow_problem() -> None:
    drawn: list[str] = []
    engine = Threaded()
    endless = (drawn.append(q) or q for q in (f"What is {i}?" for i in itertools.count()))
    outcomes = solving(engine, endless)
    threading.Timer(0.3, engine.gate.set).start()
    assert shown(next(outcomes)) == "0"
    assert len(drawn) <= parallel.AHEAD * 4
    assert [shown(t) for t in itertools.islice(outcomes, 12)] == [str(i) for i in range(1, 13)]
    assert len(drawn) <= 13 + parallel.AHEAD * 4
    outcomes.close()


def test_a_problem_that_is_too_long_stops_no_other_and_a_dead_server_stops_all() -> None:
    engine = Threaded()
    engine.gate.set()
    outcomes = solving(engine, questions(60))
    first = list(itertools.islice(outcomes, 31))
    assert isinstance(first[13], ContextOverflow)
    assert [shown(t) for t in first if isinstance(t, Trace)] == [
        str(i) for i in range(31) if i != 13
    ]
    with pytest.raises(EngineError) as raised:
        next(outcomes)
    assert raised.value.message == "the server is gone"


def test_interrupted_the_first_one_is_told_and_no_other_begins() -> None:
    engine = Threaded()
    outcomes = list(solving(engine, questions(60), cancelled=lambda: True))
    assert len(outcomes) == 1
    assert {t.status for t in outcomes if isinstance(t, Trace)} == {"interrupted"}
