"""The protocols beyond the paper's two: an agreed answer that needs more votes."""

from itertools import product
from typing import Any

import pytest

from lorid_local import judging
from lorid_local.commands import options
from lorid_local.judging import Protocol
from tests.scripted import run, script, shown

NEVER = 99
APART = (1, 1, 1, 2, 2), (3, 3, 3, 1, 1)  # five votes for 1, never two in one round


@pytest.mark.parametrize(
    ("votes", "ir", "dr", "expected"),
    [
        (3, [1, 1], [1, 2], ("1", 2)),
        (3, [1, 2], [1, 1], ("1", 2)),
        (3, [1, 2, 3], [1, 4, 5], None),
        (4, [1, 2, 1], [1, 1, 3], ("1", 3)),
        (5, [1, 1, 1], [1, 1, 2], ("1", 3)),
        (3, [1, 1, 1], [2, 3, 4], None),  # System 2 has no vote for it
        (3, [1, 2, 2], [2, 1, 2], ("2", 3)),
        (3, ["50%", 0.5], ["50%", "1/2"], None),
    ],
)  # fmt: skip
def test_an_answer_may_need_more_votes(votes: int, ir: Any, dr: Any, expected: Any) -> None:
    protocol: Any = f"pooled-{votes}"
    trace = run(script(ir, dr), rounds=len(ir), protocol=protocol)
    if expected is None:
        assert (trace.status, trace.agreed_round) == ("no-agreement", None)
    else:
        assert (trace.status, (shown(trace), trace.agreed_round)) == ("agreed", expected)


def test_a_round_says_how_many_votes_are_there() -> None:
    trace = run(script([1, 2], [1, 3]), rounds=2, protocol="pooled-3")
    assert [r.why for r in trace.rounds] == ["both say 1, in 2 votes of the 3 needed"] * 2


def test_the_protocols_of_the_command_line_are_those_of_the_loop() -> None:
    assert list(judging.PROTOCOLS) == options.PROTOCOLS


@pytest.mark.parametrize("one", judging.PROTOCOLS)
@pytest.mark.parametrize("other", judging.PROTOCOLS)
def test_what_an_agreement_implies_holds_for_all_votes(one: Protocol, other: Protocol) -> None:
    def agreed(protocol: Protocol, ir: Any, dr: Any) -> int:
        found = run(script(ir, dr), rounds=len(ir), protocol=protocol).agreed_round
        return found or NEVER

    votes: list[Any] = [*product(product((1, 2), repeat=3), repeat=2), ((1,), (1,)), APART]
    always = all(agreed(other, *v) <= agreed(one, *v) for v in votes if agreed(one, *v) < NEVER)
    assert judging.implies(one, other) == always
