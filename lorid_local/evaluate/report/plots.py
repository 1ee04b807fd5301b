"""The report's plots, from the figures of a run."""

from typing import Any

from lorid_local.calibration import wilson
from lorid_local.evaluate.report.svg import (
    Plot,
    Point,
    count_axis,
    pairs,
    percent_axis,
    whole_axis,
)

Figures = dict[str, Any]
CURVES = {
    "same-round": "both, same round",
    "pooled": "both, pooled",
    "majority": "System 1, majority",
}


def _point(x: float, part: Figures) -> Point:
    return Point(x, part["share"] or 0.0, part["low"], part["high"])


def tokens(figures: Figures) -> str:
    """Return accuracy against tokens of every method."""
    rows = sorted(figures["methods"], key=lambda m: m["tokens"])  # texts above and below in turn
    x = count_axis("generated tokens a problem", 1.15 * max(m["tokens"] for m in rows))
    y = percent_axis("right", max(m["high"] for m in rows))
    plot = Plot("Accuracy against generated tokens, every method", x, y)
    points = [_point(m["tokens"], m) for m in rows]
    plot.dots("methods", points, [m["method"] for m in rows])
    return plot.drawn


def curve(figures: Figures) -> str:
    """Return accuracy by t, with intervals."""
    series = {n: p for n, p in figures["curve"].items() if p}
    last = max(len(points) for points in series.values())
    y = percent_axis("right", max(p["high"] for points in series.values() for p in points))
    plot = Plot(
        "Accuracy by the number of rounds t", whole_axis("t, or samples of the majority", last), y
    )
    for name, points in series.items():
        plot.line(CURVES[name], [_point(p["t"], p) for p in points], dash=name == "majority")
    return plot.drawn


def rounds(figures: Figures) -> str:
    """Return how many problems agree in each round, and how many of them rightly."""
    found = figures["convergence"]
    cells = [(c["round"], c) for c in found["rounds"]]
    x = whole_axis("round of agreement; the last bar never agreed", len(cells) + 1)
    ticks = [(v, t) for v, t in x.ticks if v <= len(cells)] + [(len(cells) + 1, "never")]
    cells.append((len(cells) + 1, found["never"]))
    y = count_axis("problems", max(c["n"] for _, c in cells))
    plot = Plot("Problems by the round in which the systems agree", x._replace(ticks=ticks), y)
    plot.bars("right", [(i, c["right"]) for i, c in cells])
    for i, c in cells:
        plot.bars("wrong", [(i, c["n"])], below=c["right"])
    return plot.drawn


def reliability(figures: Figures) -> str:
    """Return what one half of the problems foretold of the other, and what came."""
    found = figures["calibration"]["foretold"]
    axis = percent_axis("foretold by one half", 1.0)
    plot = Plot(
        "Reliability: foretold by one half, found in the other", axis, axis._replace(name="found")
    )
    plot.diagonal()
    for name, half in zip(("first half foretells", "second half foretells"), found, strict=True):
        cells = [c for c in half if c["n"]]
        points = [
            Point(c["share"], c["right"] / c["n"], *wilson(c["right"], c["n"])) for c in cells
        ]
        plot.dots(name, points)
    return plot.drawn


def kinds(figures: Figures) -> str:
    """Return both systems by kind of problem."""
    rows = [
        (f"{k['by']}: {k['kind']} ({k['n']})", _point(0, k["ir"]), _point(0, k["dr"]))
        for k in figures["kinds"]
    ]
    title = "System 1 and System 2 by kind of problem"
    return pairs(title, rows, ("System 1 right", "System 2 right"))
