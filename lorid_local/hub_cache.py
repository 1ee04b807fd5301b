"""Finds a data set's file in the Hugging Face cache, in place and without the network."""

import os
from pathlib import Path

from lorid_local.errors import InputError

SUFFIXES = (".jsonl", ".json")
PREFERRED = ("test", "validation", "train")  # splits, where a data set has several files


def folder() -> Path:
    """Return the cache's folder, as huggingface_hub finds it."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def find(name: str) -> Path:
    """Return the file of a data set `OWNER/NAME` or `OWNER/NAME:FILE` that the cache holds.

    Without FILE, the first .jsonl or .json with a split's name in it, test before train. Raises
    InputError with the command that fetches it.
    """
    repository, _, wanted = name.partition(":")
    if repository.count("/") != 1 or repository.startswith((".", "/", "~")):
        raise InputError(
            f"{name}: no such file", hint="give a .jsonl file, practice: or a hub id OWNER/NAME"
        )
    snapshots = folder() / f"datasets--{repository.replace('/', '--')}" / "snapshots"
    files = [f for f in sorted(snapshots.glob("*/**/*")) if f.suffix in SUFFIXES and f.is_file()]
    if wanted:
        files = [f for f in files if f.as_posix().endswith("/" + wanted)]
    ranked = sorted(files, key=_rank)
    if not ranked:
        raise InputError(
            f"{name}: no file, and the Hugging Face cache ({folder()}) holds no .jsonl or .json "
            "of it",
            hint=f"hf download --repo-type dataset {repository}, or give a .jsonl file",
        )
    return ranked[0]


def _rank(path: Path) -> tuple[int, str]:
    rank = next((i for i, split in enumerate(PREFERRED) if split in path.stem), len(PREFERRED))
    return rank, path.as_posix()
