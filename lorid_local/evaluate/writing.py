"""Puts a run's calibration, and if asked for its stopping rule, into the bundle it is of."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorid_local import bundle as bundles
from lorid_local.bundle import Measured
from lorid_local.errors import InputError
from lorid_local.evaluate import bundle_edit, calibrating, methods
from lorid_local.evaluate.bundle_edit import CHOSEN, CONFIRMED
from lorid_local.evaluate.sampled import Sampled
from lorid_local.evaluate.store import Contents
from lorid_local.judging import Protocol

NOT_ITS_OWN = ("bundle", "seed")  # of a run's settings: another seed measures the same bundle


def calibrate(
    chosen: bundles.Bundle,
    own: Mapping[str, Any],
    contents: Contents,
    figures: Mapping[str, Any],
    problems: Sequence[Sampled],
    *,
    policy: bool,
) -> str:
    """Write into the bundle's file; return in words what was written.

    `own` are the settings a run with the bundle as it is would have. Raises InputError if the
    samples were drawn with others or are too few, OutputError if the file cannot be written.
    """
    for name, value in own.items():
        if name not in NOT_ITS_OWN and contents.settings.get(name) != value:
            raise InputError(
                f"the samples were not drawn with {chosen.folder} as it is: their {name} is "
                f"{contents.settings.get(name)!r}, the bundle's is {value!r}",
                hint="draw samples without flags that change the bundle's settings",
            )
    path = chosen.folder / bundles.FILE
    text, changed = path.read_text(encoding="utf-8"), ["calibration"]
    protocol, rounds = chosen.contents.loop.protocol, chosen.contents.loop.rounds
    if policy:
        protocol, rounds = _rule(figures)
        text = bundle_edit.with_loop(text, protocol, rounds)
        text = bundle_edit.with_measured(text, _halves(figures, contents.data))
        changed += ["loop", "measured"]
    whole = [p for p in problems if len(p.whole) >= rounds]
    if not whole:
        raise InputError(
            f"no problem has {rounds} whole rounds, which the bundle's loop draws",
            hint=f"--rounds {rounds}",
        )
    counted = calibrating.calibrate(whole, contents.data, protocol, rounds)
    bundle_edit.save(path, bundle_edit.calibrated(text, counted), changed)
    rule = f", its loop set to {protocol}, t = {rounds}" if policy else ""
    return f"Calibrated {path} on {len(whole)} problems{rule}"


def _rule(figures: Mapping[str, Any]) -> tuple[Protocol, int]:
    found = figures["policy"]
    if not found:
        raise InputError(
            "too few problems to choose a stopping rule on", hint="two or more are needed"
        )
    rule = next(r for r in found["rules"] if r["method"] == found["loop"])
    return methods.PROTOCOLS[rule["kind"]], rule["t"]


def _halves(figures: Mapping[str, Any], data: str) -> list[Measured]:
    found = figures["policy"]
    rule = next(r for r in found["rules"] if r["method"] == found["loop"])
    return [
        Measured(f"{rule['method']} ({words})", data, rule[half]["right"], rule[half]["n"])
        for half, words in (("first", CHOSEN), ("second", CONFIRMED))
    ]
