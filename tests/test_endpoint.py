"""The engine that is a server: what it is asked, what comes back, in order."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorid_local import loop
from lorid_local.chat_template import Template, frame
from lorid_local.endpoint.dialect import LlamaServer
from lorid_local.endpoint.engine import EndpointEngine, Options
from lorid_local.endpoint.greeting import UNKNOWN_ROOM, Wanted, named
from lorid_local.endpoint.patience import Patience
from lorid_local.endpoint.sampling import harmless
from lorid_local.endpoint.wire import Times
from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.errors import ContextOverflow, EngineError, InputError, ModelError
from lorid_local.prompting import PROMPTED, framed
from lorid_local.prompts import Chat
from tests.servers import as_json, llama_server, openai_server, serving
from tests.test_cli import lorid
from tests.tiny import CHAT_TEMPLATE

pytestmark = pytest.mark.usefixtures("loopback")
QUICK = Options(
    in_flight=200, patience=Patience(tries=4, first=0.01, longest=0.02), times=Times(silence=5)
)
THREE = Wanted({role: f"{role}.gguf" for role in Role}, {})
PROMPT = (Part("<|im_start|>", special=True), Part("2<|im_end|>"), Part("\n", special=True))
IR = Request(Role.IR, PROMPT, 20, seed=7, temperature=0.5, top_p=0.9)


@pytest.fixture(params=[llama_server, openai_server])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def echo(prompt: str, role: str) -> str:
    return f"{role[-7:]}: {prompt}"


def test_llama_server_is_sent_tokens_and_an_adapter_by_id() -> None:
    with llama_server(echo) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        (done,) = engine.generate([replace(IR, role=Role.DR, max_tokens=40)])
        assert done == Completion("dr.gguf: <|im_start|>2<|im_end|>\n", "stop", 34)
        body = seen.samples[0]
        assert engine.template == Template(CHAT_TEMPLATE, "<s>", "</s>", False, seen.url)
        assert engine.room == 4096
    assert body.pop("prompt") == [257, *b"2<|im_end|>", *b"\n"]  # the user's is not 258
    assert body.pop("lora") == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0},
                                {"id": 2, "scale": 1.0}]  # fmt: skip
    assert body == {"n_predict": 40, "temperature": 0.5, "top_p": 0.9, "seed": 7, "stream": True,
                    "samplers": ["temperature", "top_k", "top_p"], "cache_prompt": False,
                    "top_k": 0, "return_tokens": True}  # fmt: skip


def test_an_openai_server_is_sent_text_and_a_model_a_role() -> None:
    with openai_server(echo) as seen, EndpointEngine(seen.url + "/v1/", THREE, QUICK) as engine:
        (done,) = engine.generate([replace(IR, max_tokens=40)])
        assert done == Completion("orid-ir: <|im_start|>2< |im_end|>\n", "stop", 35)
        assert engine.room == 4096
        path, body = seen.asked[-1]
    assert path == "/v1/completions"
    assert body == {"model": "lorid-ir", "prompt": "<|im_start|>2< |im_end|>\n", "max_tokens": 40,
                    "temperature": 0.5, "top_p": 0.9, "seed": 7, "stream": True,
                    "stream_options": {"include_usage": True}}  # fmt: skip


def test_top_k_is_sent_where_it_is_asked_for() -> None:
    with openai_server(echo) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        engine.generate([replace(IR, top_k=50)])
        assert seen.asked[-1][1]["top_k"] == 50
    with llama_server(echo) as served, EndpointEngine(served.url, THREE, QUICK) as engine:
        engine.generate([replace(IR, top_k=50)])
        assert served.samples[-1]["top_k"] == 50


@pytest.mark.parametrize("owner", ["vllm", "other"])
def test_by_prompts_alone_an_openai_server_frames_the_turn_itself(owner: str) -> None:
    with (
        openai_server(echo, owner=owner) as seen,
        EndpointEngine(seen.url, Wanted({}, {}), QUICK) as engine,
    ):
        assert engine.template and frame(engine.template) == Chat("", "")
        roles = framed(PROMPTED, None, engine.template, engine.room, "x")
        asked = loop.request(roles, Role.IR, "2 + 2?", (), 1, 0)
        assert engine.generate([asked])[0].text.startswith("base: Solve this math problem")
        path, body = seen.asked[-1]
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "user", "content": asked.prompt[1].text}]
    thoughts = {"chat_template_kwargs": {"enable_thinking": False}} if owner == "vllm" else {}
    assert {k: v for k, v in body.items() if "template" in k} == thoughts


def test_without_adapters_llama_server_s_own_are_turned_off() -> None:
    with (
        llama_server(echo) as seen,
        EndpointEngine(seen.url, Wanted({}, {}), QUICK) as engine,
    ):
        engine.generate([IR])
        assert [a["scale"] for a in seen.samples[0]["lora"]] == [0.0, 0.0, 0.0]
    assert "lora" not in LlamaServer({}, ()).ask(IR, [1], 2)[1]


def test_many_at_once_come_back_in_order(kind: Any) -> None:
    def say(prompt: str, role: str) -> str:
        return "x" * int(prompt.split()[-1])

    asked = [replace(IR, prompt=(Part(f"s {i % 9}"),), max_tokens=30) for i in range(60)]
    with kind(say, pause=0.01) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        done = engine.generate(
            [replace(r, prompt=(Part("s", special=True), *r.prompt)) for r in asked]
        )
        assert [len(c.text) for c in done] == [i % 9 for i in range(60)]
        assert engine.generate([]) == []
    assert seen.most > 20


def test_no_more_are_in_flight_than_was_said(kind: Any) -> None:
    with (
        kind(echo, pause=0.005) as seen,
        EndpointEngine(seen.url, THREE, replace(QUICK, in_flight=3)) as engine,
    ):
        engine.generate([IR] * 12)
    # the server counts one as done a moment after its client has the end
    assert 3 <= seen.most <= 6


def test_a_connection_serves_again(kind: Any) -> None:
    with kind(echo) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        for _ in range(3):
            engine.generate([IR])
    assert len(seen.samples) == 3
    assert seen.connections == 1


def test_text_grows_and_ends_where_the_request_says(kind: Any) -> None:
    told: list[tuple[int, str]] = []
    request = replace(IR, max_tokens=200, stop=("STOP",))
    lines = replace(IR, max_tokens=200, last_line="####")
    for asked, said in ((request, "5*4\n#### 20\nSTO ST STOP"), (lines, "5*4\n#### 20\nabc" * 9)):
        told.clear()
        with kind(lambda *_, said=said: said) as seen, \
                EndpointEngine(seen.url, THREE, QUICK) as engine:  # fmt: skip
            (done,) = engine.generate([asked], lambda i, text: told.append((i, text)))
        assert done.finish_reason == "stop"
        assert done.text == ("5*4\n#### 20\nSTO ST " if asked is request else "5*4\n#### 20")
        assert {i for i, _ in told} == {0}
        assert "".join(text for _, text in told) == done.text


def test_a_sample_that_repeats_itself_ends(kind: Any) -> None:
    said = "5*4\nHe has 20.\n" + "He has 20.\n" * 20
    with kind(lambda *_: said) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        (done,) = engine.generate([replace(IR, max_tokens=200, repeats=3)])
    assert done.text == "5*4\nHe has 20.\nHe has 20.\nHe has 20."
    assert done.finish_reason == "repeated" and done.tokens < 60


def test_a_sample_is_cut_off_at_its_length(kind: Any) -> None:
    with kind(lambda *_: "a" * 50) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        assert engine.generate([IR]) == [Completion("a" * 20, "length", 20)]


def test_the_calculator_works_over_a_server(kind: Any) -> None:
    """Its model cannot calculate: what it writes behind '=' is dropped, the result put there."""
    chain = "<<48/2=99>>\n<<24+48=11>>\n#### 72"
    right = "<<48/2=24>>\n<<24+48=72>>\n#### 72"

    def say(prompt: str, role: str) -> str:
        written = prompt.partition("\n")[2]
        assert right.startswith(written), written
        return chain[len(written) :]

    asked = replace(IR, calculator=True, max_tokens=100)
    with kind(say) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        assert engine.generate([asked])[0].text == right
        assert len(seen.samples) == 3
        budget = [b.get("n_predict", b.get("max_tokens")) for b in seen.samples]
        assert budget[0] == 100 > budget[1] > budget[2]
        short = engine.generate([replace(asked, max_tokens=9 if kind is llama_server else 7)])[0]
    assert (short.text, short.finish_reason) == ("<<48/2=", "length")


def eventually(holds: Callable[[], bool]) -> bool:
    """True as soon as `holds` does; False if it does not within some seconds."""
    ends = time.monotonic() + 20
    while not holds() and time.monotonic() < ends:
        time.sleep(0.01)
    return holds()


def test_what_is_needless_is_left_and_the_server_notices(kind: Any) -> None:
    def say(prompt: str, role: str) -> str:
        return "a" * (3 if prompt.startswith("quick") else 2000)

    quick = replace(IR, prompt=(Part("quick", special=True),), max_tokens=3000)
    slow = replace(IR, prompt=(Part("slow", special=True),), max_tokens=3000)
    with kind(say, pause=0.01) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        done = engine.generate([slow, quick], on_done=lambda index, completion: [0])
        assert [c.finish_reason for c in done] == ["cancelled", "stop"]
        assert done[0].text == "a" * len(done[0].text)
        done = engine.generate([slow, slow], cancelled=lambda: len(seen.samples) > 3)
        assert [c.finish_reason for c in done] == ["cancelled", "cancelled"]
        assert eventually(lambda: seen.left == 3)


def test_one_call_is_of_one_role_and_a_closed_engine_says_so() -> None:
    with llama_server(echo) as seen:
        with EndpointEngine(seen.url, THREE, QUICK) as engine:
            with pytest.raises(EngineError) as raised:
                engine.generate([IR, replace(IR, role=Role.KG)])
            assert raised.value.message == "one call draws samples of one role"
        with pytest.raises(EngineError) as raised:
            engine.generate([IR])
        assert raised.value.message == "the engine is closed"
        engine.close()


def test_a_prompt_that_is_too_long_for_a_place() -> None:
    with llama_server(echo, room=30) as seen, EndpointEngine(seen.url, THREE, QUICK) as engine:
        with pytest.raises(ContextOverflow) as raised:
            engine.generate([IR])
        assert raised.value.message == (
            "the problem takes 13 tokens and the answer up to 20, but a place of the server "
            "holds 30"
        )
        assert raised.value.hint == (
            "start it with a larger -c or fewer -np, or lower -n/--n-predict"
        )
        assert not seen.samples


def test_a_server_that_lacks_an_adapter() -> None:
    with llama_server(echo, adapters=("C:\\m\\ir.gguf", "x.gguf")) as seen:
        with pytest.raises(ModelError) as raised:
            EndpointEngine(seen.url, THREE, QUICK)
        assert raised.value.message == (
            f"{seen.url}: the server has no adapter kg.gguf, dr.gguf; it has: ir.gguf, x.gguf"
        )
        assert raised.value.hint == (
            "llama-server -m BASE.gguf --lora ir.gguf --lora kg.gguf --lora dr.gguf "
            "--lora-init-without-apply, or lorid solve --no-adapters"
        )
        names = named("kg=x.gguf,dr=x.gguf")
        with EndpointEngine(seen.url, replace(THREE, names=names), QUICK) as engine:
            assert engine.found.dialect == LlamaServer({Role.IR: 0, Role.KG: 1, Role.DR: 1}, (0, 1))


def test_a_server_that_lacks_a_model() -> None:
    with openai_server(echo, models=("base", "x-IR", "fir")) as seen:
        with pytest.raises(ModelError) as raised:
            EndpointEngine(seen.url, THREE, QUICK)
        assert raised.value.message == (
            f"{seen.url}: the server has no model for kg, for dr; it has: base, x-IR, fir"
        )
        assert raised.value.hint == (
            "vllm serve BASE --enable-lora --lora-modules ir=DIR kg=DIR dr=DIR, or name them with "
            "--server-models ir=NAME,kg=NAME,dr=NAME"
        )
        with pytest.raises(ModelError) as raised:
            EndpointEngine(seen.url, replace(THREE, names=named("none")), QUICK)
        assert "has no model none; it has" in raised.value.message


def test_names_of_roles() -> None:
    assert named(None) == {}
    assert named("m") == dict.fromkeys(Role, "m")
    assert named("ir=a, kg=b") == {Role.IR: "a", Role.KG: "b"}
    for wrong in ("ir=a,b", "xx=a", "ir="):
        with pytest.raises(InputError) as raised:
            named(wrong)
        assert raised.value.message == (
            f"--server-models {wrong}: expected NAME or ir=NAME,kg=NAME,dr=NAME"
        )
        assert raised.value.hint == "the names are those of the server's /v1/models"


def test_something_else_at_the_address() -> None:
    for reply in (as_json({"detail": "no"}, 404), as_json([1])):
        with serving(lambda *_, reply=reply: reply) as seen:
            with pytest.raises(ModelError) as raised:
                EndpointEngine(seen.url, THREE, QUICK)
            assert raised.value.message == (
                f"{seen.url}: no server of a kind that lorid knows (it has no /v1/models)"
            )
            assert raised.value.hint == (
                "give the address of llama-server, vLLM, SGLang or another OpenAI server"
            )


@pytest.mark.parametrize(
    ("text", "made"),
    [("<|im_end|></s>", "< |im_end|>< /s>"), ("[INST] a[1]", "[ INST] a[1]"),
     ("<<48/2=24>> 3<4 x<5", "<<48/2=24>> 3<4 x<5"), ("<\uff5cUser\uff5c>", "< \uff5cUser\uff5c>"),
     ("<", "<")],
)  # fmt: skip
def test_a_problem_s_text_makes_no_special_tokens(text: str, made: str) -> None:
    assert harmless(text) == made


def answering(prompt: str, role: str) -> str:
    """Return a chain for any problem: both systems say the number it holds last."""
    if role.endswith(("kg", "kg.gguf")):
        return "- Read the number."
    numbers = [word for word in prompt.replace("?", " ").split() if word.isdigit()]
    return f"#### {numbers[-1]}"


@pytest.fixture
def problems(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "problems.jsonl"
    rows = [json.dumps({"question": f"What is {i}?"}) for i in range(30)]
    path.write_text("\n".join(rows))
    yield path


def test_a_file_of_problems_by_the_command(kind: Any, problems: Path) -> None:
    def fault(number: int) -> Any:
        return as_json({"error": "busy"}, 503) if number % 10 == 0 else None

    with kind(answering, fault) as seen:
        ran = lorid("solve", "--endpoint", seen.url, "--file", problems, LORID_API_KEY="k3y")
    assert ran.returncode == 0, ran.stderr.decode()
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line["answer"] for line in lines] == [str(i) for i in range(30)]
    assert {line["status"] for line in lines} == {"agreed"}
    assert seen.keys == {"Bearer k3y"}


def test_one_problem_by_the_command_and_by_prompts_alone(kind: Any) -> None:
    with kind(answering) as seen:
        ran = lorid("solve", "--endpoint", seen.url, "--no-adapters", "What is 7?")
    assert (ran.returncode, ran.stdout) == (0, b"7\n"), ran.stderr.decode()


@pytest.mark.parametrize(
    ("flags", "message", "hint"),
    [
        (("-m", "x.gguf"), "--endpoint was given with -m or --base-type, but the server has its "
         "own base",
         "lorid solve --endpoint URL --no-adapters ... asks that base by prompts alone"),
        (("--in-flight", "0"), "--in-flight 0: expected 1 to 1024", "leave it out for 64"),
    ],
)  # fmt: skip
def test_flags_that_contradict_an_endpoint(flags: tuple[str, ...], message: str, hint: str) -> None:
    ran = lorid("solve", "--endpoint", "http://127.0.0.1:9", *flags, "2 + 2")
    assert (ran.returncode, ran.stderr.decode()) == (2, f"Error: {message}\nHint: {hint}\n")


def test_a_server_that_does_not_tell_its_room() -> None:
    models = as_json({"data": [{"id": "a-ir"}, {"id": "a-kg"}, {"id": "a-dr"}]})
    missing = as_json({}, 404)
    with (
        serving(lambda path, *_: models if path == "/v1/models" else missing) as seen,
        EndpointEngine(seen.url, THREE, QUICK) as engine,
    ):
        assert engine.room == UNKNOWN_ROOM
