"""Puts a run's calibration, and if asked for its stopping rule, into the bundle it is of."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorid_local import bundle as bundles
from lorid_local.bundle import Measured
from lorid_local.errors import InputError
from lorid_local.evaluate import bundle_edit, calibrating
from lorid_local.evaluate.bundle_edit import CHOSEN, CONFIRMED
from lorid_local.evaluate.methods import LOOPS, WARM
from lorid_local.evaluate.policy import Draw
from lorid_local.evaluate.store import Contents

NOT_ITS_OWN = ("bundle", "seed")  # of a run's settings: another seed measures the same bundle


def calibrate(
    chosen: bundles.Bundle,
    own: Mapping[str, Any],
    contents: Contents,
    figures: Mapping[str, Any],
    draws: Sequence[Draw],
    *,
    policy: bool,
) -> str:
    """Write into the bundle's file; return in words what was written.

    `own` are the settings a run with the bundle as it is would have; `draws` are the problems as
    it draws them and, behind it, at other temperatures. Raises InputError if the samples were
    drawn with others or are too few, OutputError if the file cannot be written.
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
    draw, warm = draws[0], False
    if policy:
        rule = _rule(figures)
        warm, rounds, draw = rule["kind"].startswith(WARM), rule["t"], draws[rule["draw"]]
        protocol = LOOPS[rule["kind"].removeprefix(WARM)]
        text = bundle_edit.with_loop(text, protocol, rounds)
        if draw.at or warm:
            text = bundle_edit.with_roles(text, draw.settings, warm=warm)
            changed += ["roles"]
        text = bundle_edit.with_measured(text, _halves(rule, contents.data))
        changed += ["loop", "measured"]
    problems = [p.warm for p in draw.problems] if warm else draw.problems
    whole = [p for p in problems if len(p.whole) >= rounds]
    if not whole:
        raise InputError(
            f"no problem has {rounds} whole rounds, which the bundle's loop draws",
            hint=f"--rounds {rounds}",
        )
    counted = calibrating.calibrate(whole, contents.data, protocol, rounds)
    bundle_edit.save(path, bundle_edit.calibrated(text, counted), changed)
    said = f", its loop set to {protocol}, t = {rounds}" if policy else ""
    said += ", no greedy round" if warm else ""
    said += f" at {draw.at}" if draw.at else ""
    return f"Calibrated {path} on {len(whole)} problems{said}"


def _rule(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the stopping rule that was found, of those that `lorid solve` can follow."""
    found = figures["policy"]
    if not found:
        raise InputError(
            "too few problems to choose a stopping rule on", hint="two or more are needed"
        )
    rule: Mapping[str, Any] = next(r for r in found["rules"] if r["method"] == found["loop"])
    return rule


def _halves(rule: Mapping[str, Any], data: str) -> list[Measured]:
    return [
        Measured(f"{rule['method']} ({words})", data, rule[half]["right"], rule[half]["n"])
        for half, words in (("first", CHOSEN), ("second", CONFIRMED))
    ]
