"""Finds out which server stands at an address, and which of its models or adapters each role is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from lorid_local.chat_template import Template
from lorid_local.endpoint.dialect import Dialect, LlamaServer, OpenAI
from lorid_local.endpoint.patience import Trouble
from lorid_local.endpoint.wire import Wire
from lorid_local.engine import Role
from lorid_local.errors import InputError, ModelError

UNKNOWN_ROOM = 1 << 20  # tokens: of a server that does not tell, which then refuses itself
# the server's own template frames a turn that comes without a frame (dialect.framed)
UNFRAMED = Template("{{ messages[0].content }}", where="the server")


@dataclass(frozen=True)
class Wanted:
    """The adapter file of each role that has one, and names that the user gave."""

    adapters: Mapping[Role, str]
    names: Mapping[Role, str]


@dataclass(frozen=True)
class Found:
    """A server: how to speak to it, its base's chat template and the tokens of one sequence.

    `ids`: it takes and gives token ids; `bos` then stands before every prompt.
    """

    dialect: Dialect
    template: Template
    room: int = UNKNOWN_ROOM
    ids: bool = False
    bos: tuple[int, ...] = ()


def named(text: str | None) -> dict[Role, str]:
    """Read `NAME` or `ir=NAME,kg=NAME,dr=NAME`; raises InputError."""
    if text is None:
        return {}
    pairs = [part.partition("=") for part in text.split(",")]
    if len(pairs) == 1 and not pairs[0][1]:
        return dict.fromkeys(Role, text.strip())
    known = {role.value: role for role in Role}
    for role, _, name in pairs:
        if role.strip() not in known or not name.strip():
            raise InputError(
                f"--server-models {text}: expected NAME or ir=NAME,kg=NAME,dr=NAME",
                hint="the names are those of the server's /v1/models",
            )
    return {known[role.strip()]: name.strip() for role, _, name in pairs}


async def greet(wire: Wire, wanted: Wanted) -> Found:
    """Return what stands at the wire's other end; raises Trouble, ModelError or EngineError."""
    props = await wire.get("/props")
    if isinstance(props, dict) and "default_generation_settings" in props:
        return await _llama_server(wire, props, wanted)
    listed = await wire.get("/v1/models")
    entries = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ModelError(
            f"{wire.url}: no server of a kind that lorid knows (it has no /v1/models)",
            hint="give the address of llama-server, vLLM, SGLang or another OpenAI server",
        )
    return _openai(wire, entries, wanted)


async def _llama_server(wire: Wire, props: dict[str, Any], wanted: Wanted) -> Found:
    listed = await wire.get("/lora-adapters") or []
    try:
        files = {int(entry["id"]): str(entry["path"]) for entry in listed}
        room = int(props["default_generation_settings"]["n_ctx"])
    except (KeyError, TypeError, ValueError):
        raise Trouble("sent adapters or settings that are none of llama-server's") from None
    bos = await _tokens(wire, "", add_special=True)
    template = Template(
        str(props.get("chat_template", "")),
        str(props.get("bos_token", "")),
        str(props.get("eos_token", "")),
        adds_bos=bool(bos),
        where=wire.url,
    )
    return Found(
        LlamaServer(_by_file(wire, files, wanted), tuple(files)),
        template,
        room,
        True,
        tuple(bos),
    )


async def _tokens(wire: Wire, text: str, *, special: bool = True, add_special: bool = False) -> Any:
    body = {"content": text, "parse_special": special, "add_special": add_special}
    answer = await wire.post("/tokenize", body)
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    if not isinstance(tokens, list) or not all(isinstance(t, int) for t in tokens):
        raise Trouble("sent tokens that are no numbers")
    return tokens


async def tokens(wire: Wire, text: str, special: bool) -> list[int]:
    """Return llama-server's tokens of `text`, without BOS."""
    found: list[int] = await _tokens(wire, text, special=special)
    return found


def _by_file(wire: Wire, files: dict[int, str], wanted: Wanted) -> dict[Role, int]:
    """Return the id of each role's adapter: the server's file of that name."""
    stems = {_name(path): i for i, path in files.items()}
    asked = {role: wanted.names.get(role, file) for role, file in wanted.adapters.items()}
    lacking = [file for file in asked.values() if file not in stems]
    if lacking:
        loras = " ".join(f"--lora {file}" for file in asked.values())
        raise ModelError(
            f"{wire.url}: the server has no adapter {', '.join(lacking)}; "
            f"it has: {', '.join(stems) or 'none'}",
            hint=f"llama-server -m BASE.gguf {loras} --lora-init-without-apply, or lorid solve "
            "--no-adapters",
        )
    return {role: stems[file] for role, file in asked.items()}


def _name(path: str) -> str:
    kind = PureWindowsPath if "\\" in path else PurePosixPath
    return kind(path).name


def _openai(wire: Wire, entries: list[dict[str, Any]], wanted: Wanted) -> Found:
    ids = [str(entry.get("id")) for entry in entries]
    bases = [i for i, e in zip(ids, entries, strict=True) if not e.get("parent")] or ids
    models, lacking = {}, []
    for role in Role:
        if role in wanted.names:
            models[role] = wanted.names[role]
        elif role in wanted.adapters:
            models[role] = next((i for i in ids if _means(i, role)), "")
        else:
            models[role] = bases[0] if bases else ""
        if models[role] not in ids:
            lacking.append(models[role] or f"for {role}")
    if lacking:
        raise ModelError(
            f"{wire.url}: the server has no model {', '.join(dict.fromkeys(lacking))}; "
            f"it has: {', '.join(ids) or 'none'}",
            hint="vllm serve BASE --enable-lora --lora-modules ir=DIR kg=DIR dr=DIR, or name them "
            "with --server-models ir=NAME,kg=NAME,dr=NAME",
        )
    lengths = [e["max_model_len"] for e in entries if isinstance(e.get("max_model_len"), int)]
    kind = str(entries[0].get("owned_by", "")) if entries else ""
    room = min(lengths, default=UNKNOWN_ROOM)
    return Found(OpenAI(models, kind), UNFRAMED, room)


def _means(name: str, role: Role) -> bool:
    """True for 'ir', 'lorid-ir', 'GSM8K-LLaMA-2-7B-IR' and so on."""
    return re.search(rf"(?:^|[-_./:]){role.value}$", name, re.I) is not None
