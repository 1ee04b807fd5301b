"""The methods of `lorid eval`: each against samples written down, and against the loop itself."""

from collections.abc import Sequence
from fractions import Fraction
from math import comb
from typing import Any

import pytest

from lorid_local.answers import Answer
from lorid_local.engine import Completion, Role
from lorid_local.errors import InputError
from lorid_local.evaluate import methods, peers, policy, questions, sampled, store
from lorid_local.evaluate.cases import Case
from lorid_local.evaluate.findings import pairs, replay, table_row
from lorid_local.evaluate.methods import Needs, Played, parse
from lorid_local.evaluate.peers import lenient
from lorid_local.evaluate.policy import Draw
from lorid_local.evaluate.sampled import Sampled
from lorid_local.evaluate.statistics import calibration_error, leads, mcnemar, phi, share
from lorid_local.evaluate.store import Contents, Key, Taken
from lorid_local.loop import LoopSettings, finish, solve
from tests.eval_engine import HashedEngine, answer, cases, draw
from tests.scripted import table

NO = "no idea"
Said = Sequence[object]


def problem(ir: Said, dr: Said = (), *, gold: int = 24, kg: int | None = None,
            **extra: object) -> Sampled:  # fmt: skip
    """A problem whose samples say these answers; a text in their place is what is written.

    IR's take 10 tokens each, KG's 20, DR's 40.
    """
    contents = Contents(cases=[Case(0, "How many?", answer(gold))])
    said = {Role.IR: ir, Role.KG: ["- A rule."] * (len(dr) if kg is None else kg), Role.DR: dr}
    keyed = {Key(0, role, k): one for role, all_ in said.items() for k, one in enumerate(all_, 1)}
    keyed |= {Key(0, Role.DR, 1, by): one for by, one in extra.items()}
    for key, one in keyed.items():
        text = one if isinstance(one, str) else f"#### {one}"
        tokens = {Role.IR: 10, Role.KG: 20, Role.DR: 40}[key.role]
        contents.samples[key] = Taken(Completion(text, "stop", tokens))
    return sampled.one(contents, 0)


def play(name: str, one: Sampled, rounds: int = 4) -> Played:
    return parse([name], rounds)[0].play(one)


def outcome(played: Played) -> tuple[Any, ...]:
    said = played.answer.shown if played.answer else None
    return said, played.right, played.agreed, played.generations, played.tokens


FALSE = "<<2+2=5>>\n#### 24"  # marked, but it has no vote


