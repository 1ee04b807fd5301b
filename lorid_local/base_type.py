"""A base in another representation: written once by llama.cpp, kept in the user's cache.

llama.cpp works in a process of its own: Ctrl-C ends it at once, its aborts do not end lorid,
and its buffers go with it. The name of a cached file carries a checksum of its header and
length, so that finding it parses and hashes no model. Damage inside the weights that leaves
the length is not noticed then; the name also tells a part of the file's SHA-256, for `proven`.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NoReturn, get_args

from lorid_local import base, child
from lorid_local.cores import usable_cores
from lorid_local.errors import EXIT_MODEL, EngineError, LoridError, ModelError, OutputError
from lorid_local.gguf_check import check_base
from lorid_local.gguf_header import BLOCKS, Header, TensorInfo, read_header
from lorid_local.user_folders import user_folder
from lorid_local.whole_file import sync

BaseType = Literal["as-shipped", "q8_0", "q4_0", "iq4_nl"]
BASE_TYPES: tuple[BaseType, ...] = get_args(BaseType)
Say = Callable[[str], None]

TENSOR_TYPES = {"q4_0": 2, "q8_0": 8, "iq4_nl": 20}  # ggml.h
BLOCK = 32  # elements; a row that is no multiple of it is left in a type without blocks
FORMAT = 1  # of the cached files: raise it when what is written for a name changes
STALE = 3600  # seconds after which a temporary file has no process that writes it
SPARE = 1.02  # llama.cpp writes some matrices finer than asked, for iq4_nl
PROBE = 1 << 20  # bytes
DIGITS = 16  # of a SHA-256 in a file's name
SEAL = re.compile(rf"(([0-9a-f]{{1,7}})-[0-9a-f]{{8}})(?:-([0-9a-f]{{{DIGITS}}}))?")
AS_SHIPPED = "run with --base-type as-shipped"
MAKE_ROOM = f"free some space, set XDG_CACHE_HOME to another folder, or {AS_SHIPPED}"


def derived(source: Path, base_type: BaseType, *, sha256: str = "", say: Say | None = None) -> Path:
    """Return the base `source` as `base_type`: `source` itself, or a file of the cache.

    The file is written if it is not there. `sha256` is the source's in hex; without it the
    source is read whole, every time. `say` is told a line before a file is written and when one
    was damaged. Raises ModelError if the source is damaged or cannot be requantized, OutputError
    if the cache cannot hold the result; nothing half-written is left then, nor after Ctrl-C.
    """
    if base_type == "as-shipped":
        return source
    if not sha256:
        if _mostly(read_header(source), base_type):
            return source
        sha256 = base.sha256(source)
    folder, stem = cache_folder(), f"{sha256[:16].lower()}-{base_type}-v{FORMAT}"
    cached = _cached(folder, stem, say)
    if cached:
        return cached
    header = read_header(source)
    if _mostly(header, base_type):
        return source
    _check_source(header, base_type)
    return _written(header, base_type, folder, stem, say)


def cache_folder(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Return the folder of derived bases; raises OutputError if no home folder is known.

    A relative XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification demands.
    """
    inside = {"darwin": "Library/Caches", "win32": "AppData/Local"}.get(platform, ".cache")
    found = user_folder("XDG_CACHE_HOME", inside, environ=environ, platform=platform)
    if found is None:
        raise OutputError(
            "no home folder is known, so there is no cache for the base",
            hint=f"set XDG_CACHE_HOME to a folder, or {AS_SHIPPED}",
        )
    return found / "bases"


def _cached(folder: Path, stem: str, say: Say | None) -> Path | None:
    """Return the whole file of that stem; a damaged one is told of, and replaced by the next."""
    with suppress(OSError):  # a folder that cannot be read holds nothing; writing tells why
        for path in sorted(folder.glob(f"{stem}-*.gguf")):
            if _is_whole(path, stem):
                return path
            _tell(say, f"{path}: damaged, so it is written anew")
    return None


def _is_whole(path: Path, stem: str) -> bool:
    told = SEAL.fullmatch(path.stem.removeprefix(f"{stem}-"))
    return told is not None and _seal(path, int(told[2], 16)) == told[1]


def proven(path: Path) -> bool:
    """Read a file that `derived` returned whole: True if its SHA-256 is the one in its name.

    False if the name tells none: the source itself, or a file that an older lorid wrote. Raises
    ModelError if it is another one.
    """
    told = SEAL.fullmatch(path.stem.rpartition(f"-v{FORMAT}-")[2])
    if not told or not told[3]:
        return False
    if (found := base.sha256(path)[:DIGITS]) != told[3]:
        raise ModelError(
            f"{path}: damaged: its SHA-256 begins with {found}, expected {told[3]}",
            hint="delete that file: the next solve writes it anew",
        )
    return True


