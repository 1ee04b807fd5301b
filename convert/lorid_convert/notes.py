"""What a converted file says of itself, beside its tensors. Knows keys, not how they are stored."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorid_convert.fingerprint import fingerprint
from lorid_local import __version__
from lorid_local.base import sha256
from lorid_local.gguf_header import Header

# no path of the trainer's machine goes into the file
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
HASHED = 1 << 30  # bytes; a larger base takes long to read, so its SHA-256 is asked for
_LICENCE = re.compile(r"^---\n(?:.*\n)*?license:[ \t]*([\w.+-]{1,60})[ \t]*\n(?:.*\n)*?---")
_FRONT = 10_000  # characters of a README.md that are read for its licence
# what vLLM's --max-lora-rank can be (vllm/config/lora.py)
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True)
class Notes:
    """What the user says of an adapter; '' is left out.

    The licence is otherwise read from the folder's README.md. `hash_base` None: the base's
    SHA-256 is noted if it is no larger than a GiB.
    """

    role: str = ""
    prompt: str = ""
    licence: str = ""
    hash_base: bool | None = None


def metadata(
    notes: Notes, *, name: str, alpha: float, base: Header, base_name: str, files: Sequence[Path]
) -> dict[str, str | float]:
    """Return the keys of a file that was made from `files` for `base`.

    `base_name` is what PEFT calls the base. Raises ModelError if a file cannot be read.
    """
    texts = {
        "general.license": notes.licence or _licence(files[0].parent),
        "lorid.role": notes.role,
        "lorid.prompt": notes.prompt,
        "lorid.trained_on": base_name if _REPOSITORY.fullmatch(base_name) else "",
        "lorid.base_sha256": sha256(base.path) if _is_hashed(notes, base) else "",
    }
    known: dict[str, str | float] = {
        "adapter.lora.alpha": alpha,
        "general.name": name,
        "lorid.version": __version__,
        "lorid.base_fingerprint": fingerprint(base),
        "lorid.source_sha256": _of_all(files),
    }
    return known | {key: text for key, text in texts.items() if text}


def vllm_rank(rank: int) -> int | None:
    """Return the smallest --max-lora-rank with which vLLM serves `rank`; None: it cannot."""
    return next((limit for limit in VLLM_RANKS if limit >= rank), None)


def _is_hashed(notes: Notes, base: Header) -> bool:
    if notes.hash_base is None:
        return base.path.stat().st_size <= HASHED
    return notes.hash_base


def _of_all(files: Sequence[Path]) -> str:
    """Return a file's SHA-256, or of several that of their SHA-256s in hex, joined."""
    hashes = [sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _licence(folder: Path) -> str:
    """Return the licence that a model card's front matter names, or ''."""
    try:
        with open(folder / "README.md", encoding="utf-8") as file:
            match = _LICENCE.match(file.read(_FRONT))
    except (OSError, UnicodeDecodeError):
        return ""
    return match[1] if match else ""