@pytest.mark.parametrize(
    ("name", "one", "expected"),
    [
        ("ir", problem([24, 1]), ("24", True, None, 1, (10, 0, 0))),
        ("ir", problem([FALSE]), ("24", True, None, 1, (10, 0, 0))),  # nobody checks it alone
        ("ir", problem([NO]), (None, False, None, 1, (10, 0, 0))),
        ("dr", problem([], [24]), ("24", True, None, 2, (0, 20, 40))),
        ("dr+none", problem([], none=24), ("24", True, None, 1, (0, 0, 40))),
        ("dr+teacher", problem([], teacher=3), ("3", False, None, 1, (0, 0, 40))),
        ("dr+other", problem([], kg=1, other=24), ("24", True, None, 1, (0, 0, 40))),
        ("majority@3", problem([1, 24, 24, 1]), ("24", True, None, 3, (30, 0, 0))),
        ("majority@2", problem([1, 24]), ("1", False, None, 2, (20, 0, 0))),  # the earlier one
        ("majority@2", problem([FALSE, NO]), ("24", True, None, 2, (20, 0, 0))),
        ("self-consistency@3", problem([1, 1, 24, 24]), ("24", True, None, 3, (30, 0, 0))),
        ("lorid@2", problem([1, 24], [2, 24]), ("24", True, 2, 6, (20, 40, 80))),
        ("lorid@1", problem([1, 24], [2, 24]), ("1", False, None, 3, (10, 20, 40))),
        ("lorid", problem([24], [24]), ("24", True, 1, 3, (10, 20, 40))),
        ("lorid@2", problem([24, 1], [1, 2]), ("1", False, None, 6, (20, 40, 80))),
        ("pooled@2", problem([24, 1], [3, 24]), ("24", True, 2, 6, (20, 40, 80))),
        ("pooled-3@2", problem([24, 1], [24, 24]), ("24", True, 2, 6, (20, 40, 80))),
        ("pooled-4@2", problem([24, 1], [24, 24]), ("24", True, None, 6, (20, 40, 80))),
        ("warm-pooled-3@2", problem([1, 24, 1], [1, 24, 24]), ("24", True, 2, 6, (20, 40, 80))),
        ("lorid@1", problem([FALSE], [24]), ("24", True, None, 3, (10, 20, 40))),
        # without the greedy round: the second is the first
        ("warm-lorid@2", problem([1, 2, 24], [1, 3, 24]), ("24", True, 2, 6, (20, 40, 80))),
        ("warm-lorid@1", problem([1, 2, 24], [1, 3, 24]), ("2", False, None, 3, (10, 20, 40))),
        ("warm-pooled@2", problem([1, 24, 3], [1, 1, 24]), ("24", True, 2, 6, (20, 40, 80))),
        ("first-to-2@2", problem([24, 24], [1, 3]), ("24", True, 2, 4, (20, 20, 40))),
        ("first-to-2@2", problem([24, 1], [24, 3]), ("24", True, 1, 3, (10, 20, 40))),
        ("first-to-3@2", problem([24, 1], [1, 24]), ("24", True, None, 6, (20, 40, 80))),
        ("ir-first-to-2@4", problem([1, 24, 24, 3]), ("24", True, 3, 3, (30, 0, 0))),
        # Beta(k + 1, 1) is over 0.95 above a half from k = 4 on: 1 - 1/32
        ("adaptive@6", problem([24] * 6), ("24", True, 4, 4, (40, 0, 0))),
        ("adaptive@3", problem([24] * 3), ("24", True, None, 3, (30, 0, 0))),
        ("reference@1", problem([24], [24]), ("24", True, 1, 3, (10, 20, 40))),
        ("reference@1", problem([2400], [2400]), ("2400", True, 1, 3, (10, 20, 40))),
        # all rounds are drawn and counted; 'she has 24' is read without a mark
        ("reference@2", problem(["She has 24", 1], [24, 2]), ("24", True, 1, 6, (20, 40, 80))),
        ("reference@2", problem([1, 24], [2, 1]), ("1", False, 2, 6, (20, 40, 80))),
        # two shared at once: right if any is
        ("reference@2", problem([1, 24], [24, 1]), ("24", True, 2, 6, (20, 40, 80))),
        ("reference@1", problem([1], [2]), (None, False, None, 3, (10, 20, 40))),
        # texts that end in the midst count for the authors: the last number is taken
        ("reference@1", problem(["5*5=25, 25-1"], ["-1, so 24-1"]),
         ("-1", False, 1, 3, (10, 20, 40))),
    ],
)  # fmt: skip
def test_what_a_method_makes_of_samples(name: str, one: Sampled, expected: tuple[Any, ...]) -> None:
    assert outcome(play(name, one)) == expected


@pytest.mark.parametrize("name", methods.LOOPS)
@pytest.mark.parametrize("t", [1, 2, 5])
def test_a_replay_is_what_the_loop_does(tmp_path: Any, name: str, t: int) -> None:
    draw(tmp_path / "a.jsonl", HashedEngine(25), 40, Needs(5, 5, 5))
    problems = sampled.gather(store.read(tmp_path / "a.jsonl"))
    for case, one in zip(cases(40), problems, strict=True):
        settings = LoopSettings(t, methods.LOOPS[name], width=1)
        trace = finish(solve(case.question, HashedEngine(25), table(), settings), lambda e: None)
        played = play(f"{name}@{t}", one)
        assert played.answer == trace.answer
        assert (played.agreed, played.rounds) == (trace.agreed_round, len(trace.rounds))
        assert sum(played.tokens) == trace.tokens


@pytest.mark.parametrize("name", ["irr", "lorid@0", "lorid@101", "majority@", "first-to-0", ""])
def test_an_unknown_method_is_named_with_those_known(name: str) -> None:
    with pytest.raises(InputError) as raised:
        parse([name], 8)
    near = {"irr": " (did you mean ir?)", "majority@": " (did you mean majority@5?)",
            "first-to-0": " (did you mean first-to-3?)",
            "lorid@0": " (did you mean lorid?)",
            "lorid@101": " (did you mean lorid?)"}.get(name, "")  # fmt: skip
    assert raised.value.message == f"unknown method {name!r}{near}"
    assert raised.value.hint == (
        "known, with any k, and @t behind those of rounds: ir, dr, dr+teacher, dr+none, dr+other, "
        "majority@5, weighted@5, self-consistency@5, adaptive, first-to-3, ir-first-to-3, lorid, "
        "pooled, pooled-3, pooled-4, pooled-5, warm-lorid, warm-pooled, reference"
    )


