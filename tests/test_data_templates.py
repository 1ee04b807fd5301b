"""Templates: what is traced and what is refused, and what new numbers must keep."""

import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from lorid_local import arithmetic
from lorid_train import redraw, rows, tracing
from lorid_train.marking import marked
from lorid_train.mentions import Style, join, mentions, write
from lorid_train.redraw import choices_of
from lorid_train.rows import Row
from lorid_train.template import Variable
from tests.data_problems import ALL, HALF, PENS, SALE, WEEK, changed, short

SHARED = Path(__file__).parents[2] / "shared" / "data"


def drawn(row: Row, count: int = 40, seed: int = 1) -> Iterator[Row]:
    """Yield rows made from `row`'s template."""
    template = tracing.trace(row)
    for numbers in redraw.draws(template, count, random.Random(seed)):
        yield redraw.filled(template, numbers, "t")


def results(row: Row) -> list[Fraction]:
    return [arithmetic.parse_number(shown) for _, shown in arithmetic.steps(row.rationale)]


def test_a_template_filled_with_its_own_numbers_is_the_problem() -> None:
    for row in ALL:
        template = tracing.trace(row)
        again = redraw.filled(template, [v.value for v in template.variables], "t")
        assert (again.question, again.answer) == (row.question, row.answer)
        assert again.rationale == row.rationale


def test_every_drawn_row_verifies_and_its_words_agree_with_its_steps() -> None:
    for row in ALL:
        made = list(drawn(row))
        assert len({r.question for r in made}) == len(made) >= 20
        for one in made:
            assert redraw.verified(one)
            shown = [n.value for n in mentions(one.rationale, shares=False) if n.kind == "digits"]
            for result in results(one):  # in its step and behind it at least
                assert shown.count(result) >= 2


def test_what_is_whole_stays_whole_and_money_has_two_decimals() -> None:
    for one in drawn(PENS):
        values = {m.value for m in mentions(one.question)}
        assert all(r.denominator == 1 for r in results(one))
        assert all(100 % v.denominator == 0 for v in values)
        assert "each" in one.question
    prices = [v for v in choices_of(Variable(Fraction(3, 2), money=True, decimals=2))]
    assert all(0 < v <= 4 and 2 % v.denominator == 0 for v in prices)


def test_percents_stay_percents() -> None:
    assert choices_of(Variable(Fraction(25), percent=True)) == tuple(range(10, 65, 5))
    assert max(choices_of(Variable(Fraction(90), percent=True))) == 95
    for one in drawn(SALE):
        price, percent = (m.value for m in mentions(one.question))
        assert results(one) == [price * percent / 100, price - price * percent / 100]


def test_percents_that_add_up_to_a_hundred_stay() -> None:
    row = changed(
        SALE,
        question="Of 80 balls 25% are red and 75% blue. How many balls are not red?",
        rationale="Red are 80*25/100=<<80*25/100=20>>20.\nThe rest is 80-20=<<80-20=60>>60.",
    )
    assert all("25% are red and 75% blue" in one.question for one in drawn(row))


def test_a_percent_is_followed_into_decimals() -> None:
    row = short(
        "A tank of 200 liters loses 20%. How much is left?",
        "Left: 200*.8=<<200*.8=160>>160.",
        "160",
    )
    for one in drawn(row):
        volume, percent = (m.value for m in mentions(one.question))
        assert arithmetic.parse_number(one.answer) == volume * (100 - percent) / 100


def test_number_words_stay_words_and_half_stays() -> None:
    seen = set()
    for one in drawn(HALF):
        words = {m.value for m in mentions(one.question) if m.kind == "word"}
        assert len(words) == 1 and all(2 <= w <= 12 for w in words)
        assert "half of them" in one.question
        assert "/2 = <<" in one.rationale
        first = one.rationale.splitlines()[2].split()[0]
        assert first.istitle()  # 'Six baskets' becomes 'Eight baskets'
        seen |= words
    assert len(seen) > 2


def test_constants_of_the_calendar_stay() -> None:
    for one in drawn(WEEK):
        assert "A week has 7 days" in one.rationale
        assert "*7=" in one.rationale
    week = short("He runs 3 miles 5 days a week. How far?", "He runs 3*5=<<3*5=15>>15 miles.", "15")
    assert all(max(m.value for m in mentions(r.question)) <= 12 for r in drawn(week))
    days = {m.value for r in drawn(week) for m in mentions(r.question[r.question.index("miles") :])}
    assert max(days) <= 7


def test_order_is_kept_where_numbers_are_subtracted() -> None:
    row = short("Of 90 eggs 35 break. How many are left?", "Left: 90-35=<<90-35=55>>55.", "55")
    for one in drawn(row):
        before, broken = (m.value for m in mentions(one.question))
        assert before > broken


def test_shares_below_one_stay_below_one() -> None:
    row = short(
        "Ann reads 30 of 120 pages. What share is left, as a decimal?",
        "She has 120-30=<<120-30=90>>90 pages left.\nThat is 90/120=<<90/120=.75>>.75.", "0.75",
    )  # fmt: skip
    for one in drawn(row, 10):
        assert 0 < arithmetic.parse_number(one.answer) < 1
        assert one.rationale.rpartition("=")[2].startswith(".")


