"""The picture of a run's losses."""

from xml.etree import ElementTree

import pytest

from lorid_train import curve

SVG = "{http://www.w3.org/2000/svg}"


def points(picture: str) -> list[list[tuple[float, float]]]:
    """Return the points of both lines."""
    lines = ElementTree.fromstring(picture).findall(f"{SVG}polyline")
    return [
        [(float(x), float(y)) for x, y in (p.split(",") for p in line.attrib["points"].split())]
        for line in lines
    ]


def test_the_lines_run_from_the_first_step_to_the_last_between_the_extremes() -> None:
    raw, mean = points(curve.svg([4.0, 2.0, 1.0], "x"))
    assert raw == [(56.0, 36.0), (380.0, 228.0), (704.0, 324.0)]
    assert mean == raw  # three steps: the mean runs over one


def test_a_title_is_text() -> None:
    root = ElementTree.fromstring(curve.svg([1.0], "<b> & co"))
    assert next(root.iter(f"{SVG}text")).text == "<b> & co"


def test_the_running_mean_is_over_the_last_steps() -> None:
    losses = [float(i % 2) for i in range(200)]  # span 4
    means = curve.running_mean(losses)
    assert means[:4] == pytest.approx([0, 0.5, 1 / 3, 0.5])
    assert means[4:] == pytest.approx([0.5] * 196)


@pytest.mark.parametrize("losses", [[], [1.0], [2.0, 2.0]])
def test_few_losses_or_equal_ones_make_a_picture(losses: list[float]) -> None:
    assert [len(line) for line in points(curve.svg(losses, "x"))] == [len(losses)] * 2


def test_a_long_run_has_no_more_points_than_are_seen() -> None:
    lines = points(curve.svg([1.0 + i for i in range(5000)], "x"))
    assert [len(line) for line in lines] == [1000, 1000]