def test_what_methods_need_is_joined() -> None:
    needs = Needs()
    for method in parse(["lorid@2", "majority@9", "dr+none", "dr+teacher", "dr"], 4):
        needs |= method.needs
    assert needs == Needs(9, 2, 2, ("teacher", "none"))
    assert needs.met_by(problem([1] * 9, [1] * 2, none=1, teacher=1))
    assert not needs.met_by(problem([1] * 8, [1] * 2, none=1, teacher=1))
    assert not needs.met_by(problem([1] * 9, [1] * 2, none=1))


def test_methods_are_replayed_on_the_problems_that_all_have() -> None:
    problems = [problem([24, 1], [1]), problem([1], [24]), problem([1, 24], [1])]
    found = replay(problems, parse(["majority@2", "lorid@1"], 4))
    assert [p.rounds[0].ir for p in found.problems] == [problems[i].rounds[0].ir for i in (0, 2)]
    assert [p.right for p in found.outcomes["majority@2"]] == [True, False]


def test_the_table_counts_what_it_says() -> None:
    settled = problem([24], [24])
    wrong = problem([1, 2], [2, 2], gold=24)
    never = problem([24, 24], [1, 3])
    played = [play("lorid@2", p) for p in (settled, wrong, never)]
    row = table_row("lorid", played, [0.1, 0.2, 0.3])
    assert (row["right"], row["n"], row["agreed"]["n"], row["agreed"]["right"]) == (2, 3, 2, 1)
    assert (row["not_agreed"]["right"], row["not_agreed"]["n"]) == (1, 1)
    assert [(r["round"], r["right"], r["n"]) for r in row["by_round"]] == [(1, 1, 1), (2, 0, 1)]
    assert row["rounds"] == pytest.approx(5 / 3)
    assert row["generations"] == 5
    assert row["tokens"] == pytest.approx(5 / 3 * 70)
    assert row["seconds"] == pytest.approx(5 / 3 * (1 + 4 + 12))


def test_methods_are_compared_problem_by_problem() -> None:
    outcomes = {
        name: [Played(None, None, 1, 1, (0, 0, 0), right=c == "r") for c in text]
        for name, text in (("a", "rrr..r"), ("b", "r..r.r"), ("c", "......"))
    }
    assert pairs(outcomes) == [
        {"first": "a", "second": "b", "only_first": 2, "only_second": 1, "p": 1.0},
        {"first": "a", "second": "c", "only_first": 4, "only_second": 0, "p": 0.125},
        {"first": "b", "second": "c", "only_first": 3, "only_second": 0, "p": 0.25},
    ]


# --- statistics, by hand ---


@pytest.mark.parametrize(
    ("one", "two", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 2 / 32), (5, 0, 2 / 32), (1, 6, 2 * 8 / 128), (3, 4, 1.0),
     (2, 10, 2 * (1 + 12 + 66) / 4096)],
)  # fmt: skip
def test_mcnemar(one: int, two: int, p: float) -> None:
    assert mcnemar(one, two) == pytest.approx(p)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (4, 0), (5, 1), (3, 3), (2, 7)])
def test_leads_is_the_beta_tail(a: int, b: int) -> None:
    # I_x(a + 1, b + 1) by its definition, the integral of x^a (1 - x)^b, term by term
    whole = Fraction(1, (a + b + 1) * comb(a + b, a))
    half = sum(
        Fraction((-1) ** k * comb(b, k), a + k + 1) * Fraction(1, 2) ** (a + k + 1)
        for k in range(b + 1)
    )
    assert leads(a, b) == pytest.approx(float(1 - half / whole))


def test_calibration_error() -> None:
    assert calibration_error([]) == 0
    assert calibration_error([(0.5, 5, 10), (0.9, 9, 10), (0.3, 0, 0)]) == 0
    # (30 |0.6 - 0.5| + 10 |0.9 - 0.5|) / 40
    assert calibration_error([(0.6, 15, 30), (0.9, 5, 10)]) == pytest.approx(0.175)


