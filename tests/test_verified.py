"""What was found of files is remembered while they are the same, and never longer."""

import hashlib
import os
from pathlib import Path

import pytest

from lorid_local import base, verified
from lorid_local.errors import ModelError
from lorid_local.verified import Claim, sha256

LONG_AGO = 1_600_000_000
reads: list[Path] = []


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count what is read whole, and let the files of this test be old: times cannot be set back
    for a change of the inode itself."""
    reads.clear()
    whole = base.sha256

    def read(path: Path) -> str:
        reads.append(path)
        return whole(path)

    monkeypatch.setattr(base, "sha256", read)
    monkeypatch.setattr(verified, "SETTLED", -1.0)


def written(path: Path, data: bytes, when: int = LONG_AGO) -> str:
    path.write_bytes(data)
    os.utime(path, (when, when))
    return hashlib.sha256(data).hexdigest()


def test_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    first, second = tmp_path / "a.gguf", tmp_path / "b.gguf"
    expected = [written(first, b"one"), written(second, b"two")]
    for _ in range(3):
        assert [sha256(first), sha256(second)] == expected
    assert reads == [first, second]


@pytest.mark.parametrize("change", ["data", "length", "replaced", "touched"])
def test_a_changed_file_is_read_again(tmp_path: Path, change: str) -> None:
    path, other = tmp_path / "a.gguf", tmp_path / "other"
    digest = written(path, b"one")
    assert sha256(path) == digest
    if change == "touched":
        os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
    elif change == "replaced":  # same length, same time of writing
        digest = written(other, b"two")
        os.replace(other, path)
    else:  # in place, and the time of writing set back
        digest = written(path, b"two" if change == "data" else b"three")
    assert sha256(path) == digest
    assert reads == [path, path]


def test_a_file_written_a_moment_ago_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified, "SETTLED", 3600.0)
    path = tmp_path / "a.gguf"
    digest = written(path, b"one")
    assert [sha256(path), sha256(path)] == [digest, digest]
    assert reads == [path, path]


def test_a_damaged_note_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    digest = written(path, b"one")
    sha256(path)
    (note,) = (tmp_path / "home/cache/lorid/verified").iterdir()
    whole = note.read_bytes()
    for damage in (b"", whole[:-20], whole.replace(digest.encode(), b"z" * 64), b"\xff"):
        note.write_bytes(damage)
        assert sha256(path) == digest
        assert note.read_bytes() == whole
    assert len(reads) == 5


def test_without_a_cache_every_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/file")
    path = tmp_path / "a.gguf"
    digest = written(path, b"one")
    assert [sha256(path), sha256(path)] == [digest, digest]
    assert reads == [path, path]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        sha256(tmp_path / "a.gguf")
    assert raised.value.message == (
        f"{tmp_path}/a.gguf: cannot be read (No such file or directory)"
    )


def test_a_claim_holds_for_the_same_files_and_circumstances(tmp_path: Path) -> None:
    one, two = tmp_path / "a.gguf", tmp_path / "b.gguf"
    written(one, b"one"), written(two, b"two")
    claim = Claim([one, two], b"here")
    assert not claim.holds()
    claim.remember()
    assert claim.holds() and Claim([one, two], b"here").holds()
    for files, about in (([one, two], b"there"), ([two, one], b"here"), ([one], b"here")):
        assert not Claim(files, about).holds()
    written(two, b"six")
    assert not Claim([one, two], b"here").holds()
    assert sha256(one) == hashlib.sha256(b"one").hexdigest()  # notes do not mix


def test_a_claim_of_files_that_changed_meanwhile_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gguf"
    written(path, b"one")
    before = Claim([path], b"")
    written(path, b"two")
    before.remember()
    missing = Claim([tmp_path / "none.gguf"], b"")
    missing.remember()
    monkeypatch.setattr(verified, "SETTLED", 3600.0)
    young = Claim([path], b"")
    young.remember()
    assert not any(claim.holds() for claim in (before, missing, young, Claim([path], b"")))
    monkeypatch.setattr(verified, "SETTLED", -1.0)
    young.remember()
    assert young.holds()


def test_without_a_cache_no_claim_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/file")
    claim = Claim([tmp_path / "file"], b"")
    claim.remember()
    assert not claim.holds()
