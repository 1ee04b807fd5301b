"""A session's state as JSON and back: what a later session needs to go on.

Of a practice problem only its family and seed are kept, which draw it again; nothing is kept of a
pupil's own problem.
"""

import json
from dataclasses import replace
from fractions import Fraction

from lorid_local.errors import LoridError
from lorid_local.practice.drawing import draw
from lorid_local.practice.families import Families
from lorid_local.tutor import task as tasks
from lorid_local.tutor.state import State


def to_json(state: State) -> str:
    """Return the state; without its problem if that is done or the pupil's own."""
    kept: dict[str, object] = {
        "level": state.level,
        "topic": state.topic,
        "recent": list(state.recent),
    }
    source = state.task.source if state.task else None
    if source and not state.over:
        kept["problem"] = {
            "family": source.family,
            "seed": source.seed,
            "rung": state.rung,
            "hints": state.hints,
            "tried": [str(value) for value in state.tried],
            "found": sorted(state.found),
            "seen": sorted(state.seen),
            "warned": state.warned,
        }
    return json.dumps(kept)


def from_json(text: str, fresh: State, families: Families) -> State:
    """Return `fresh` with what was kept; what no longer fits these families is left out."""
    try:
        kept = json.loads(text)
        state = replace(
            fresh, level=int(kept["level"]), topic=kept["topic"], recent=tuple(kept["recent"])
        )
    except (ValueError, KeyError, TypeError):
        return fresh
    lowest, highest = state.grades
    if not lowest <= state.level <= highest:
        state = replace(state, level=fresh.level)
    try:
        if state.topic is not None:
            families.ids(state.topic)
        problem = kept["problem"]
        family = families.family(problem["family"])
        return replace(
            state,
            task=tasks.of_practice(family, draw(family, problem["seed"])),
            rung=problem["rung"],
            hints=problem["hints"],
            tried=tuple(Fraction(value) for value in problem["tried"]),
            found=frozenset(problem["found"]),
            seen=frozenset(problem["seen"]),
            warned=problem["warned"],
        )
    except LoridError:
        return replace(state, topic=None)
    except (ValueError, KeyError, TypeError):
        return state
