"""A run's losses as an SVG picture: every step in grey, their running mean over it."""

from collections.abc import Iterator, Sequence
from html import escape

WIDTH, HEIGHT = 720, 360
LEFT, TOP, RIGHT, BOTTOM = 56, 36, 16, 36  # margins
MOST_POINTS = 1000  # more would not be seen, and make the file large
SHARE = 0.02  # of the steps, that the mean runs over
LINES = 5


def svg(losses: Sequence[float], title: str) -> str:
    """Return the picture of `losses`, one a step from step 1; of no losses, an empty frame."""
    low, high = min(losses, default=0.0), max(losses, default=1.0)
    high = high if high > low else low + 1
    body = [
        f'<text x="{LEFT}" y="22" font-weight="bold">{escape(title)}</text>',
        *_grid(low, high, len(losses)),
    ]
    for values, style in ((losses, "#bbb"), (running_mean(losses), "#06c")):
        points = " ".join(_points(values, low, high))
        body.append(f'<polyline fill="none" stroke="{style}" points="{points}"/>')
    inside = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" '
        f'fill="#fff"/>\n{inside}\n</svg>\n'
    )


def running_mean(losses: Sequence[float]) -> list[float]:
    """Return, for each step, the mean of its own loss and of the steps just before it."""
    span = max(1, round(SHARE * len(losses)))
    means, total = [], 0.0
    for at, loss in enumerate(losses):
        total += loss - (losses[at - span] if at >= span else 0.0)
        means.append(total / min(at + 1, span))
    return means


def _points(values: Sequence[float], low: float, high: float) -> Iterator[str]:
    step = max(1, len(values) // MOST_POINTS)
    for at in range(0, len(values), step):
        yield f"{_x(at, len(values)):.1f},{_y(values[at], low, high):.1f}"


def _grid(low: float, high: float, steps: int) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for at in range(LINES):
        value = low + (high - low) * at / (LINES - 1)
        y = _y(value, low, high)
        yield f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#eee"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>'
    yield f'<text x="{LEFT}" y="{bottom + 20}">step 1</text>'
    yield f'<text x="{right}" y="{bottom + 20}" text-anchor="end">step {steps}</text>'


def _x(at: int, count: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at / max(1, count - 1)


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)
