"""A GGUF model that is split into files NAME-00001-of-00003.gguf (llama.cpp's gguf-split)."""

import re
from collections.abc import Collection
from pathlib import Path

from lorid_local.errors import ModelError

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


def siblings(name: str) -> list[str]:
    """Return the names of all parts that belong to `name`, in order; [name] if it is whole."""
    match = _PART.fullmatch(name)
    if not match:
        return [name]
    count = int(match[3])
    return [f"{match[1]}-{n:05d}-of-{count:05d}.gguf" for n in range(1, count + 1)]


def files(path: Path) -> list[Path]:
    """Return the files there are of the model whose first, or only, file is `path`."""
    return [file for name in siblings(path.name) if (file := path.with_name(name)).is_file()]


def check(path: Path) -> None:
    """Raise ModelError unless `path` is a whole model or the first of parts that are all there."""
    names = siblings(path.name)
    if names[0] != path.name:
        raise ModelError(
            f"{path}: one part of a model that is split into {len(names)}",
            hint=f"give the first part: {path.with_name(names[0])}",
        )
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing and path.is_file():
        raise ModelError(
            f"{path}: the model is split into {len(names)} parts, and here is no "
            + ", ".join(missing),
            hint="put all parts into one folder",
        )


def first_of(names: Collection[str]) -> list[str]:
    """Return those of `names` that are whole models or the first part of one."""
    return [name for name in names if siblings(name)[0] == name]
