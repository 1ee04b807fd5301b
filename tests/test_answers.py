"""Reading and comparing answers: each wrong grade that was ever seen is a row."""

import random
import subprocess
import sys
import time
from fractions import Fraction

import pytest

from lorid_local.answers import Answer, Unparsed, find, read, same, show, vote, why_different
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


MARKED = [
    ("She has 6 x 3 = <<6*3=18>>18.\n#### 18", "18"),
    ("#### 18 apples (6 x 3)", "18"),
    ("#### 1,200\n", "1200"),
    ("#### $18.00", "18"),
    ("#### 18. She has 3 left.", "18"),
    # run-on text
    ("a\n#### 18\nQuestion: Tom has 5 apples and eats 3.\n#### 2", "18"),
    ("a\n#### 18\n\nTom has 5 apples and eats 3.\n#### 2", "18"),
    ("#### 18 Question: Tom has 5 apples, 3", "18"),
    ("#### 18 #### 20", "18"),
    ("The answer is: 18\n**Question 2:** Tom has 5.\nThe answer is: 5", "18"),
    ("The answer is: 18\nQ: Tom has 5.\n#### 5", "18"),
    ("Question: 5 and 6?\nAnswer: the sum.\n#### 11", "11"),
    # LoRID
    ("So 18.\n--> 18 END", "18"),
    ("So 18.\n--> 18", "18"),
    ("--> 18 END\n--> 20 END", "18"),
    ("--> 18 END 20", "18"),
    ("so 1/48.The answer is: \\frac{1}{48}", "1/48"),
    ("$\\boxed{1000}$.\nThe answer is: 1", "1"),
    ("If the answer is 1000, then x = 1.\nThe answer is: 1", "1"),
    ("We know the answer is 1000.\nThe answer is: 1", "1"),
    ("Hence, the answer is 1/48.The answer is: \\frac{1}{48}", "1/48"),
    # other people's models
    ("The answer is $18.00. She has 3 left.", "18"),
    ("The final answer is **18**.", "18"),
    ("**Final answer:** 18", "18"),
    ("Final answer:\n\n\\[\\boxed{5}\\]", "5"),
    ("so $\\boxed{\\frac{1}{2}}$ of 7", "1/2"),
    ("\\boxed{\\text{18 apples}}", "18"),
    ("\\boxed{5} and again \\boxed{5.0}", "5"),
    ("#### Step 1: add 3\nThe answer is: 7", "7"),
]


@pytest.mark.parametrize("marked_only", [False, True])
@pytest.mark.parametrize(("text", "value"), MARKED)
def test_find_marked(text: str, value: str, marked_only: bool) -> None:
    answer = find(text, marked_only=marked_only)
    assert isinstance(answer, Answer), answer
    assert answer.value == Fraction(value)


UNMARKED = [
    ("She has 3. She buys 15 more. Now she has 18 apples.", "18"),
    ("She has 18 apples (6 x 3).", "18"),
    ("96 / 2 = 48; 96 + 48 = 144", "144"),
    ("Now she has 18.\nQuestion: Tom has 5.", "18"),
    ("She reads 42 pages, half of the rest.", "42"),
    ("Of 5 boxes she uses 1 1/2", "3/2"),
    ("Then:\n- 18 apples", "18"),
    ("She met Mr. Smith at 5", "5"),
    ("In May Natalia sold 24 and in June 30", "30"),
]


@pytest.mark.parametrize(("text", "value"), UNMARKED)
def test_find_without_a_marker(text: str, value: str) -> None:
    answer = find(text)
    assert isinstance(answer, Answer), answer
    assert answer.value == Fraction(value)
    assert find(text, marked_only=True) == Unparsed("no marked answer")


NOT_FOUND = [
    ("", "the text is empty"),
    ("I do not know.", "no number in 'I do not know.'"),
    ("She has 3. I do not know.", "no number in 'I do not know.'"),
    ("There are 5-7 apples", "'There are 5-7 apples' is a range, not one number"),
    ("5 apples, that is 6 x 3", "'5 apples, that is 6 x 3' is not worked out"),
    ("She has 18.\n#### ", "the marked answer is empty"),
    ("\\boxed{}", "the marked answer is empty"),
    ("\\boxed{18", "the marked answer is empty"),
    ("#### seven-ish", "no number in 'seven-ish'"),
    ("#### 5-7", "'5-7' is a range, not one number"),
    ("The answer is 18.\n\nTom has 5. The answer is 3.", "its marked answers differ: 18 is not 3"),
    ("\\boxed{3} or \\boxed{4}", "its marked answers differ: 3 is not 4"),
]


@pytest.mark.parametrize(("text", "reason"), NOT_FOUND)
def test_find_says_why_not(text: str, reason: str) -> None:
    assert find(text) == Unparsed(reason)


