"""Finds PEFT folders: a path, a repository in the Hugging Face cache, one of several in a folder.

Reads the file system only: nothing is downloaded.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from lorid_convert import peft_config
from lorid_local.engine import Role
from lorid_local.errors import ModelError, did_you_mean

_REPOSITORY = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:@(?P<revision>[\w.-]+))?")
_ROLE = re.compile(r"(?:.*[-_.])?(?P<role>ir|kg|dr)", re.I)
MOST = 10_000  # folders that are looked through for adapters


def find(given: str, adapter: str = "") -> Path:
    """Return the folder of the adapter that `given` and `adapter` name.

    `given` is a folder or a repository (owner/name, owner/name@revision) in the Hugging Face
    cache; `adapter` is one of the folders in it. Raises ModelError if there is none, or several.
    """
    folder = _folder(given)
    if adapter:
        return _named(folder, adapter)
    if _holds_adapter(folder):
        return folder
    inside = sorted(_adapters_in(folder))
    if len(inside) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in inside)
        raise ModelError(
            f"{folder}: holds several adapters: {names}",
            hint=f"lorid convert {given} --adapter {inside[0].relative_to(folder)}, or --all for "
            "those of the three roles",
        )
    return inside[0] if inside else folder  # without an adapter, its reader says what is missing


def roles(given: str) -> dict[Role, Path]:
    """Return the three roles' adapters of a set.

    They are folders in `given` that are called ir, kg and dr, or end so behind a '-', '_' or
    '.', or repositories whose names go on so, as LoRID-Math/GSM8K-Mistral-7B does. Raises
    ModelError if one is missing or there are two.
    """
    found: dict[Role, Path] = {}
    for path, name in _candidates(given):
        match = _ROLE.fullmatch(name)
        if not match:
            continue
        role = Role(match["role"].lower())
        if role in found:
            raise ModelError(
                f"{given}: two adapters for {role}: {found[role]} and {path}",
                hint="convert each by itself, with --role and --outfile",
            )
        found[role] = path
    if missing := [role.value for role in Role if role not in found]:
        raise ModelError(
            f"{given}: has no adapter for {', '.join(missing)}",
            hint="call the folders ir, kg and dr, or let their names end in -ir, -kg and -dr",
        )
    return {role: found[role] for role in Role}


def _candidates(given: str) -> Iterator[tuple[Path, str]]:
    """Yield adapters with the name that may tell their role."""
    if Path(given).is_dir():
        for path in sorted(_adapters_in(Path(given))):
            yield path, path.parent.name if path.name == "adapter" else path.name
        return
    for role in Role:
        names = (f"{given}-{role.value.upper()}", f"{given}-{role.value}")
        for cached in islice(filter(None, map(_cached, names)), 1):
            yield cached, role.value


def _folder(given: str) -> Path:
    path = Path(given)
    if path.is_dir() or not _REPOSITORY.fullmatch(given):
        return path
    cached = _cached(given)
    if cached is None and not path.exists():
        raise ModelError(
            f"{given}: neither a folder nor a repository in the Hugging Face cache ({_cache()})",
            hint=f"hf download {given.partition('@')[0]}",
        )
    return cached or path


def _cached(given: str) -> Path | None:
    """Return the snapshot of a repository, or None if it is not in the cache."""
    match = _REPOSITORY.fullmatch(given)
    if not match:
        return None
    home = _cache() / f"models--{match['owner']}--{match['name']}"
    revision = match["revision"] or "main"
    with suppress(OSError, UnicodeDecodeError):  # it may be a commit itself
        revision = (home / "refs" / revision).read_text(encoding="utf-8").strip()
    # a name and never a path: it comes from a file
    snapshot = home / "snapshots" / Path(revision).name
    return snapshot if revision and snapshot.is_dir() else None


def _cache() -> Path:
    """Return where huggingface_hub keeps repositories (huggingface_hub/constants.py)."""
    if chosen := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(chosen).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    home = os.environ.get("HF_HOME") or caches / "huggingface"
    return Path(home).expanduser() / "hub"


def _named(folder: Path, adapter: str) -> Path:
    inside = {str(path.relative_to(folder)): path for path in sorted(_adapters_in(folder))}
    if adapter not in inside:
        raise ModelError(
            f"{folder}: holds no adapter {adapter!r}{did_you_mean(adapter, inside)}",
            hint=f"it holds: {', '.join(inside) or 'none'}",
        )
    return inside[adapter]


def _holds_adapter(folder: Path) -> bool:
    return (folder / peft_config.FILE).exists()


def _adapters_in(folder: Path) -> Iterator[Path]:
    """Yield the adapters one or two folders below, such as ir and run-ir/adapter."""
    seen = 0
    for pattern in ("*", "*/*"):
        for path in folder.glob(pattern):
            seen += 1
            if seen > MOST:
                return
            if _holds_adapter(path):
                yield path
