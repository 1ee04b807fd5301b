"""`lorid models` against a hub on this machine: pulled, resumed, checked, imported, removed."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorid_local import settings
from lorid_local.errors import (
    EXIT_FAILURE,
    EXIT_MODEL,
    EXIT_USAGE,
    InputError,
    LoridError,
    ModelError,
    OutputError,
    SettingsError,
)
from lorid_local.models import catalogue, hub, parts, pulling, shelf
from lorid_local.models.catalogue import Catalogue, Source
from tests.hub_server import COMMIT, PIECE, Hub
from tests.hub_server import hub as running_hub
from tests.test_cli import START, Ran, environment, lorid
from tests.tiny import tiny_llama_gguf

REPO = "someone/Tiny-GGUF"
FILE = "tiny-q4_k_m.gguf"
PEFT = "someone/GSM8K-Tiny-IR"
CHUNK = 10 << 20  # what huggingface_hub writes at once
GONE_ON = "Hint: run the same command again: it goes on where it was cut off\n"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_llama_gguf(tmp_path_factory.mktemp("hub") / "tiny.gguf").read_bytes()


@pytest.fixture
def here(weights: bytes) -> Iterator[Hub]:
    adapter = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}
    files = {FILE: weights, "tiny-q8_0.gguf": weights, "README.md": b"hello"}
    with running_hub({REPO: files, PEFT: adapter}) as held:
        yield held


def pull(held: Hub, *arguments: str, **environ: str) -> Ran:
    return lorid("models", "pull", *arguments, HF_ENDPOINT=held.url, **environ)


def cached() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "huggingface/hub"


def failed(ran: Ran, code: int, *lines: str) -> None:
    told = ran.stderr.decode()
    errors = told[told.index("Error: ") :]
    assert (ran.returncode, ran.stdout, errors) == (code, b"", "".join(lines))


def test_a_model_from_the_hub_to_an_answer(here: Hub, weights: bytes) -> None:
    ran = pull(here, REPO, "--name", "mine", HF_TOKEN="hf_secret")
    assert ran.returncode == 0, ran.stderr.decode()
    path = Path(ran.stdout.decode().strip())
    assert path.is_relative_to(cached())  # in place, no copy
    assert path.is_symlink() and path.read_bytes() == weights
    assert "Bearer hf_secret" in here.keys
    assert not list(cached().rglob("*.lorid-part"))
    told = json.loads(lorid("models", "list", "--json").stdout)
    assert told["schema"] == "lorid-models/1"
    assert told["here"] == [
        {"name": "mine", "kind": "gguf", "path": str(path), "bytes": len(weights), "repo": REPO,
         "revision": COMMIT, "licence": "", "sha256": [hashlib.sha256(weights).hexdigest()]}
    ]  # fmt: skip
    assert lorid("models", "verify", "mine").stdout == b"mine: all is well\n"
    ran = lorid("solve", "-m", "mine", "-n", "4", "-r", "1", "2 + 2")
    assert ran.returncode == 3, ran.stderr.decode()
    assert pull(here, f"{REPO}:{FILE}", "--name", "again").returncode == 0
    assert here.gets == [""]  # it was there: nothing came twice
    assert lorid("models", "remove", "again").stdout == b"again: deleted\n"
    assert path.exists()  # the other name still means it
    assert lorid("models", "remove", "mine").stdout == b"mine: deleted\n"
    assert not path.exists()


def test_a_connection_that_is_cut_is_taken_up_again(here: Hub, weights: bytes) -> None:
    here.repos[REPO][FILE] = large = weights + bytes(2 * CHUNK)
    here.cut_after = [CHUNK + 3 * PIECE]
    ran = pull(here, REPO)
    assert ran.returncode == 0, ran.stderr.decode()
    assert here.gets == ["", f"bytes={CHUNK}-"]
    assert Path(ran.stdout.decode().strip()).read_bytes() == large


def test_a_pull_that_was_killed_goes_on(here: Hub, weights: bytes) -> None:
    here.repos[REPO][FILE] = large = weights + bytes(2 * CHUNK)
    here.pause = 0.1
    env = environment() | {"HF_ENDPOINT": here.url}
    with subprocess.Popen([*START, "models", "pull", REPO], env=env,
                          stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as killed:  # fmt: skip
        ends = time.monotonic() + 60
        while not any(p.stat().st_size for p in cached().rglob("*.lorid-part")):
            if time.monotonic() > ends:
                break
            time.sleep(0.02)
        killed.kill()
    assert shelf.notes() == {}
    (part,) = cached().rglob("*.lorid-part")
    done = part.stat().st_size
    assert 0 < done < len(large)
    here.pause = 0
    ran = pull(here, REPO)
    assert ran.returncode == 0, ran.stderr.decode()
    assert here.gets == ["", f"bytes={done}-"]
    assert Path(ran.stdout.decode().strip()).read_bytes() == large


def test_a_wrong_checksum(here: Hub, weights: bytes) -> None:
    here.wrong_sum = True
    right, told = (hashlib.sha256(d).hexdigest()[:12] for d in (weights, b"other"))
    failed(
        pull(here, REPO),
        EXIT_MODEL,
        f"Error: {FILE}: what came is not the file: its SHA-256 begins with {right}, the hub says "
        f"{told}\nHint: run the same command again: what came was removed\n",
    )
    assert not list(cached().rglob("*.lorid-part")) and shelf.notes() == {}


def test_a_wrong_size(here: Hub) -> None:
    here.short = True
    failed(pull(here, REPO), EXIT_MODEL,
           f"Error: {FILE}: the hub sent another size than it told\n", GONE_ON)  # fmt: skip
    assert shelf.notes() == {}


def test_a_hub_that_tells_no_checksum(here: Hub) -> None:
    here.no_sum = True
    failed(pull(here, REPO), EXIT_MODEL,
           f"Error: {REPO}: the hub does not tell size and checksum of {FILE}\n",
           "Hint: see whether HF_ENDPOINT is a hub\n")  # fmt: skip


def test_an_offer_that_vanished(here: Hub) -> None:
    offer = catalogue.offers()["qwen2.5-1.5b"]
    failed(pull(here, offer.name), EXIT_MODEL,
           f"Error: {offer.repo}: the hub has no such repository, or none that you may see\n",
           "Hint: check the name; for a private one set HF_TOKEN\n")  # fmt: skip
    failed(pull(here, f"{REPO}:no.gguf"), EXIT_MODEL, f"Error: {REPO}: has no file no.gguf\n",
           f"Hint: lorid models pull {REPO}\n")  # fmt: skip


def test_a_repository_that_its_owner_guards(here: Hub) -> None:
    here.refuse = (403, "GatedRepo")
    failed(pull(here, REPO), EXIT_MODEL, f"Error: {REPO}: its owner grants access to it\n",
           f"Hint: ask for it at {here.url}/{REPO}, and set HF_TOKEN to your token\n")  # fmt: skip


def test_a_hub_that_is_ill_or_away(here: Hub) -> None:
    here.refuse = (418, "")
    failed(pull(here, f"{REPO}:{FILE}"), EXIT_MODEL, f"Error: {REPO}: the hub answered 418\n",
           GONE_ON)  # fmt: skip
    away = lorid("models", "pull", f"{REPO}:{FILE}", HF_ENDPOINT="http://127.0.0.1:9")
    failed(away, EXIT_MODEL,
           f"Error: {REPO}: cannot be pulled ([Errno 111] Connection refused)\n",
           GONE_ON)  # fmt: skip
    failed(pull(here, REPO, HF_HUB_OFFLINE="1"), EXIT_MODEL,
           "Error: HF_HUB_OFFLINE is set, so nothing is pulled\n",
           "Hint: unset HF_HUB_OFFLINE\n")  # fmt: skip


def test_an_adapter_of_peft_is_pulled_as_a_folder(here: Hub) -> None:
    ran = pull(here, PEFT)
    folder = Path(ran.stdout.decode().strip())
    assert {file.name for file in folder.iterdir()} == set(pulling.PEFT)
    shown = lorid("models", "show", "GSM8K-Tiny-IR").stdout.decode()
    assert shown.endswith(f"\nnext: lorid convert {folder} --base BASE.gguf --outfile ROLE.gguf\n")


def test_no_room_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as raised:
        hub._check_room("a.gguf", 10**18, tmp_path)
    assert raised.value.message.startswith("a.gguf: 1000000000000 MB are needed, and ")
    assert raised.value.message.endswith(f" MB are free in {tmp_path}")
    assert raised.value.hint == "free some space, or set HF_HOME to a folder on another disk"


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (["a.gguf", "b.txt"], ["a.gguf"]),
        (["a-Q8_0.gguf", "a-Q4_K_M.gguf", "mmproj-a.gguf"], ["a-Q4_K_M.gguf"]),
        (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"],
         ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]),
        ([*pulling.PEFT, "a.gguf"], list(pulling.PEFT)),
    ],
)  # fmt: skip
def test_which_files_of_a_repository(there: list[str], chosen: list[str]) -> None:
    assert pulling.wanted_files(Source(REPO), there) == chosen


def test_no_way_to_choose() -> None:
    for there, message, hint in (
        (["a.bin"], f"{REPO}: holds neither a GGUF model nor a PEFT adapter",
         "look for a repository whose name ends in -GGUF"),
        (["a.gguf", "b.gguf"], f"{REPO}: holds 2 GGUF models: a.gguf, b.gguf",
         f"lorid models pull {REPO}:a.gguf"),
    ):  # fmt: skip
        with pytest.raises(ModelError) as raised:
            pulling.wanted_files(Source(REPO), there)
        assert (raised.value.message, raised.value.hint) == (message, hint)


def test_the_catalogue_is_sound() -> None:
    there = catalogue.offers()
    assert {offer.laptop_gb for offer in there.values()} == set(catalogue.LAPTOPS)
    for offer in there.values():
        assert shelf.checked_name(offer.name) == offer.name
        assert offer.licence and offer.size_mb < 600 * offer.laptop_gb
        assert catalogue.source(offer.name) == Source(
            offer.repo, offer.file, offer.name, offer.licence
        )
    with pytest.raises(SettingsError):
        settings.from_table({"offers": [vars(offer) | {"laptop_gb": 5}]}, Catalogue, "x")


def test_what_to_pull() -> None:
    assert catalogue.source("a/b") == Source("a/b")
    assert catalogue.source("a/b:c/d.gguf") == Source("a/b", "c/d.gguf")
    with pytest.raises(InputError) as raised:
        catalogue.source("qwen2.5-3bb")
    assert raised.value.message == (
        "qwen2.5-3bb: no model of the catalogue (did you mean qwen2.5-3b?), "
        "and no OWNER/REPO[:FILE] of the hub"
    )
    assert raised.value.hint.startswith("lorid models list; it offers qwen2.5-1.5b, ")


def test_an_imported_file_stays_where_it_is(tmp_path: Path, weights: bytes) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(weights)
    ran = lorid("models", "import", file)
    assert (ran.returncode, ran.stdout.decode()) == (0, f"{file}\n")
    listed = lorid("models", "list").stdout.decode().splitlines()
    assert listed[0].split() == ["name", "MB", "laptop", "licence", "where"]
    assert listed[1].split() == ["mine", "0", str(file)]
    assert "qwen2.5-math-7b" in listed[-1]
    ran = lorid("models", "import", file)
    failed(ran, EXIT_USAGE, "Error: mine: there is a model of that name\n",
           f"Hint: lorid models import {file} --name OTHER, "
           "or lorid models remove mine\n")  # fmt: skip
    file.write_bytes(weights[:-1] + b"x")
    failed(lorid("models", "verify", "mine"), EXIT_MODEL,
           f"Error: {file}: its SHA-256 begins with {hashlib.sha256(file.read_bytes()).hexdigest()[:12]}, "  # noqa: E501
           f"not {hashlib.sha256(weights).hexdigest()[:12]}\n",
           "Hint: lorid models remove mine, then import the right file\n")  # fmt: skip
    assert lorid("models", "remove", "mine").stdout == b"mine: forgotten; its file stays\n"
    assert file.exists() and shelf.notes() == {}


def noted(*files: Path) -> shelf.Note:
    held = tuple(shelf.Part(str(f), f.stat().st_size, "0" * 64) for f in files)
    return shelf.Note("x", "gguf", held, repo=REPO)


def test_what_is_wrong_with_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"12345")
    note = noted(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").unlink()
    (tmp_path / "b").write_bytes(b"1234")
    assert pulling.faults(note, lambda line: None) == [
        f"{tmp_path / 'a'}: gone", f"{tmp_path / 'b'}: 4 bytes, expected 5"
    ]  # fmt: skip


def test_a_model_in_parts(tmp_path: Path) -> None:
    names = parts.siblings("m-00001-of-00003.gguf")
    assert names == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for name in names[:2]:
        (tmp_path / name).write_bytes(b"GGUF")
    ran = lorid("solve", "-m", tmp_path / names[0], "2 + 2")
    failed(ran, EXIT_MODEL, f"Error: {tmp_path / names[0]}: the model is split into 3 parts, and "
           f"here is no {names[2]}\n", "Hint: put all parts into one folder\n")  # fmt: skip
    ran = lorid("models", "import", tmp_path / names[1])
    failed(ran, EXIT_MODEL,
           f"Error: {tmp_path / names[1]}: one part of a model that is split into 3\n",
           f"Hint: give the first part: {tmp_path / names[0]}\n")  # fmt: skip
    (tmp_path / names[2]).write_bytes(b"GGUF")
    parts.check(tmp_path / names[0])
    parts.check(tmp_path / "whole.gguf")  # that it is not there is told by whoever opens it


def error(run: object, *arguments: object) -> LoridError:
    with pytest.raises(LoridError) as raised:
        run(*arguments)  # type: ignore[operator]
    return raised.value


def test_names(tmp_path: Path, weights: bytes) -> None:
    found = error(shelf.checked_name, "a/b")
    assert (found.message, found.hint) == (
        "--name a/b: expected letters, digits, '.', '_' and '-', 100 at most",
        "lorid models import PATH --name NAME",
    )
    found = error(shelf.find, "qwen2.5-3b")
    assert (found.message, found.hint) == (
        "qwen2.5-3b: offered, but not pulled yet", "lorid models pull qwen2.5-3b",
    )  # fmt: skip
    (tmp_path / "x").write_bytes(b"1")
    shelf.keep(noted(tmp_path / "x"))
    found = error(shelf.find, "y")
    assert (found.message, found.hint) == (
        "no model 'y'", "here: x; lorid models list shows what is offered"
    )  # fmt: skip
    assert shelf.located(Path("x")) == tmp_path / "x"
    assert shelf.located(tmp_path / "none") == tmp_path / "none"
    assert shelf.located(Path("none.gguf")) == Path("none.gguf")
    assert shelf.located(None) is None
    found = error(pulling.bring, tmp_path / "none", None, print)
    assert (found.message, found.hint) == (
        f"{tmp_path / 'none'}: no such file", "lorid models import PATH.gguf"
    )  # fmt: skip


def test_a_damaged_note() -> None:
    shelf.folder().mkdir(parents=True)
    file = shelf.folder() / "x.json"
    file.write_text("{oops")
    found = error(shelf.notes)
    assert found.message == f"{file}: not a note of lorid"
    assert found.hint == "remove it, and pull or import the model again"
    file.write_text('{"name": "x", "kind": "gguf", "parts": [], "size": 1}')
    assert error(shelf.notes).message == f"{file}: unknown key 'size'"


def test_a_note_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"1")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    found = error(shelf.keep, noted(tmp_path / "file"))
    assert found.message == (
        f"{tmp_path}/file/lorid/models/x.json: the model's note cannot be written (Not a directory)"
    )
    assert found.hint == "set XDG_DATA_HOME to a folder that you may write to"
    assert found.exit_code == EXIT_FAILURE
