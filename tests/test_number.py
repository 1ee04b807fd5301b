"""Reading one number as a person or a model types it: a table, grown from traps."""

from fractions import Fraction

import pytest

from lorid_local.answers import Answer, Unparsed, read
from lorid_local.number import MAX_DIGITS

NUMBERS = [
    ("18", "18"),
    ("$18.00", "18"),
    ("18 dollars", "18"),
    ("18.", "18"),
    ("18..", "18"),
    ("18...", "18"),
    ("#### 18 apples", "18"),
    ("answer: 18", "18"),
    ("The answer is 18", "18"),
    ("**18**", "18"),
    ("`18`", "18"),
    ("18<|im_end|>", "18"),
    ("18</s>", "18"),
    ("<<48/2=24>>24", "24"),
    ("5!", "5"),
    ("~18", "18"),
    ("about 18", "18"),
    ("5 more apples", "5"),
    ("18 apples on the third day", "18"),
    ("the one with 18 apples", "18"),
    ("18-inch", "18"),
    ("60 miles/hour", "60"),
    ("18 - the total", "18"),
    # fractions and mixed numbers
    ("1/2", "1/2"),
    ("12 / 30", "2/5"),
    ("0.5", "1/2"),
    (".5", "1/2"),
    ("1 1/2 cups", "3/2"),
    ("-1 1/2", "-3/2"),
    ("1½", "3/2"),
    ("1 ½", "3/2"),
    ("½", "1/2"),
    ("-½", "-1/2"),
    ("⅒ mile", "1/10"),
    ("half", "1/2"),
    ("3 and a half hours", "7/2"),
    # thousands
    ("1,200", "1200"),
    ("1,234,567.50", "2469135/2"),
    ("1\u00a0200", "1200"),
    ("1\u2009200", "1200"),
    ("1\u202f200 km", "1200"),
    ("1 200", "1200"),
    ("12 500 000 people", "12500000"),
    # signs
    ("-3", "-3"),
    ("− 3", "-3"),
    ("−3", "-3"),
    ("–3", "-3"),
    ("\u20113", "-3"),
    ("+3", "3"),
    ("minus 3", "-3"),
    ("negative five", "-5"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    ("it is -5 degrees", "-5"),
    # units are dropped, never converted
    ("50%", "50"),
    ("½%", "1/2"),
    ("€18", "18"),
    ("18€", "18"),
    ("£3", "3"),
    ("18 cents", "18"),
    ("$0.18", "9/50"),
    ("90°", "90"),
    ("2 dozen", "2"),
    ("3 quarters", "3"),
    ("3eggs", "3"),
    ("3rd", "3"),
    ("the 21st", "21"),
    # brackets
    ("(5)", "5"),
    ("(-5)", "-5"),
    ("-(5)", "-5"),
    ("18 apples (6 x 3)", "18"),
    ("18 (not 20)", "18"),
    ("18 apples (6 x 3", "18"),
    ("(a) 18", "18"),
    # equations
    ("10 x 3 = 30", "30"),
    ("10x3=30", "30"),
    ("(10 x 3) = 30", "30"),
    ("x = 5", "5"),
    ("f(3) = 5", "5"),
    ("1 - 2 = -1", "-1"),
    ("1/2 = 0.5", "1/2"),
    ("10/3 ≈ 3.33", "333/100"),
    # powers of ten and words
    ("3e5", "300000"),
    ("3E-2", "3/100"),
    ("1.5 million", "1500000"),
    ("$2 million", "2000000"),
    ("zero", "0"),
    ("eighteen", "18"),
    ("Eighteen apples", "18"),
    ("fourty five", "45"),
    ("ninty-nine", "99"),
    ("twenty-one", "21"),
    ("twenty one", "21"),
    ("a hundred", "100"),
    ("one hundred and five", "105"),
    ("nineteen hundred", "1900"),
    ("two thousand and five", "2005"),
    ("two million three hundred thousand and five", "2300005"),
    ("one and a half", "3/2"),
    # LaTeX
    (r"\frac{1}{2}", "1/2"),
    (r"-\frac{1}{2}", "-1/2"),
    (r"\frac{-1}{2}", "-1/2"),
    (r"\dfrac12", "1/2"),
    (r"1\frac{1}{2}", "3/2"),
    (r"$\frac{1}{2}$", "1/2"),
    (r"18\text{ apples}", "18"),
    (r"\text{18 apples}", "18"),
    (r"18\%", "18"),
    (r"\$18", "18"),
    ("1{,}200", "1200"),
    (r"10\,000", "10000"),
    (r"\(18\)", "18"),
    (r"\left(18\right)", "18"),
    (r"90^\circ", "90"),
    (r"6 \times 3 = 18", "18"),
    (r"\boxed{18}", "18"),
    # other scripts' decimal digits count as what they are
    ("\u0661\u0668", "18"),
    ("\uff11\uff18", "18"),
    ("1\u200b8", "18"),
    ("9" * MAX_DIGITS, "9" * MAX_DIGITS),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_read_number(text: str, value: str) -> None:
    answer = read(text)
    assert isinstance(answer, Answer), answer
    assert (answer.value, answer.kind) == (Fraction(value), "number")


TIMES = [
    ("12:30", "12:30"),
    ("12:30 pm", "12:30"),
    ("12:30 p.m.", "12:30"),
    ("12:30 AM", "0:30"),
    ("3:30 pm", "15:30"),
    ("3:30", "3:30"),
    ("at 3 pm", "15:00"),
]


@pytest.mark.parametrize(("text", "shown"), TIMES)
def test_read_time(text: str, shown: str) -> None:
    answer = read(text)
    assert isinstance(answer, Answer), answer
    assert (answer.kind, answer.shown) == ("time", shown)


REFUSED = [
    ("", "the answer is empty"),
    (" \n\t", "the answer is empty"),
    ("####", "the answer is empty"),
    ("seven-ish", "no number in 'seven-ish'"),
    ("none", "no number in 'none'"),
    ("\x00\x1b[", "no number in '['"),
    ("1\x002", "'1 2' holds two numbers"),
    ("5-7", "'5-7' is a range, not one number"),
    ("5–7", "'5–7' is a range, not one number"),
    ("5 to 7", "'5 to 7' is a range, not one number"),
    ("5 to -7", "'5 to -7' is a range, not one number"),
    ("between 5 and 7", "'between 5 and 7' is a range, not one number"),
    ("3:1", "'3:1' is a ratio, not one number"),
    ("12:75", "'12:75' is not a time of day"),
    ("13 pm", "'13pm' is not a time of day"),
    ("-12:30", "'-12:30' is not worked out"),
    ("18 and 20", "'18 and 20' holds two numbers"),
    ("3, 4", "'3, 4' holds two numbers"),
    ("(18,-18)", "'(18,-18)' holds two numbers"),
    ("1, 1/2", "'1, 1/2' holds two numbers"),
    ("1 3/2", "'1 3/2' holds two numbers"),
    ("$5$10", "'$5$10' holds two numbers"),
    ("three 20 dollar bills", "'three 20 dollar bills' holds two numbers"),
    ("3 100-dollar bills", "'3 100-dollar bills' holds two numbers"),
    ("2 hours and 30 minutes", "'2 hours and 30 minutes' holds two numbers"),
    ("5, 6, 7", "'5, 6, 7' holds 3 numbers"),
    ("x = 5 or x = 6", "'x = 5 or x = 6' holds two answers"),
    ("18 =", "nothing stands right of the last '=' in '18 ='"),
    ("10 x 3", "'10 x 3' is not worked out"),
    ("10 - 3", "'10 - 3' is not worked out"),
    ("10 -3", "'10 -3' is not worked out"),
    ("10 minus 3", "'10 minus 3' is not worked out"),
    ("--3", "'--3' is not worked out"),
    ("x + 5", "'x + 5' is not worked out"),
    ("x - 5", "'x - 5' is not worked out"),
    ("x/2", "'x/2' is not worked out"),
    ("1/2/3", "'1/2/3' is not worked out"),
    ("2^3", "'2^3' is not worked out"),
    (r"\frac{x}{2}", r"'\frac{x}{2}' is not worked out"),
    ("6(3)", "'6(3)' is not a plain number"),
    ("5²", "'5²' is not a plain number"),
    ("18+", "'18+' is not a plain number"),
    (r"\sqrt{16}", r"'\sqrt{16}' is not a plain number"),
    (r"5\pi", r"'5\pi' is not a plain number"),
    ("< 5", "'< 5' is not a plain number"),
    ("A5", "'a5' is not a plain number"),
    ("3x", "'3x' is unclear"),
    ("5k", "'5k' is unclear"),
    ("two thirds", "a fraction in words ('thirds') is unclear: write it as 1/2 or 3/4"),
    ("3 and two-thirds", "a fraction in words ('thirds') is unclear: write it as 1/2 or 3/4"),
    ("three quarters", "a fraction in words ('quarters') is unclear: write it as 1/2 or 3/4"),
    ("3 and a quarter", "a fraction in words ('quarter') is unclear: write it as 1/2 or 3/4"),
    ("more than 5", "'more than 5' is a bound, not one number"),
    ("at least 5", "'at least 5' is a bound, not one number"),
    ("not 5", "'not 5' is a bound, not one number"),
    ("1/0", "'1/0' divides by zero"),
    (r"\frac{1}{0}", "'1/0' divides by zero"),
    ("$1,5", "'1,5' is not one number: write 1200 or 1.5, without other marks"),
    ("0,500", "'0,500' is not one number: write 1200 or 1.5, without other marks"),
    ("1.234.567", "'1.234.567' is not one number: write 1200 or 1.5, without other marks"),
    ("5...7", "'5...7' is not one number: write 1200 or 1.5, without other marks"),
    ("9" * (MAX_DIGITS + 1), "a number of more than 60 digits"),
    ("1e61", "a number of more than 60 digits"),
    ("1e-99999999", "a number of more than 60 digits"),
    ("5 " + "very " * 80 + "big", "the answer is longer than 400 characters"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_read_refuses(text: str, reason: str) -> None:
    assert read(text) == Unparsed(reason)