def _seal(path: Path, header_bytes: int) -> str:
    """Return the header's length and a checksum of the header and of the file's length."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        checksum = zlib.crc32(f"{size}".encode(), zlib.crc32(file.read(header_bytes)))
    return f"{header_bytes:x}-{checksum:08x}"


def _tell(say: Say | None, line: str) -> None:
    if say:
        say(line)


def _matrices(header: Header) -> list[TensorInfo]:
    """Return the weights of the blocks' linear layers (all experts' where there are some)."""
    found = header.tensors.values()
    return [t for t in found if t.name.startswith("blk.") and len(t.shape) > 1]


def _elements(tensor: TensorInfo) -> int:
    block, size = BLOCKS[tensor.type]
    return tensor.nbytes // size * block


def _most(header: Header, chosen: Callable[[TensorInfo], bool]) -> bool:
    """True if more than half of the elements of the blocks' matrices are in the chosen ones."""
    matrices = _matrices(header)
    return 2 * sum(_elements(t) for t in matrices if chosen(t)) > sum(map(_elements, matrices))


def _mostly(header: Header, base_type: BaseType) -> bool:
    return _most(header, lambda t: t.type == TENSOR_TYPES[base_type])


def _fits_blocks(tensor: TensorInfo) -> bool:
    return len(tensor.shape) > 1 and tensor.shape[-1] % BLOCK == 0


def _check_source(header: Header, base_type: BaseType) -> None:
    """Raise ModelError for what llama.cpp would turn into nothing of use."""
    check_base(header)
    parts = header.metadata.get("split.count", 1)
    if parts != 1:
        raise ModelError(
            f"{header.path}: one of {parts} files of a split model; {base_type} is derived "
            "from one file",
            hint=f"join them with llama.cpp's llama-gguf-split --merge, or {AS_SHIPPED}",
        )
    if not _most(header, _fits_blocks):
        raise ModelError(
            f"{header.path}: cannot be derived as {base_type}: most of its weights have rows "
            f"that are no multiple of {BLOCK} elements",
            hint=AS_SHIPPED,
        )


def _bytes_needed(header: Header, base_type: BaseType) -> int:
    """Return an estimate of the derived file's length, rather too large than too small."""
    total = header.data_start
    for tensor in header.tensors.values():
        kind = base_type if tensor.name.startswith("blk.") else "q8_0"  # embeddings stay fine
        block, size = BLOCKS[TENSOR_TYPES[kind]]
        fits = _fits_blocks(tensor)
        total += _elements(tensor) // block * size if fits else tensor.nbytes
    return int(total * SPARE)


def _written(source: Header, base_type: BaseType, folder: Path, stem: str, say: Say | None) -> Path:
    """Write, check and only then name the file; raises OutputError, ModelError."""
    needed = _bytes_needed(source, base_type)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        if shutil.disk_usage(folder).free < needed:
            raise _no_room(folder, base_type, needed, "too little room")
        _tell(say, f"writing the base as {base_type}, once: at most {_mb(needed)} in {folder}")
        with _temporary(folder, stem) as part:
            _requantize(source.path, part, base_type)
            header = _checked(part, source, base_type)
            sync(part)
            seal = f"{_seal(part, header.data_start)}-{base.sha256(part)[:DIGITS]}"
            path = folder / f"{stem}-{seal}.gguf"
            _put_in_place(part, path, stem)
    except OSError as error:
        raise _no_room(folder, base_type, needed, error.strerror or str(error)) from None
    return path


def _no_room(folder: Path, base_type: BaseType, needed: int, reason: str) -> OutputError:
    free = ""
    with suppress(OSError):  # the folder may not be there
        free = f", {_mb(shutil.disk_usage(folder).free)} are free"
    return OutputError(
        f"{folder}: cannot hold the base as {base_type} ({reason}): {_mb(needed)} are needed{free}",
        hint=MAKE_ROOM,
    )


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _remove_stale(folder: Path) -> None:
    """Remove what processes that were killed left half-written."""
    for path in folder.glob(".*.part"):
        with suppress(OSError):  # another process may be as far as this one
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def _put_in_place(part: Path, path: Path, stem: str) -> None:
    """Rename `part` to `path`, and remove what is damaged and bears another name."""
    # another process may have been first: Windows replaces no file that is in use
    if not (path.exists() and _is_whole(path, stem)):
        os.replace(part, path)
    with suppress(OSError):  # a folder cannot be synced everywhere; the file already is
        sync(path.parent)
        for other in path.parent.glob(f"{stem}-*.gguf"):
            if not _is_whole(other, stem):
                other.unlink()


