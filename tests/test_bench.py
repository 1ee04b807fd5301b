"""`lorid bench` on a tiny bundle: what is measured, what is printed, what is refused.

How fast anything is, is tested nowhere: the figures are only looked at for what they must be.
"""

import json
import re
import statistics
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import click
import pytest

from lorid_local import bench, bundle
from lorid_local.bench import PROMPT_TOKENS, Meter, Speed, Task
from lorid_local.commands.options import MOST_AT_ONCE, Widths
from lorid_local.engine import Role, never
from lorid_local.errors import ContextOverflow, InputError, ModelError
from lorid_local.llama import LlamaEngine, Options
from lorid_local.solving import Flags
from tests.test_cli import failed, lorid
from tests.test_doctor import write_bundle
from tests.tiny import tiny_llama_gguf

TASK = Task((1, 3), 5, 2)
WIDTHS = Widths()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def engine(folder: Path) -> Iterator[LlamaEngine]:
    with LlamaEngine(folder / "base.gguf", options=Options(threads=1)) as made:
        yield made


# --- figures


def test_medians_of_what_was_measured() -> None:
    speed = Speed((10.0, 30.0, 20.0), (9.0, 15.0, 16.0))
    assert speed.share == 0.8  # of 0.9, 0.5 and 0.8: pair by pair, not of the medians
    assert speed.as_dict() == {
        "plain": 20.0, "adapter": 15.0, "share": 0.8,
        "plain_runs": [10.0, 30.0, 20.0], "adapter_runs": [9.0, 15.0, 16.0],
    }  # fmt: skip
    alone = Speed((10.0,), ())
    assert alone.share is None
    assert alone.as_dict()["adapter"] is None and alone.as_dict()["share"] is None


