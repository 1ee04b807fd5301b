"""`lorid bundle`: a base, three adapters and prompts -> a folder for `lorid solve --bundle`."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lorid_local import prompts
from lorid_local.base import sha256
from lorid_local.bundle import FILE
from lorid_local.engine import Role
from lorid_local.errors import InputError, ModelError, OutputError
from lorid_local.gguf_check import check_adapter, check_base
from lorid_local.gguf_header import Header, read_header
from lorid_local.loop import LoopSettings, RoleSettings

CALCULATED = (Role.IR, Role.DR)  # of our own profiles: they write <<48/2=24>>
# tokens that our own profiles' targets need (train/LOG.md)
MAX_TOKENS = {Role.IR: 128, Role.KG: 160, Role.DR: 320}
# the authors' code: t = 20, no greedy round, 1,024 new tokens, answers pooled over rounds
AUTHORS_ROUNDS, AUTHORS_TOKENS = 20, 1024
AUTHORS_SAMPLING: dict[str, Any] = {
    "temperature": 1.5, "top_p": 0.9, "top_k": 50, "greedy_first": False
}  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """What a bundle is made of. `prompt` '': as the adapters say; '' elsewhere: not said."""

    base: Path
    adapters: Mapping[Role, Path]
    prompt: str = ""
    name: str = ""
    description: str = ""
    licence: str = ""
    copy_base: bool = False


def make(parts: Parts, folder: Path) -> list[str]:
    """Write the bundle `folder` and return what is worth knowing of it.

    Raises ModelError where an adapter does not fit the base or says it is another role's,
    InputError where no prompt profile is known, OutputError if the folder is there already.
    """
    if folder.exists() or not folder.parent.is_dir():
        said = "is there already" if folder.exists() else "lies in no folder"
        raise OutputError(f"{folder}: {said}", hint="give the name of a new folder")
    headers = _checked(parts)
    profile = prompts.profile(parts.prompt or _noted_prompt(headers))
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            made = Path(temporary) / "bundle"
            made.mkdir()
            for role, path in parts.adapters.items():
                shutil.copyfile(path, made / f"{role}.gguf")
            if parts.copy_base:
                shutil.copyfile(parts.base, made / "base.gguf")
            text = _toml(parts, folder, profile.name, headers, made)
            (made / FILE).write_text(text, encoding="utf-8")
            os.replace(made, folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror or error})",
            hint="free some space or give another folder",
        ) from error
    return [*_told(parts, profile.name)]


def _checked(parts: Parts) -> dict[Role, Header]:
    base = read_header(parts.base)
    check_base(base)
    headers = {}
    for role, path in parts.adapters.items():
        headers[role] = read_header(path)
        check_adapter(headers[role], base)
        noted = headers[role].metadata.get("lorid.role", role.value)
        if noted != role.value:
            raise ModelError(
                f"{path}: is the adapter of {noted}, given as that of {role}",
                hint=f"give it as --{noted}" if noted in list(Role) else "check the files",
            )
    return headers


def _noted_prompt(headers: Mapping[Role, Header]) -> str:
    noted = {str(header.metadata.get("lorid.prompt", "")) for header in headers.values()} - {""}
    if len(noted) == 1:
        return noted.pop()
    said = f"the adapters name {', '.join(sorted(noted))}" if noted else "the adapters name none"
    raise InputError(
        f"no --prompt was given, and {said}",
        hint=f"--prompt with one of {', '.join(prompts.PROFILES)}",
    )


def _toml(
    parts: Parts, folder: Path, profile: str, headers: Mapping[Role, Header], made: Path
) -> str:
    licence = parts.licence or _noted_licence(headers)
    top = {
        "name": parts.name or folder.name,
        "description": parts.description or f"{parts.base.name} with three adapters",
        "licence": licence or "unknown",
        "trained": "see the adapters' own cards",
    }
    base = "base.gguf" if parts.copy_base else str(parts.base.resolve())
    tables: dict[str, dict[str, Any]] = {
        "base": {"path": base, "sha256": sha256(parts.base)},
        "loop": _changed(_loop(profile), LoopSettings()),
    }
    for role in Role:
        settings = _role(role, profile, made / f"{role}.gguf" if role in headers else None)
        tables[f"roles.{role}"] = _changed(settings, None)
    return "\n".join(_lines(top, tables))


def _loop(profile: str) -> LoopSettings:
    if profile in prompts.AUTHORS:
        return LoopSettings(rounds=AUTHORS_ROUNDS, protocol="pooled")
    return LoopSettings()


def _role(role: Role, profile: str, adapter: Path | None) -> RoleSettings:
    own: dict[str, Any] = {}
    if adapter:
        own = {"adapter": adapter.name, "sha256": sha256(adapter)}
    if profile in prompts.AUTHORS:
        return RoleSettings(profile, AUTHORS_TOKENS, **own, **AUTHORS_SAMPLING)
    return RoleSettings(profile, MAX_TOKENS[role], **own, calculator=role in CALCULATED)


def _changed(settings: Any, default: Any) -> dict[str, Any]:
    """Return the settings that are not those of the dataclass itself."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    if default is None:
        return {f.name: values[f.name] for f in fields(settings) if values[f.name] != f.default}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def _lines(top: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for key, value in top.items():
        yield f"{key} = {_value(value)}"
    for name, table in tables.items():
        if table:
            yield f"\n[{name}]"
        for key, value in table.items():
            yield f"{key} = {_value(value)}"
    yield ""


def _value(value: Any) -> str:
    # a JSON string is a TOML string, but for DEL
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _noted_licence(headers: Mapping[Role, Header]) -> str:
    noted = {str(header.metadata.get("general.license", "")) for header in headers.values()}
    return " and ".join(sorted(noted - {""}))


def _told(parts: Parts, profile: str) -> Iterator[str]:
    yield f"prompts {profile}"
    for role in Role:
        if role not in parts.adapters:
            yield f"no adapter for {role}: the bare base answers there"
    if not parts.copy_base:
        yield f"the base stays at {parts.base.resolve()}; --copy-base makes a folder that can move"