@contextmanager
def _temporary(folder: Path, stem: str) -> Iterator[Path]:
    """Give an empty file that no other process has; it is gone afterwards, unless renamed."""
    descriptor, name = tempfile.mkstemp(".part", f".{stem}.", folder)
    try:
        os.close(descriptor)
        yield Path(name)
    finally:
        with suppress(OSError):
            os.unlink(name)


def _checked(part: Path, source: Header, base_type: BaseType) -> Header:
    """Return the header; raises OutputError unless `part` holds the source's tensors, whole."""
    try:
        written = read_header(part)
        fault = _fault(written, source, base_type)
    except ModelError:
        fault = "its header cannot be read back"
    if not fault:
        return written
    _probe(part)
    raise OutputError(
        f"{part.parent}: the base as {base_type} was not written rightly, so it was removed: "
        f"{fault}",
        hint=f"check the disk and run again, or {AS_SHIPPED}",
    )


def _fault(written: Header, source: Header, base_type: BaseType) -> str:
    if _shapes(written) != _shapes(source):
        return "its tensors are not the source's"
    alignment = written.metadata.get("general.alignment", BLOCK)
    end = max(t.offset + t.nbytes for t in written.tensors.values())
    expected = written.data_start - (-end // alignment * alignment)
    size = written.path.stat().st_size
    if size != expected:
        return f"it has {size} bytes, expected {expected}"
    coarser = [t.name for t in _matrices(written) if _bits(t.type) < _bits(TENSOR_TYPES[base_type])]
    if coarser or not _mostly(written, base_type):
        return f"its weights are not of type {base_type}"
    return ""


def _shapes(header: Header) -> dict[str, tuple[int, ...]]:
    # llama.cpp drops dimensions of 1
    return {t.name: tuple(n for n in t.shape if n != 1) for t in header.tensors.values()}


def _bits(tensor_type: int) -> float:
    block, size = BLOCKS[tensor_type]
    return 8 * size / block


def _probe(part: Path) -> None:
    """Raise the OSError that keeps `part` from growing, if one does: llama.cpp does not tell."""
    with open(part, "ab") as file:
        file.write(bytes(PROBE))
        file.flush()
        os.fsync(file.fileno())


def _requantize(source: Path, part: Path, base_type: BaseType) -> None:
    """Let llama.cpp fill `part`, in another process that ends when this one does."""
    arguments = (str(source), str(part), base_type, str(usable_cores()))
    alive, kept = os.pipe()
    try:
        # in a session of its own Ctrl-C reaches this process alone, which ends that one or not
        ran = subprocess.run(
            child.command("lorid_local.base_type", *arguments), stdin=alive, capture_output=True,
            env=child.environment(), start_new_session=True, check=False,
        )  # fmt: skip
    except OSError as error:
        raise EngineError(
            f"{sys.executable or 'Python'}: cannot be run to derive the base as {base_type} "
            f"({error.strerror})",
            hint=AS_SHIPPED,
        ) from None
    finally:
        os.close(alive)
        os.close(kept)
    if ran.returncode == 0:
        return
    _probe(part)
    if ran.returncode == EXIT_MODEL:
        raise ModelError(ran.stdout.decode("utf-8", "surrogateescape"), hint=AS_SHIPPED)
    last = (ran.stderr.decode("utf-8", "replace").strip().splitlines() or [""])[-1]
    raise ModelError(
        f"{source}: llama.cpp broke off writing this model as {base_type} "
        f"(code {ran.returncode}: {last or 'it gave no reason'})",
        hint=AS_SHIPPED,
    )


def _child(source: str, part: str, base_type: str, threads: str) -> None:
    """What the other process does; its standard input closes when its parent ends."""
    threading.Thread(target=_end_with_parent, args=(part,), daemon=True).start()
    from lorid_local.llama_native import quantize  # a cached file costs no llama.cpp

    try:
        quantize(Path(source), Path(part), base_type, int(threads))
    except LoridError as error:
        sys.stdout.buffer.write(error.message.encode("utf-8", "surrogateescape"))
        sys.exit(EXIT_MODEL)


def _end_with_parent(part: str) -> NoReturn:
    os.read(0, 1)
    with suppress(OSError):
        os.unlink(part)
    os._exit(1)


if __name__ == "__main__":
    _child(*sys.argv[1:])
