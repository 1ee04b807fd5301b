"""The families' texts: pronouns, articles, ordinals, plurals, and what a sentence calculates."""

import pytest

from lorid_local.practice.expressions import Malformed
from lorid_local.practice.names import FORMS, PEOPLE
from lorid_local.practice.texts import Names, Words, before_plurals, is_name, marked, template

NAMES = Names(frozenset({"n"}), frozenset({"item"}), frozenset({"a", "b", "h"}))


def filled(source: str, **words: str) -> str:
    pronouns = {"n.he": "she", "n.His": "Her", "n.himself": "herself"}
    given = {"n": "Ada", "item": "clips", "a": "96", "b": "2", "h": "48"}
    return template(source, NAMES).fill(Words(given | pronouns | words))


def test_slots_and_pronouns_are_put_in() -> None:
    text = "{n} sold {a} {item} by {n.himself}, {n.he} says. {n.His} share is 5%, not %(a)s."
    assert filled(text) == ("Ada sold 96 clips by herself, she says. Her share is 5%, not %(a)s.")


def test_a_template_knows_what_it_shows() -> None:
    assert template("{n.He} has {a} {item}.", NAMES).used == {"n", "a", "item"}


@pytest.mark.parametrize(
    ("number", "article"),
    [("1", "a"), ("8", "an"), ("9", "a"), ("10", "a"), ("11", "an"), ("18", "an"), ("80", "an"),
     ("85", "an"), ("110", "a"), ("800", "an"), ("1100", "a"), ("11000", "an"), ("18500", "an"),
     ("8.50", "an"), ("11.50", "an"), ("1.80", "a"), ("181", "a")],
)  # fmt: skip
def test_the_article_follows_the_number(number: str, article: str) -> None:
    assert filled("He paid a {a}% tip.", a=number) == f"He paid {article} {number}% tip."
    assert filled("An ${a} tip.", a=number) == f"{article.capitalize()} ${number} tip."


def test_other_articles_stay() -> None:
    assert filled("a {item} and a {n} and a b {a}", a="8") == "a clips and a Ada and a b 8"


@pytest.mark.parametrize(
    ("number", "shown"),
    [("1", "1st"), ("2", "2nd"), ("3", "3rd"), ("4", "4th"), ("11", "11th"), ("12", "12th"),
     ("13", "13th"), ("20", "20th"), ("21", "21st"), ("112", "112th"), ("123", "123rd")],
)  # fmt: skip
def test_the_ordinal_follows_the_number(number: str, shown: str) -> None:
    assert filled("the {a}th car", a=number) == f"the {shown} car"
    assert filled("the {item}th car") == "the clipsth car"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{c} clips", "unknown slot {c} in '{c} clips'"),
        ("{n.she} ran", "unknown pronoun {n.she} in '{n.she} ran'"),
        ("{a.he} ran", "unknown pronoun {a.he} in '{a.he} ran'"),
        ("{a clips", "a brace that names no slot in '{a clips'"),
        ("{} clips", "a brace that names no slot in '{} clips'"),
        ("{a!r} clips", "a brace that names no slot in '{a!r} clips'"),
        ("{a.b.c}", "a brace that names no slot in '{a.b.c}'"),
    ],
)
def test_what_names_no_slot_is_refused(source: str, reason: str) -> None:
    with pytest.raises(Malformed) as error:
        template(source, NAMES)
    assert str(error.value) == reason


def test_a_word_that_is_missing_is_a_bug() -> None:
    with pytest.raises(KeyError, match="'h'"):
        template("{h}", NAMES).fill(Words(a="1"))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("{a} tablets", {"a"}),
        ("{a} blue tablets", {"a"}),
        ("{a} {item}", {"a"}),
        ("{a} more {item} than {b} boxes", {"a", "b"}),
        ("{a} children", {"a"}),
        ("{a} times as many", {"a"}),
        ("{n} is {a} years older and {b} inches taller", {"a", "b"}),
        ("{a} of the tablets", set()),
        ("{a} glass", set()),
        ("{a} is", set()),
        ("a {a}-liter tank", set()),
        ("{a}. Tablets", set()),
        ("{n} tablets", set()),
    ],
)
def test_numbers_before_a_plural_are_found(text: str, numbers: set[str]) -> None:
    assert before_plurals([text], NAMES) == numbers


def test_what_can_name_a_slot() -> None:
    assert all(map(is_name, ("a", "thing2", "T")))
    assert not any(map(is_name, ("2a", "a b", "", "_", "a.b")))


@pytest.mark.parametrize(
    ("sentence", "expression", "expected"),
    [
        ("In May {n} sold {a} / 2 = {h}.", "a / 2", "In May {n} sold {a}/2 = <<{a}/2={h}>>{h}."),
        ("It is ${a} * {b} = ${h} now.", "a * b", "It is ${a}*{b} = $<<{a}*{b}={h}>>{h} now."),
        ("({a} - 6) * {b} = {h}", "(a - 6) * b", "({a}-6)*{b} = <<({a}-6)*{b}={h}>>{h}"),
        ("All (so {a} + {b} = {h}) of it", "a + b", "All (so {a}+{b} = <<{a}+{b}={h}>>{h}) of it"),
        ("All ({a} + {b} = {h}) of it", "a + b", "All ({a}+{b} = <<{a}+{b}={h}>>{h}) of it"),
        ("{a} * 20% = {h}", "a * 20 / 100", "{a}*20% = <<{a}*20%={h}>>{h}"),
        ("{a} * {b}% = {h}", "a * b / 100", "{a}*{b}% = <<{a}*{b}%={h}>>{h}"),
        ("{a} * $0.50 = ${h}", "a * 0.5", "{a}*$0.50 = $<<{a}*0.50={h}>>{h}"),
        ("{b} + {a} = {h}", "a + b", "{b}+{a} = <<{b}+{a}={h}>>{h}"),
        ("{a} // 3 = {h} full", "a // 3", "{a}//3 = <<{a}//3={h}>>{h} full"),
        ("1 * {a} = {a}", "1 * a", "1*{a} = <<1*{a}={a}>>{a}"),
        ("{a}+{b}={h}", "a + b", "{a}+{b} = <<{a}+{b}={h}>>{h}"),
        ("{a} * {b} = {h}", "a + b", None),  # shows another calculation
        ("{a} + {b} = {a}", "a + b", None),  # and another result
        ("{a} / {item} = {h}", "a / b", None),
        ("{a} / 0 = {h}", "a / 1", None),
        ("That is {h}.", "a + b", None),
    ],
)
def test_the_calculation_shown_is_marked(
    sentence: str, expression: str, expected: str | None
) -> None:
    assert marked(sentence, expression, "h", NAMES.numbers) == expected


def test_the_names_are_many_and_fit_every_text() -> None:
    names = [name for name, _ in PEOPLE]
    assert len(names) == len(set(names)) >= 140
    assert all(name.isascii() and name[0].isupper() and name[-1] != "s" for name in names)
    forms = {tuple(words) for _, words in PEOPLE}
    assert forms == {
        ("she", "her", "her", "herself", "She", "Her"),
        ("he", "him", "his", "himself", "He", "His"),
    }
    kinds = [words[0] for _, words in PEOPLE]
    assert abs(kinds.count("she") - kinds.count("he")) <= 2
    assert FORMS == ("he", "him", "his", "himself", "He", "His")