def test_phi() -> None:
    assert phi(10, 0, 0, 10) == 1
    assert phi(5, 5, 5, 5) == 0
    assert phi(0, 3, 3, 0) == -1
    assert phi(4, 0, 0, 0) is None


def test_a_share_of_nothing_is_none() -> None:
    assert share(0, 0) == {"right": 0, "n": 0, "share": None, "low": 0.0, "high": 1.0}


@pytest.mark.parametrize(
    ("value", "right"), [(18, True), (0.18, True), (1800, True), (18.001, True), (18.01, False)]
)
def test_the_authors_equality_is_lenient(value: float, right: bool) -> None:
    assert lenient(value, 18) is right


# --- questions ---


def test_convergence_says_when_and_how_rightly() -> None:
    problems = [problem([24], [24]), problem([1], [1]), problem([1, 24], [2, 24]),
                problem([1, 1], [2, 3])]  # fmt: skip
    found = questions.convergence(problems, "same-round", 2)
    assert found["rounds"] == [{"round": 1, "n": 2, "right": 1}, {"round": 2, "n": 1, "right": 1}]
    assert found["never"] == {"n": 1, "right": 0}


def test_the_curve_has_a_point_for_each_t() -> None:
    problems = [problem([1, 24, 3], [2, 24, 3]), problem([24, 1, 1], [24, 2, 3])]
    found = questions.curve(problems, 3)
    assert [(p["t"], p["right"], p["agreed"]) for p in found["same-round"]] == [
        (1, 1, 1), (2, 2, 2), (3, 2, 2)]  # fmt: skip
    assert [p["tokens"] for p in found["same-round"]] == [70, 105, 105]
    assert [(p["t"], p["right"]) for p in found["majority"]] == [(1, 1), (2, 1), (3, 0)]


def test_rules_are_compared_with_those_of_kg() -> None:
    problems = [problem([1], [24], none=1, other=24), problem([1], [1], none=24, other=1),
                problem([1], [24], none=2, other=24)]  # fmt: skip
    found = {r["rules"]: (r["right"], r["lost"], r["won"]) for r in questions.rules(problems)}
    assert found == {"kg": (2, 0, 0), "none": (1, 2, 1), "other": (2, 0, 0)}


def test_kinds_of_problems() -> None:
    def case(question: str, *steps: str, **more: Any) -> Case:
        return Case(0, question, answer(1), steps, **more)

    of = questions.KINDS
    assert of["steps"](case("")) == "" and of["steps"](case("", "1+1")) == "1"
    assert of["steps"](case("", *["1+1"] * 7)) == "5 or more"
    assert of["operations"](case("", "1+1", "2-1")) == "+ - only"
    assert of["operations"](case("", "2*3")) == "* / only"
    assert of["operations"](case("", "2*3", "1+1")) == "both kinds"
    sizes = [
        of["largest number"](case(f"has {n} and 2")) for n in ("", "9", "99.5", "100", "1,200")
    ]
    assert sizes == ["below 10", "below 10", "10 to 99", "100 to 999", "1000 and more"]
    assert of["grade"](case("", grade=4)) == "grade 4" and of["topic"](case("", topic="x")) == "x"


def test_kinds_in_the_order_of_their_size() -> None:
    problems = [problem([24], [1]), problem([1], [24])]
    for one, number in zip(problems, ("300", "20"), strict=True):
        object.__setattr__(one, "case", Case(0, f"Has {number}?", answer(24)))
    found = questions.kinds(problems)
    assert [(k["by"], k["kind"], k["ir"]["right"], k["dr"]["right"]) for k in found] == [
        ("largest number", "10 to 99", 0, 1), ("largest number", "100 to 999", 1, 0)]  # fmt: skip


def test_independence_of_errors() -> None:
    problems = [problem([24, 1, 1, NO], [24, 1, 2, 24]), problem([24, 3], [5, 24])]
    found = questions.independence(problems)
    assert (found["rounds"], found["both_right"], found["ir_alone"], found["dr_alone"]) == (
        5,
        1,
        1,
        1,
    )
    assert (found["both_wrong"], found["wrong_alike"]["right"]) == (2, 1)
    assert found["expected"] == pytest.approx(2 * 2 / 5)


def test_reasons_without_what_is_particular() -> None:
    assert questions.kind_of_reason("its arithmetic fails: 2+2=5") == "its arithmetic fails"
    assert questions.kind_of_reason("'x' holds two answers") == "the marked answer is no number"


