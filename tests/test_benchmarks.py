"""What the benchmarks make of what they measure: ratios, intervals, runs that go on later."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

pytest.importorskip("benchmarks")  # beside an installed lorid there are none
from benchmarks import (
    base_types,
    engine_vs_batched_bench,
    first_token,
    pairs,
    solve_vs_stock,
    widths,
)
from benchmarks.pairs import Figure, Turns
from benchmarks.solve_vs_peers import figures as peer_figures


def medians(found: Any) -> dict[str, float]:
    return {figure.name: figure.median for figure in found}


def test_a_figure_and_its_interval() -> None:
    figure = Figure("x", tuple(map(float, range(1, 102))), reach=50.0)
    low, high = figure.interval
    # binomial interval of a median of 101 values: the 41st to the 61st
    assert 39 <= low <= 43 and 59 <= high <= 63
    assert figure.line() == (
        f"x: 51.000 (95% interval {low:.3f} to {high:.3f}, pairs: 101), reached (>= 50.0)"
    )
    assert figure.as_dict()["interval_95"] == [round(low, 4), round(high, 4)]
    one = Figure("y", (2.0,), reach=1.3, at_most=True)
    assert one.interval == (2.0, 2.0)
    assert one.line() == "y: 2.000 (95% interval 2.000 to 2.000, pairs: 1), NOT reached (<= 1.3)"


def test_each_ratio_is_of_its_own_two_sides() -> None:
    def cost(value: float) -> dict[str, float]:
        return {"wall": value, "cpu": value / 2, "peak": value * 100}

    turns = [{"lorid": cost(3), "stock": cost(2), "bare": cost(1)}]
    assert medians(first_token.figures(turns)) == {
        "wall seconds to the first text, lorid / stock": 1.5,
        "cpu seconds to the first text, lorid / stock": 1.5,
        "wall seconds to the first text, lorid / bare": 3.0,
        "cpu seconds to the first text, lorid / bare": 3.0,
    }
    turns = [{"as it comes": cost(1), "alike": cost(3), "stock": cost(2)}]
    assert medians(solve_vs_stock.figures(turns)) == {
        "wall, lorid as it comes / stock": 0.5,
        "peak, lorid as it comes / stock": 0.5,
        "wall, lorid alike / stock": 1.5,
        "peak, lorid alike / stock": 1.5,
    }
    apart, shared = "--no-kv-unified", "--kv-unified"
    engine = {"plain": {"1": 2.0, "8": 2.0}, "adapter": {"1": 1.0, "8": 0.5}}
    speeds = [engine | {apart: {"1": 4.0, "8": 1.0}, shared: {"1": 3.0, "8": 2.0}}] * 2
    # the faster cache by all pairs, not by each
    speeds += [engine | {apart: {"1": 4.0, "8": 9.0}, shared: {"1": 5.0, "8": 2.0}}]
    found = {f.name: (f.median, f.reach) for f in engine_vs_batched_bench.figures(speeds)}
    assert found == {
        "plain, width 1": (0.5, 0.92),
        "plain, width 8": (1.0, 0.92),
        "adapter, width 1": (0.25, None),
        "adapter, width 8": (0.25, 0.80),
    }
    types = [{"a": {"adapter, 1": 2.0}, "b": {"adapter, 1": 3.0}}]
    assert medians(base_types.figures(["a", "b"], [1], types)) == {
        "b / a, with the adapter, width 1": 1.5
    }


def test_peers_are_compared_problem_by_problem_where_both_go_one_by_one() -> None:
    def cost(*each: float) -> dict[str, Any]:
        return {"seconds": sum(each), "each": each, "tokens": 10, "peak": 100.0}

    sides = {"lorid": [cost(1, 2), cost(1, 1)], "lorid-file": [cost(0.5, 0), cost(0, 1)],
             "reference": [cost(10, 10), cost(30, 10)]}  # fmt: skip
    found = {f.name: f.ratios for f in peer_figures("reference", sides)}
    assert found["seconds, reference / lorid, problem by problem"] == (10, 5, 30, 10)
    assert found["seconds, reference / lorid-file, chunk by chunk"] == (40, 40)
    assert found["seconds in all, reference / lorid"] == (12.0,)


def measured(out: Path | None, count: int, *, minutes: float | None = None, stop: int = -1,
             **settings: Any) -> list[int]:  # fmt: skip
    """Measure turns whose ratio is their number; Ctrl-C is pressed in turn `stop`."""
    done: list[int] = []
    with Turns(out, minutes, settings) as turns:
        for number in turns.left(count):
            if number == stop:
                raise KeyboardInterrupt
            turns.add({"ratio": number})
            done.append(number)
    turns.report(lambda found: [Figure("ratio", tuple(float(t["ratio"]) for t in found))])
    return done


def test_a_run_that_was_stopped_tells_what_it_has_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "x.json"
    assert measured(out, 5, stop=2, threads=2) == [0, 1]
    assert "stopped; what was measured so far:\nratio: 0.500" in capsys.readouterr().out
    assert measured(out, 9, threads=2) == [2, 3, 4, 5, 6, 7, 8]
    told = capsys.readouterr().out
    assert told.startswith(f"2 turns are there already: {out}\n")
    assert "ratio: 4.000 (95% interval" in told
    record = json.loads(out.read_text())
    assert [turn["ratio"] for turn in record["turns"]] == list(range(9))
    assert record["settings"] == {"threads": 2} and len(record["loads"]) == 9
    assert record["figures"][0]["median"] == 4
    with pytest.raises(click.ClickException) as raised:
        measured(out, 9, threads=3)
    assert raised.value.message == (
        f"{out}: of another run: its threads is 2, not 3; give another --out"
    )


def test_no_turn_starts_when_the_time_is_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 30.0, 61.0])
    monkeypatch.setattr(pairs.time, "monotonic", lambda: next(clock))
    assert measured(None, 5, minutes=1.0) == [0]
    assert "the time is up; what was measured so far:\nratio: 0.000" in capsys.readouterr().out


def test_without_a_whole_turn_there_is_no_figure() -> None:
    with pytest.raises(click.ClickException) as raised:
        measured(None, 5, stop=0)
    assert raised.value.message == "no turn was measured whole"


def test_the_options_of_a_run_that_can_go_on() -> None:
    @click.command()
    @pairs.resumable
    def command(out: Path | None, minutes: float | None) -> None:
        click.echo(f"{out} {minutes}")

    ran = CliRunner().invoke(command, ["--out", "x.json", "--minutes", "5"])
    assert ran.output == "x.json 5.0\n"


def test_widths_are_compared_problem_by_problem_and_in_all() -> None:
    turns = [{"auto": {"seconds": 4.0}, "8": {"seconds": 3.0}},
             {"auto": {"seconds": 1.0}, "8": {"seconds": 2.0}}]  # fmt: skip
    found = {f.name: f.ratios for f in widths.figures(["auto", "8"], turns)}
    assert found == {
        "seconds, width 8 / auto": (0.75, 2.0),
        "seconds in all, width 8 / auto": (1.0,),
    }
