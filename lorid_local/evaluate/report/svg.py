"""Plots as inline SVG: colours come from the page's style, so they suit light and dark."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 36, 44


class Point(NamedTuple):
    """A point with its 95% interval; shares are 0 to 1."""

    x: float
    y: float
    low: float
    high: float


class Axis(NamedTuple):
    """What an axis shows, from where to where, and its ticks with their texts."""

    name: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float, start: float, end: float) -> float:
        """Return where a value lies between two ends of the drawing."""
        span = self.high - self.low or 1.0
        return start + (end - start) * (value - self.low) / span


def percent_axis(name: str, top: float) -> Axis:
    """Return an axis of shares from 0 to a round value above `top`."""
    step = next(s for s in (0.02, 0.05, 0.1, 0.2) if top <= 5 * s or s == 0.2)
    high = min(1.0, step * (int(top / step - 1e-9) + 1)) if top > 0 else step
    ticks = [(step * i, f"{100 * step * i:.0f}%") for i in range(round(high / step) + 1)]
    return Axis(name, 0.0, high, ticks)


def count_axis(name: str, top: float) -> Axis:
    """Return an axis of numbers from 0 to a round value above `top`."""
    step = 1.0
    while top > 5 * step:
        step *= 2.5 if str(step)[0] == "2" else 2
    high = step * max(1, -(-int(top) // int(step)) if step >= 1 else 1)
    ticks = [(step * i, f"{step * i:g}") for i in range(round(high / step) + 1)]
    return Axis(name, 0.0, max(high, top), ticks)


def whole_axis(name: str, last: int) -> Axis:
    """Return an axis of the whole numbers 1 to `last`."""
    step = -(-last // 20)
    return Axis(name, 0.5, last + 0.5, [(i, str(i)) for i in range(1, last + 1, step)])


class Plot:
    """A plot that grows by its parts; `drawn` is the SVG element."""

    def __init__(self, title: str, x: Axis, y: Axis, height: int = HEIGHT) -> None:
        self.title, self.x, self.y, self.height = title, x, y, height
        self.parts: list[str] = []
        self.names: list[str] = []

    def left(self, x: float) -> float:
        """Return the x of a value in the drawing."""
        return round(self.x.at(x, LEFT, WIDTH - RIGHT), 1)

    def top(self, y: float) -> float:
        """Return the y of a value in the drawing."""
        return round(self.y.at(y, self.height - BOTTOM, TOP), 1)

    def line(self, name: str, points: Sequence[Point], *, dash: bool = False) -> None:
        """Add a line with its intervals as a band."""
        series = self._series(name)
        band = [(p.x, p.high) for p in points] + [(p.x, p.low) for p in reversed(points)]
        self.parts.append(f'<polygon class="band {series}" points="{self._path(band)}"/>')
        self.parts.append(
            f'<polyline class="line {series}{" dash" * dash}" '
            f'points="{self._path([(p.x, p.y) for p in points])}"/>'
        )

    def dots(self, name: str, points: Sequence[Point], labels: Sequence[str] = ()) -> None:
        """Add points with their intervals, and a text beside each."""
        series = self._series(name)
        for i, p in enumerate(points):
            x, y = self.left(p.x), self.top(p.y)
            self.parts.append(
                f'<line class="whisker {series}" x1="{x}" x2="{x}" y1="{self.top(p.low)}" '
                f'y2="{self.top(p.high)}"/><circle class="dot {series}" cx="{x}" cy="{y}" r="4"/>'
            )
            if labels:
                side = 'x="-7" text-anchor="end"' if x > WIDTH - 150 else 'x="7"'
                self.parts.append(
                    f'<g transform="translate({x} {y})"><text {side} y="{-6 + 20 * (i % 2)}">'
                    f"{escape(labels[i])}</text></g>"
                )

    def bars(self, name: str, bars: Sequence[tuple[float, float]], *, below: float = 0.0) -> None:
        """Add upright bars of (x, height), 0.8 wide."""
        series = self._series(name)
        for x, height in bars:
            a, b = self.left(x - 0.4), self.left(x + 0.4)
            y, foot = self.top(height), self.top(below)
            self.parts.append(
                f'<rect class="bar {series}" x="{a}" y="{y}" width="{round(b - a, 1)}" '
                f'height="{round(max(foot - y, 0), 1)}"/>'
            )

    def diagonal(self) -> None:
        """Add the line on which what was foretold is what came."""
        end = min(self.x.high, self.y.high)
        self.parts.append(
            f'<line class="grid" x1="{self.left(0)}" y1="{self.top(0)}" x2="{self.left(end)}" '
            f'y2="{self.top(end)}"/>'
        )

    @property
    def drawn(self) -> str:
        """The whole element; its title is read out by a screen reader."""
        parts = f"{self._axes()}{''.join(self.parts)}{self._legend()}"
        return _element(self.title, self.height, parts)

    def _series(self, name: str) -> str:
        if name not in self.names:
            self.names.append(name)
        return f"s{self.names.index(name)}"

    def _path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.left(x)},{self.top(y)}" for x, y in points)

    def _axes(self) -> str:
        foot, parts = self.height - BOTTOM, []
        for value, text in self.y.ticks:
            y = self.top(value)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
                f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{escape(text)}</text>'
            )
        for value, text in self.x.ticks:
            parts.append(
                f'<text x="{self.left(value)}" y="{foot + 16}" text-anchor="middle">'
                f"{escape(text)}</text>"
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="name" x="{middle}" y="{foot + 34}" text-anchor="middle">'
            f"{escape(self.x.name)}</text>"
            f'<text class="name" transform="translate(12 {(TOP + foot) / 2}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y.name)}</text>'
        )
        return "".join(parts)

    def _legend(self) -> str:
        if len(self.names) < 2:
            return ""
        rows = (
            f'<rect class="bar s{i}" x="{LEFT + 170 * i}" y="8" width="12" height="12"/>'
            f'<text x="{LEFT + 170 * i + 18}" y="18">{escape(name)}</text>'
            for i, name in enumerate(self.names)
        )
        return f"<g>{''.join(rows)}</g>"


def pairs(title: str, rows: Sequence[tuple[str, Point, Point]], names: tuple[str, str]) -> str:
    """Return two values a row, one below the other, with their intervals, from left to right."""
    label, row_height = 240, 30
    height = 40 + row_height * len(rows) + 30
    high = percent_axis("", max((p.high for _, *both in rows for p in both), default=0.1))

    def left(value: float) -> float:
        return round(high.at(value, label, WIDTH - RIGHT), 1)

    parts = [
        f'<line class="grid" x1="{left(v)}" x2="{left(v)}" y1="34" y2="{height - 26}"/>'
        f'<text x="{left(v)}" y="{height - 8}" text-anchor="middle">{text}</text>'
        for v, text in high.ticks
    ]
    for i, name in enumerate(names):
        parts.append(
            f'<rect class="bar s{i}" x="{label + 150 * i}" y="8" width="12" height="12"/>'
            f'<text x="{label + 150 * i + 18}" y="18">{escape(name)}</text>'
        )
    for i, (name, *both) in enumerate(rows):
        y = 40 + row_height * i + row_height / 2
        parts.append(
            f'<text x="{label - 10}" y="{y + 4}" text-anchor="end">{escape(name[:40])}</text>'
        )
        for series, p in enumerate(both):
            at = y - 5 + 10 * series
            parts.append(
                f'<line class="whisker s{series}" x1="{left(p.low)}" x2="{left(p.high)}" y1="{at}" '
                f'y2="{at}"/><circle class="dot s{series}" cx="{left(p.y)}" cy="{at}" r="4"/>'
            )
    return _element(title, height, "".join(parts))


def _element(title: str, height: int, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )
