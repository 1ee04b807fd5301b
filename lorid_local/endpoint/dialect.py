"""What each kind of server is sent and what its events mean. Pure: knows no HTTP.

llama-server is asked by its own /completion: prompts as token ids, adapters by id, and each
token's id comes back. All others are asked by OpenAI's /v1/completions, a model name a role.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lorid_local.endpoint.patience import Trouble
from lorid_local.engine import Request, Role

Prompt = list[int] | str
STOPPED = {"stop", "eos", "word", "end_turn"}
CUT = {"length", "limit"}
THINKING_SERVERS = {"vllm", "sglang"}  # they take chat_template_kwargs, others refuse it


@dataclass(frozen=True)
class Delta:
    """What an event adds: text, its token ids where they are told; `finish` is stop or length.

    `used` is how many tokens the server counts so far, where it says so.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    finish: str = ""
    used: int | None = None


class Dialect(Protocol):
    """How to ask a server for a sample and to read its answer."""

    def ask(self, request: Request, prompt: Prompt, tokens: int) -> tuple[str, dict[str, Any]]:
        """Return path and body that ask for at most `tokens` tokens behind `prompt`."""
        ...

    def delta(self, event: dict[str, Any]) -> Delta:
        """Return what an event means; raises Trouble if it means nothing."""
        ...


@dataclass(frozen=True)
class LlamaServer:
    """llama.cpp's own server. `adapters` are ids of its --lora files; `all_ids` all it has."""

    adapters: Mapping[Role, int]
    all_ids: Sequence[int]

    def ask(self, request: Request, prompt: Prompt, tokens: int) -> tuple[str, dict[str, Any]]:
        own = self.adapters.get(request.role)
        body: dict[str, Any] = {
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k,
            # in this order: its default applies heat last
            "samplers": ["temperature", "top_k", "top_p"],
            "seed": request.seed,
            "cache_prompt": False,  # a slot's cache may hold another adapter's keys and values
            "return_tokens": True,
            "stream": True,
        }
        if self.all_ids:  # an empty list would mean: as the server was started
            body["lora"] = [{"id": i, "scale": float(i == own)} for i in self.all_ids]
        return "/completion", body

    def delta(self, event: dict[str, Any]) -> Delta:
        try:
            ids = tuple(map(int, event.get("tokens") or ()))
            finish = _finish(event["stop_type"]) if event["stop"] else ""
            return Delta(str(event["content"]), ids, finish, event.get("tokens_predicted"))
        except (KeyError, TypeError, ValueError):
            raise Trouble(f"sent an event that is no part of an answer: {_keys(event)}") from None


@dataclass(frozen=True)
class OpenAI:
    """Any server with OpenAI's interface; `kind` is vllm, sglang or what it calls itself."""

    models: Mapping[Role, str]
    kind: str = ""

    def ask(self, request: Request, prompt: Prompt, tokens: int) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {
            "model": self.models[request.role],
            "max_tokens": tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed % 2**31,  # some servers take signed 32 bits only
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.top_k:  # no part of OpenAI's interface; vLLM and SGLang have it
            body["top_k"] = request.top_k
        if not framed(request):  # the server's own chat template frames it
            if self.kind in THINKING_SERVERS:
                body["chat_template_kwargs"] = {"enable_thinking": False}
            return "/v1/chat/completions", body | {
                "messages": [{"role": "user", "content": prompt}]
            }
        return "/v1/completions", body | {"prompt": prompt}

    def delta(self, event: dict[str, Any]) -> Delta:
        usage = event.get("usage") or {}
        try:
            used = usage.get("completion_tokens")
            if not event["choices"]:  # the last event, which counts
                return Delta(used=used)
            choice = event["choices"][0]
            text = choice["text"] if "text" in choice else choice["delta"].get("content")
            finish = _finish(choice["finish_reason"]) if choice.get("finish_reason") else ""
            return Delta(text or "", (), finish, used)
        except (KeyError, TypeError, AttributeError, IndexError):
            raise Trouble(f"sent an event that is no part of an answer: {_keys(event)}") from None


def framed(request: Request) -> bool:
    """True if the prompt holds a chat format; without one the server has to frame the turn."""
    return any(part.special and part.text for part in request.prompt)


def _finish(reason: Any) -> str:
    if reason in STOPPED:
        return "stop"
    if reason in CUT:
        return "length"
    raise Trouble(f"ended a sample by {reason!r}")


def _keys(event: dict[str, Any]) -> str:
    return ", ".join(map(str, list(event)[:8])) or "an empty object"