# --- the policy ---


def scored(name: str, right: int, tokens: float) -> dict[str, Any]:
    return {"method": name, "first": {**share(right, 100), "tokens": tokens}}


def test_the_frontier_and_the_choice() -> None:
    rows = [scored("a", 30, 10), scored("b", 28, 20), scored("c", 40, 30), scored("d", 40, 40),
            scored("e", 42, 90)]  # fmt: skip
    assert [r["method"] for r in policy.frontier(rows)] == ["a", "c", "e"]
    # one standard error of 42 of 100 is 4.9: 40 is within it, 30 is not
    assert policy.choose(rows)["method"] == "c"


def test_the_other_half_has_no_say() -> None:
    good, other = problem([1, 24], [2, 24]), problem([24, 24], [24, 24])
    found = policy.figures([Draw([good, other] * 10)])
    assert found
    turned = policy.figures([Draw([good, problem([1, 1], [1, 1])] * 10)])
    assert turned
    assert (found["chosen"], found["loop"]) == (turned["chosen"], turned["loop"])
    rule = next(r for r in found["rules"] if r["method"] == found["loop"])
    assert found["loop"] == "warm-lorid@1"  # in the first half the greedy round is of no use
    assert (rule["first"]["right"], rule["second"]["right"]) == (10, 10)
    (rule,) = [r for r in turned["rules"] if r["method"] == turned["loop"]]
    assert (rule["first"]["right"], rule["second"]["right"]) == (10, 0)  # as it is there
    assert policy.figures([Draw([good])]) is None


# --- others' extraction ---


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("#### 24", "24", "24"),
        ("#### 1,200.", "1,200.", "1,200."),
        ("#### $18", "[invalid]", "$18"),
        ("####24", "[invalid]", "24"),
        ("She has 24 eggs, 3 a day.", "[invalid]", "3"),
        ("#### 18 apples (6 x 3)", "18", "3"),
        ("nothing", "[invalid]", "[invalid]"),
        ("#### -5", "-5", "-5"),
    ],
)
def test_what_the_harness_takes(text: str, strict: str, flexible: str) -> None:
    assert (peers.strict(text), peers.flexible(text)) == (strict, flexible)


def test_exact_match_ignores_what_the_harness_ignores() -> None:
    assert peers.normal("$1,200.") == peers.normal("1200") == "1200"
    assert peers.normal("18.00") != peers.normal("18")


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("#### 1,200.", "1200"),
        ("--> 18 END, 20 more", "18"),
        ("She has 24 eggs, 1,300 a day in 3", "3"),
        ("He takes 10-5", "-5"),  # as theirs reads it
        ("It is .5 of", "0.5"),
        ("#### 5-7", "-7"),
    ],
)
def test_what_the_authors_take(text: str, taken: str) -> None:
    found = peers.authors(text)
    assert found and found.shown == taken


def test_the_authors_take_nothing_where_no_number_stands() -> None:
    assert peers.authors("nothing") is None and peers.authors("") is None


def test_extractors_are_counted_where_they_differ() -> None:
    one = problem(["#### 24", "#### 24.00", "She has 24", "#### 24 (6 x 4)"], ["#### 3"])
    found = peers.extractors([one])
    assert found["counts"] == {
        "strict-match": {"both": 2, "ours": 1, "theirs": 0, "neither": 2, "otherwise": 1},
        "flexible-extract": {"both": 1, "ours": 2, "theirs": 1, "neither": 1, "otherwise": 3},
        "LoRID's authors": {"both": 3, "ours": 0, "theirs": 1, "neither": 1, "otherwise": 1},
    }
    assert found["differ"] == 3
    assert found["differing"][0] == {
        "problem": 0, "role": "ir", "round": 2, "gold": "24", "ours": "24",
        "strict-match": "24.00", "flexible-extract": "24.00", "LoRID's authors": "24"}  # fmt: skip
    assert found["differing"][1]["ours"] == "none: no marked answer"


def test_a_gold_that_is_a_fraction_is_right_exactly() -> None:
    third = Answer(Fraction(1, 3), "1/3")
    assert problem([24]).right(answer(24)) and not problem([24]).right(third)


def test_default_methods_exist() -> None:
    assert [m.name for m in parse(methods.DEFAULT, 8)] == list(methods.DEFAULT)
    assert all(parse([name], 8) for name in methods.KINDS)