REFUSALS = [
    ("no steps", "Ann has 13 owls. How many?", "Thirteen.", "13"),
    ("a step is false or unreadable", "Ann has 13 and 5.", "It is <<13+5=19>>19.", "19"),
    ("a result is rounded", "Share 20 among 3.", "It is <<20/3=6.67>>6.67.", "6.67"),
    ("a step without a calculation", "Ann has 13 owls.", "She has <<13=13>>13.", "13"),
    ("a result is below zero", "From 13 take 15.", "It is <<13-15=-2>>-2.", "-2"),
    ("the last result is not the answer", "Ann has 13 and 15.", "So <<13+15=28>>28.", "29"),
    ("the answer is no number", "Ann has 13 and 15.", "So <<13+15=28>>28.", "x"),
    ("algebra", "Ann has 13 and 15.", "Let x be all. So <<13+15=28>>28.", "28"),
    ("an operand is not traceable", "Ann has 13 owls.", "So <<13+19=32>>32.", "32"),
    ("an operand could be two numbers", "Ann has 13 owls, 26 eggs and 13 a day.",
     "So <<13+13=26>>26, <<26+13=39>>39, <<26-13=13>>13, <<39+26=65>>65.", "65"),
    ("a number of the solution's words is not traceable", "Ann has 13 and 15.",
     "With 77 in mind, <<13+15=28>>28.", "28"),
    ("a number of the question is unreadable", "Ann has 13k and 15.", "So <<13+15=28>>28.", "28"),
    ("a number that no step uses follows from others", "Of 28 owls 13 are old and 15 young. "
     "The old eat twice.", "So <<13*2=26>>26.", "26"),
    ("a result that no later step uses", "Ann pays $13 or $17 for each of 15 pens, whichever is "
     "less.", "One way <<13*15=195>>195, another <<17*15=255>>255, so <<195+15=210>>210.", "210"),
    ("a number that is left follows from others", "Half of 46 pupils bring 10 cans, two none, "
     "and the remaining 21 bring 6.", "So <<46/2=23>>23, <<23*10=230>>230, <<21*6=126>>126, "
     "<<230+126=356>>356.", "356"),
    ("no number can change", "Ann has 1 owl.", "So <<1+1=2>>2.", "2"),
    ("a number could also be a sum in the head", "For her and 3 friends, at $4, for 5 days.",
     "So <<5*4=20>>20 meals, $<<20*4=80>>80.", "80"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "question", "rationale", "answer"), REFUSALS)
def test_refusals(reason: str, question: str, rationale: str, answer: str) -> None:
    with pytest.raises(tracing.Refused) as caught:
        tracing.trace(short(question, rationale, answer))
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("She pays with a $20 bill for 14 pens at $1.25.", "$20 bill"),
        ("In 2015 Ann had 14 pens at $1.25 and 3 cars.", "2015"),
        ("In room 12 there are 14 pens at $1.25.", "room 12"),
        ("At 6 p.m. she has 14 pens at $1.25.", "6 p.m."),
        ("She finds 3 bills, all 20s, and buys 14 pens at $1.25.", "all 20s"),
        ("She scored 3-point shots and buys 14 pens at $1.25.", "3-point shots"),
        ("Five different stores sell 14 pens at $1.25.", "Five different stores"),
        ("She runs 36, 31, 39 and 52 miles on 4 days and buys 14 pens at $1.25.", "on 4 days"),
        ("In class are 18 boys and 15 girls, all 33 are old. She buys 14 pens at $1.25.", "all 33"),
        ("The two of them buy 14 pens at $1.25.", "The two of them"),
    ],
)
def test_numbers_that_are_no_quantities_stay(text: str, stays: str) -> None:
    row = short(f"{text} What do pens cost?", "It is <<14*1.25=17.50>>17.50.", "17.50")
    made = list(drawn(row, 10))
    assert made
    assert all(stays in one.question for one in made)


def test_calculations_without_marks_are_marked() -> None:
    assert marked("So 12/3=4 have two") == "So 12/3=<<12/3=4>>4 have two"
    assert marked("60 - 10 = <<50=50>>50") == "60 - 10 = <<60-10=50>>50"
    for text in ("2 + 2 = 5", "x+3 = 5", "5*8=<<5*8=40>>40", "1 + 2 = 6/2 = 3"):
        assert marked(text) == text


@pytest.mark.parametrize(
    ("value", "style", "written"),
    [
        (1234, Style(), "1234"),
        (1234, Style(comma=True), "1,234"),
        (Fraction(3, 2), Style(decimals=2), "1.50"),
        (Fraction(3, 2), Style(), "1.5"),
        (2, Style(decimals=2, money=True), "2.00"),
        (Fraction(1, 2), Style(decimals=1, bare=True), ".5"),
        (7, Style(word="lower"), "seven"),
        (7, Style(word="title"), "Seven"),
        (24, Style(word="lower"), "24"),
    ],
)
def test_numbers_are_written_as_they_were(value: Fraction, style: Style, written: str) -> None:
    assert write(value, style) == written


def test_articles_follow_the_number() -> None:
    assert join(["in a ", ("8", True), "-hour day"]) == "in an 8-hour day"
    assert join(["An ", ("5", True), "-hour day"]) == "A 5-hour day"
    assert join(["a $", ("18", True), " coat"]) == "an $18 coat"
    assert join(["a ", ("100", True), " coat"]) == "a 100 coat"


def test_draws_depend_on_the_seed_alone() -> None:
    one, same, other = ([r.question for r in drawn(PENS, 9, s)] for s in (1, 1, 2))
    assert one == same != other
    assert PENS.question not in one


@pytest.mark.skipif(not SHARED.exists(), reason="the data sets are not here")
def test_a_sample_of_gsm8k() -> None:
    everything = list(rows.read(SHARED, "gsm8k/train.jsonl"))
    made = 0
    sample = random.Random(5).sample(everything, 150)
    for row in sample:
        try:
            one = list(drawn(row, 2))
        except tracing.Refused:
            continue
        made += bool(one)
        assert all(redraw.verified(r) and r.question != row.question for r in one)
    assert 0.5 < made / len(sample) < 0.85