TEXTS = [
    ("#### 18 apples (6 x 3)", "18 apples (6 x 3)"),
    ("The answer is: **$18.00**.", "$18.00"),
    ("#### \x1b[31m18\x07", "[31m18"),
    ("So she\nhas 18 apples.", "18"),
    ("#### 18 " + "a" * 99, "18 " + "a" * 34 + "..."),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_answers_text_is_short_and_printable(text: str, shown: str) -> None:
    answer = find(text)
    assert getattr(answer, "text", shown) == shown


SAME = [
    ("1/2", "0.5", True),
    ("1 1/2 cups", "1.50", True),
    ("50%", "50", True),
    ("50%", "0.5", False),
    ("50", "5000", False),
    ("1/3", "0.333333", False),
    ("12:30", "12:30 pm", True),
    ("12:30", "12:30 am", False),
    ("12:30", "750", False),
    ("12:30", "30", False),
    ("12:30", "12", False),
    ("-0", "0", True),
]


@pytest.mark.parametrize(("a", "b", "expected"), SAME)
def test_same(a: str, b: str, expected: bool) -> None:
    first, second = read(a), read(b)
    assert isinstance(first, Answer) and isinstance(second, Answer)
    assert same(first, second) is same(second, first) is expected


WHY = [
    ("18", "20", "18 is not 20"),
    ("1/3", "0.333", "1/3 is not 0.333"),
    ("12:30 am", "30", "0:30 is not 30"),
    ("0.5", "1/2", "both are 0.5"),
    ("18", "", "the second has no answer: the answer is empty"),
    ("5-7", "18", "the first has no answer: '5-7' is a range, not one number"),
    ("", "x", "neither has an answer: the answer is empty; no number in 'x'"),
]


@pytest.mark.parametrize(("a", "b", "expected"), WHY)
def test_why_different(a: str, b: str, expected: str) -> None:
    assert why_different(read(a), read(b)) == expected


SHOWN = [
    ("18", "18"),
    ("-1200000", "-1200000"),
    ("1/2", "0.5"),
    ("-1/8", "-0.125"),
    ("100/8", "12.5"),
    ("1/1000000", "0.000001"),
    ("1/10000000", "1/10000000"),
    ("-1/3", "-1/3"),
    ("0", "0"),
]


@pytest.mark.parametrize(("value", "text"), SHOWN)
def test_show(value: str, text: str) -> None:
    assert show(Fraction(value)) == text


VOTES = [
    ("48/2 = <<48/2=24>>24\n#### 24", "stop", "24"),
    ("48 / 2 = 24\n#### 24", "stop", "24"),
    ("#### 24", "length", "was cut off at the token limit"),
    ("#### 24", "cancelled", "was cancelled"),
    ("#### 24", "error", "ended by 'error'"),
    ("She has 24.", "stop", "no marked answer"),
    ("#### ", "stop", "the marked answer is empty"),
    ("<<48/2=25>>\n#### 25", "stop", "its arithmetic fails: 48/2=25"),
    ("<<48/2=24>> <<1/0=1>>\n#### 24", "stop", "its arithmetic fails: 1/0=1"),
    ("<<48/2=24\n#### 24", "stop", "its arithmetic fails: 48/2=24"),
    ("<<\x1b[2J=1>>\n#### 24", "stop", "its arithmetic fails: [2J=1"),
]


@pytest.mark.parametrize(("text", "finish_reason", "expected"), VOTES)
def test_vote(text: str, finish_reason: str, expected: str) -> None:
    result = vote(text, finish_reason)
    assert (result.text if isinstance(result, Answer) else result.reason) == expected


PIECES = [*"0123456789", *" \n\t\x00\x1b.,:;()[]{}$%#-+*/=<>^_\\'\"|!?~", "½", "²", "−"]
PIECES += ["####", "-->", " END", "\\boxed{", "\\frac", "<<", ">>", "The answer is: ", "Question:"]
PIECES += [
    "twenty",
    "-",
    "hundred",
    " and ",
    "half",
    " million",
    " pm",
    "12:30",
    "3e5",
    " x ",
    "to",
]
PIECES += ["\ud800", "\U0001f600", "\u00a0", "\u2009", "\u215f", "\u2460", "\u0130", "\u096a"]


def test_nothing_raises_on_random_text() -> None:
    chance = random.Random(20)
    for _ in range(5000):
        text = "".join(chance.choices(PIECES, k=chance.randrange(30)))
        for outcome in (find(text), find(text, marked_only=True), read(text), vote(text, "stop")):
            assert isinstance(outcome, Answer | Unparsed)
            assert not isinstance(outcome, Answer) or outcome.shown


def test_read_takes_back_what_show_prints() -> None:
    chance = random.Random(20)
    for _ in range(1000):
        value = Fraction(chance.randrange(-(10**9), 10**9), chance.choice([1, 2, 3, 7, 8, 10**6]))
        assert read(show(value)) == Answer(value, show(value))


LONG = ["1,", "(", " ", "\n", "-", "$", "####", "####\n", "\\boxed{", "<<", "\n-->", "\nQ"]
LONG += ["the answer is ", "the answer is 1\n", "1 000 ", "twenty ", "a. A", "\\frac{", "½"]


@pytest.mark.parametrize("piece", LONG)
def test_long_text_takes_linear_time(piece: str) -> None:
    text = (piece * 100_000)[:100_000]
    for prefix in ("", "#### ", "The answer is: "):
        start = time.process_time()
        find(prefix + text)
        read(prefix + text)
        vote(prefix + text, "stop")
        assert time.process_time() - start < 0.5


def test_imports_the_standard_library_alone() -> None:
    code = (
        "import sys, lorid_local.answers\n"
        "known = sys.stdlib_module_names | {'lorid_local', '__main__'}\n"
        "assert not {m.partition('.')[0] for m in sys.modules} - known - {'_virtualenv'}\n"
        "ours = {m for m in sys.modules if m.startswith('lorid_local.')}\n"
        "assert ours == {f'lorid_local.{m}' for m in ('answers', 'arithmetic', 'number')}, ours\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
