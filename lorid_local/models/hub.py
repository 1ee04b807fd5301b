"""Pulls files from the Hugging Face Hub into its own cache. The only importer of huggingface_hub.

hf_hub_download starts over after a kill (its part file has a new name each time), and checks no
checksum. Here the part file keeps its name, so that a pull goes on where it was cut off; size and
SHA-256 are checked, and only then the file takes its place in the cache. HF_HOME, HF_TOKEN,
HF_ENDPOINT, HF_HUB_OFFLINE and proxies are huggingface_hub's affair.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lorid_local.base import sha256
from lorid_local.errors import LoridError, MissingExtra, ModelError, OutputError
from lorid_local.models.shelf import Part

try:
    import httpx2
    from huggingface_hub import HfApi, constants, errors, hf_hub_download, hf_hub_url
    from huggingface_hub.file_download import (
        HfFileMetadata,
        get_hf_file_metadata,
        http_get,
        repo_folder_name,
    )
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported lazily
        WeakFileLock,
        build_hf_headers,
    )
except ImportError:
    raise MissingExtra(
        "`lorid models pull` needs the package huggingface_hub",
        hint="pip install 'lorid-local[models]'",
    ) from None

SHA256 = re.compile(r"[0-9a-f]{64}")
AGAIN = "run the same command again: it goes on where it was cut off"


@dataclass(frozen=True)
class Fetched:
    """A file in the hub's cache, and the commit of the repository that it is from."""

    part: Part
    commit: str


def files(repo: str) -> list[str]:
    """Return the names of a repository's files; raises LoridError."""
    with translated(repo):
        found = HfApi().model_info(repo).siblings or []
        return [file.rfilename for file in found]


def fetch(repo: str, file: str) -> Fetched:
    """Bring a file into the cache, if it is not there, and check it; raises LoridError."""
    with translated(repo, file):
        meta = get_hf_file_metadata(hf_hub_url(repo, file))
        if meta.etag is None or meta.commit_hash is None or meta.size is None:
            raise ModelError(
                f"{repo}: the hub does not tell size and checksum of {file}",
                hint="see whether HF_ENDPOINT is a hub",
            )
        blob = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
        blob = blob / "blobs" / meta.etag
        if not blob.exists():
            lock = Path(constants.HF_HUB_CACHE) / ".locks" / blob.parent.parent.name
            lock.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock / f"{meta.etag}.lock"):
                _download(repo, file, meta, blob)
        path = Path(hf_hub_download(repo, file))  # what is left to do: its link to the blob
    known = meta.etag if SHA256.fullmatch(meta.etag) else sha256(path)
    return Fetched(Part(str(path), path.stat().st_size, known), meta.commit_hash)


def _download(repo: str, file: str, meta: HfFileMetadata, blob: Path) -> None:
    if blob.exists():  # another process was quicker
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    part = blob.with_name(f"{meta.etag}.lorid-part")
    done = part.stat().st_size if part.exists() else 0
    size = meta.size or 0
    if done > size:  # not of this file
        part.unlink()
        done = 0
    _check_room(file, size - done, blob.parent)
    headers = build_hf_headers()
    if urlsplit(meta.location).netloc != urlsplit(hf_hub_url(repo, file)).netloc:
        headers.pop("authorization", None)  # the key is the hub's, not its storage's
    with open(part, "ab") as target:
        http_get(
            meta.location,
            target,
            resume_size=done,
            headers=headers,
            expected_size=size,
            displayed_filename=file,
        )
    _check_sum(file, meta.etag or "", part)
    os.replace(part, blob)


def _check_room(file: str, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{file}: {needed / 1e6:.0f} MB are needed, and {free / 1e6:.0f} MB are free in "
            f"{folder}",
            hint="free some space, or set HF_HOME to a folder on another disk",
        )


def _check_sum(file: str, etag: str, part: Path) -> None:
    if SHA256.fullmatch(etag) and (found := sha256(part)) != etag:
        part.unlink()
        raise ModelError(
            f"{file}: what came is not the file: its SHA-256 begins with {found[:12]}, the hub "
            f"says {etag[:12]}",
            hint="run the same command again: what came was removed",
        )


def delete(repo: str, revision: str) -> None:
    """Delete from the cache what it holds of a repository at `revision`."""
    from huggingface_hub import scan_cache_dir

    try:
        cache = scan_cache_dir()
    except errors.CacheNotFound:
        return
    held = {
        r.commit_hash for repo_ in cache.repos if repo_.repo_id == repo for r in repo_.revisions
    }
    if revision in held:
        cache.delete_revisions(revision).execute()


@contextmanager
def translated(repo: str, file: str = "") -> Iterator[None]:
    """Turn the hub's failures into LoridErrors."""
    try:
        yield
    except LoridError:
        raise
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise _meant(error, repo, file) from None


def _meant(error: Any, repo: str, file: str) -> LoridError:
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ModelError(
            "HF_HUB_OFFLINE is set, so nothing is pulled", hint="unset HF_HUB_OFFLINE"
        )
    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{repo}: its owner grants access to it",
            hint=f"ask for it at {constants.ENDPOINT}/{repo}, and set HF_TOKEN to your token",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelError(
            f"{repo}: the hub has no such repository, or none that you may see",
            hint="check the name; for a private one set HF_TOKEN",
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return ModelError(f"{repo}: has no file {file}", hint=f"lorid models pull {repo}")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else "an error"
        return ModelError(f"{repo}: the hub answered {status}", hint=AGAIN)
    if isinstance(error, errors.HFValidationError):
        return ModelError(f"{repo}: no name of a repository", hint="OWNER/REPO")
    if isinstance(error, OSError) and "Consistency check failed" in str(error):
        return ModelError(f"{file}: the hub sent another size than it told", hint=AGAIN)
    reason = (
        getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    )
    return ModelError(f"{repo}: cannot be pulled ({reason})", hint=AGAIN)