def test_a_speed_is_tokens_by_seconds(engine: LlamaEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks once a look: the samples' tokens by one second."""
    ticks = count()
    monkeypatch.setattr("lorid_local.bench.time.monotonic", lambda: float(next(ticks)))
    meter = Meter(engine, 5, never)
    drawn = [meter.decode(Role.IR, width, 1) for width in (1, 3)]
    assert drawn == [5.0, 15.0]
    assert PROMPT_TOKENS - 12 <= meter.prompt(Role.IR) <= PROMPT_TOKENS


def test_a_prompt_is_never_seen_before(engine: LlamaEngine) -> None:
    meter = Meter(engine, 5, never)
    meter.prompt(Role.IR)
    kept = engine._states[Role.IR].kept
    meter.prompt(Role.IR)
    again = engine._states[Role.IR].kept
    same = next(i for i, (a, b) in enumerate(zip(kept, again, strict=False)) if a != b)
    assert same < 4  # all but the digits before the first difference are read anew


@pytest.mark.parametrize("adapters", [True, False])
def test_all_is_measured(folder: Path, adapters: bool) -> None:
    chosen = bundle.find(str(folder))
    flags = Flags(bundle=str(folder), no_adapters=not adapters, threads=1, n_predict=16)
    result = bench.measure(chosen, flags, TASK, never)
    record = json.loads(json.dumps(result.as_dict()))
    assert record["schema"] == "lorid-bench/1"
    assert (record["tokens"], record["repeat"]) == (5, 2)
    assert record["adapter"] == ("ir" if adapters else None)
    assert [line["width"] for line in record["decode"]] == [1, 3]
    for line in (*record["decode"], record["prompt"]):
        assert len(line["plain_runs"]) == 2 and min(line["plain_runs"]) > 0
        assert len(line["adapter_runs"]) == 2 * adapters
        assert line["plain"] == pytest.approx(statistics.median(line["plain_runs"]), abs=0.06)
    solved = record["problem"]
    assert solved["tokens"] > 0 and solved["solve_seconds"] > 0 and solved["load_seconds"] > 0
    assert record["machine"]["threads"] == 1
    assert (record["machine"]["bundle"], record["machine"]["base"]) == ("mine", "base.gguf")


def test_the_figures_for_a_person(folder: Path) -> None:
    flags = ("--bundle", folder, "--widths", "2,1", "--tokens", "4", "--repeat", "1")
    ran = lorid("bench", *flags)
    assert ran.returncode == 0
    lines = ran.stdout.decode().splitlines()
    assert lines[2:4] == ["mine: base.gguf", ""]
    heads, *rows = (re.split(r"  +", line) for line in lines[4:8])
    assert heads == ["tokens a second", "base", "with the ir adapter", "ratio"]
    assert [row[0] for row in rows] == ["1 sample at once", "2 samples at once", "reading a prompt"]
    assert lines[9].startswith("one problem, one round: ")
    assert lines[-1] == ("Medians of 1, 4 tokens a sample. Another busy process spoils them.")
    assert ran.stderr.decode().splitlines()[-2:] == ["solved 1 of 1", "measured 1 of 1"]


# --- the machine


@pytest.mark.parametrize(("load", "cores"), [(0.4, 1), (1.9, 4), (0.0, 1)])
def test_an_idle_machine_is_no_warning(
    load: float, cores: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.warn(load, cores)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("load", "cores", "shown"), [(0.6, 1, "1 core"), (2.1, 4, "4 cores")])
def test_a_busy_machine_is_told_of(
    load: float, cores: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.warn(load, cores)
    assert capsys.readouterr().err == (
        f"Warning: the load is {load} on {shown}: another process is busy, and the figures will "
        "be too low.\n"
    )


def test_the_name_of_the_cpu(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor: 0\nmodel name\t: A CPU: fast\nflags: x\n")
    assert bench.cpu_name(tmp_path / "cpuinfo") == "A CPU: fast"
    assert bench.cpu_name(tmp_path / "none")


# --- what is refused


@pytest.mark.parametrize(
    ("given", "read"), [("4", (4,)), ("8,1,4", (1, 4, 8)), ("2,2", (2,)), (" 3 , 16", (3, 16))]
)
def test_widths(given: str, read: tuple[int, ...]) -> None:
    assert WIDTHS.convert(given, None, None) == read


@pytest.mark.parametrize("given", ["", "0", "17", "1,x", "1;2", "-1,4"])
def test_widths_that_are_none(given: str) -> None:
    with pytest.raises(click.BadParameter) as raised:
        WIDTHS.convert(given, None, None)
    assert raised.value.message == f"{given!r}: expected numbers from 1 to 16 with commas"


def test_the_widest_is_the_engines_own() -> None:
    assert Options().width == MOST_AT_ONCE


def test_more_tokens_than_the_context_holds(folder: Path) -> None:
    flags = Flags(bundle=str(folder), no_adapters=True, threads=1, n_predict=16)
    with pytest.raises(ContextOverflow) as raised:
        bench.measure(bundle.find(str(folder)), flags, Task((1,), 600, 1), never)
    assert raised.value.hint == "lower --tokens"


def test_adapters_that_do_not_fit_another_base(folder: Path, tmp_path: Path) -> None:
    other = tiny_llama_gguf(tmp_path / "other.gguf", hidden=96)
    with pytest.raises(ModelError) as raised:
        bench.run(Flags(bundle=str(folder), model=other), TASK, as_json=True)
    assert raised.value.hint == (f"lorid bench -m {other} ... (without --bundle: by prompts alone)")


def test_a_number_of_threads_out_of_range() -> None:
    with pytest.raises(InputError) as raised:
        bench.run(Flags(threads=0), TASK, as_json=True)
    assert raised.value.message == "--threads 0: expected 1 to 512"


def test_a_bundle_that_is_not_there() -> None:
    hint = "Hint: installed: smollm2-135m\n"
    message = "Error: no bundle 'nine': neither a folder nor an installed bundle\n"
    failed(lorid("bench", "--bundle", "nine"), 4, message + hint)


@pytest.mark.parametrize("patience", [0, 400])  # in the solve; among the speeds
def test_interrupted_it_stops(
    folder: Path, patience: int, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = Flags(bundle=str(folder), threads=1)
    asked = count()
    with pytest.raises(KeyboardInterrupt):
        bench.measure(bundle.find(str(folder)), flags, TASK, lambda: next(asked) > patience)
    assert ("solved 2 of 2" in capsys.readouterr().err) is (patience > 0)
