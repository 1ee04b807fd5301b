"""Reading and comparing answers: each wrong grade that was ever seen is a row."""

import random
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

import lorid_local
from lorid_local.answers import Answer, Unparsed, find, read, same, show, vote, why_different

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
    # what an equation comes to, and not what is said behind it
    ("So 3 of them fold 36 + 51 = <<36+51=87>>87 towels in 1 hour.", "87"),
    ("There are 260 - 60 = 200 dogs left after 60 found a home", "200"),
    ("He earned 30 x $15 = $450 in those 3 days", "450"),
    ("He paid $4*20 = $<<4*20=80>>80 more for the 20 pencils that she has not", "80"),
    ("He needs 10 - 6 = 4 more $10 bills", "4"),
    ("That is 7 / 2 = 3.5 bags, which rounds up to 4 bags", "4"),
    ("That is 7 / 2 = 3.5, rounded to 4", "4"),
    ("He goes round the lake 2 * 3 = 6 times in 2 hours", "6"),
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
    (
        "So it is 48/2 = 5-7 apples for 3 boys",
        "'So it is 48/2 = 5-7 apples for 3 boys' is a range, not one number",
    ),
    ("So she needs 4 = 2*3 of 5", "'So she needs 4 = 2*3 of 5' is not worked out"),
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
    ("#### 24", "repeated", "repeated itself"),
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
        start = time.thread_time()
        find(prefix + text)
        read(prefix + text)
        vote(prefix + text, "stop")
        # 0.1 s on a fast core; quadratic time would be minutes
        assert time.thread_time() - start < 3


def test_imports_the_standard_library_alone() -> None:
    home = str(Path(lorid_local.__file__).parents[1])  # -S leaves an installed one out of sys.path
    code = (
        f"import sys; sys.path.append({home!r}); import lorid_local.answers\n"
        "known = sys.stdlib_module_names | {'lorid_local', '__main__'}\n"
        "assert not {m.partition('.')[0] for m in sys.modules} - known - {'_virtualenv'}\n"
        "ours = {m for m in sys.modules if m.startswith('lorid_local.')}\n"
        "assert ours == {f'lorid_local.{m}' for m in ('answers', 'arithmetic', 'number')}, ours\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
