"""The exact text of each role. Adapters were trained on it: a change needs a new name."""

import pytest

from lorid_local import prompts
from lorid_local.engine import Part, Role
from lorid_local.errors import EXIT_USAGE, SettingsError

QUESTION = "Ann has 3 eggs. How many?"
RULES = ("Count.", "Add.")
CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
# as the authors' copy of LLaMA-Factory builds them, without BOS
TURNS = {
    "llama2": "[INST] {} [/INST]",
    "llama3": "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "mistral": "[INST] {}[/INST]",
    "qwen": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "deepseek": "User: {}\n\nAssistant:",
}
EXPECTED = {
    ("terse-1", "ir"): f"Solve with equations only.\n{QUESTION}",
    ("terse-1", "kg"): f"List the general rules that solve this.\n{QUESTION}",
    ("terse-1", "dr"): f"Solve step by step with the rules.\n{QUESTION}\nRules:\nCount.\nAdd.",
    ("plain-1", "ir"): "Solve this math problem with short equations. End with a line '#### ' and "
    f"the final number.\n\n{QUESTION}",
    ("plain-1", "kg"): "List the general math rules needed to solve this problem, one a line. Do "
    f"not solve it.\n\n{QUESTION}",
    ("plain-1", "dr"): "Solve this math problem step by step with the rules below. End with a line "
    f"'#### ' and the final number.\n\n{QUESTION}\n\nRules:\nCount.\nAdd.",
}
AUTHORS = {
    "ir": f"Please answer this MATH question step by step.\n{QUESTION}",
    "kg": "Please output knowledge needed to solve the MATH question step by step.\n"
    f"Question: {QUESTION}\n\nKnowledge: ",
    "dr": "Please reason step by step based on the given MATH question and knowledge, and output "
    f"the final answer.\nQuestion: {QUESTION}\n\nKnowledge: Count.\nAdd.\n\nRationale: ",
}
EXPECTED |= {(name, role): text for name in TURNS for role, text in AUTHORS.items()}


@pytest.mark.parametrize(("name", "role"), EXPECTED)
def test_the_exact_prompt(name: str, role: str) -> None:
    parts = prompts.profile(name).parts(Role(role), QUESTION, RULES)
    assert "".join(part.text for part in parts) == TURNS.get(name, CHATML).format(
        EXPECTED[name, role]
    )


def test_every_profile_and_role_is_pinned() -> None:
    assert set(EXPECTED) == {(name, role.value) for name in prompts.PROFILES for role in Role}


def test_only_the_frame_is_special() -> None:
    parts = prompts.profile("terse-1").parts(Role.IR, "<|im_end|>")
    assert parts == (
        Part("<|im_start|>user\n", special=True),
        Part("Solve with equations only.\n<|im_end|>"),
        Part("<|im_end|>\n<|im_start|>assistant\n", special=True),
    )


def words(text: str, special: bool) -> list[int]:
    """A vocabulary of letters in which '<s>' is a special token."""
    if special and "<s>" in text:
        before, _, after = text.partition("<s>")
        return [*words(before, True), 0, *words(after, True)]
    return [ord(letter) for letter in text]


def test_a_frame_without_special_tokens_is_tokenized_with_its_text() -> None:
    asked: list[str] = []

    def tokenize(text: str, special: bool) -> list[int]:
        if not special:
            asked.append(text)
        return words(text, special)

    parts = (Part("[INST] ", special=True), Part("<s>?"), Part(" [/INST]", special=True))
    assert prompts.encode(parts, tokenize) == words("[INST] <s>? [/INST]", False)
    assert asked[-1] == "[INST] <s>? [/INST]"  # in one: a word's space is part of its token


def test_special_tokens_of_a_frame_keep_the_text_apart() -> None:
    parts = (Part("<s>a", special=True), Part("<s>"), Part("b<s>", special=True), Part("c"))
    assert prompts.encode(parts, words) == [0, ord("a"), *map(ord, "<s>b"), 0, ord("c")]


def test_placeholders_in_question_and_rules_stay() -> None:
    text = prompts.profile("terse-1").parts(Role.DR, "A {knowledge}?", ["B {question}."])[1].text
    assert text == "Solve step by step with the rules.\nA {knowledge}?\nRules:\nB {question}."


def test_an_unknown_profile() -> None:
    with pytest.raises(SettingsError) as raised:
        prompts.profile("terse-2")
    assert raised.value.message == "unknown prompt profile 'terse-2' (did you mean terse-1?)"
    assert raised.value.hint == ("known: terse-1, plain-1, llama2, llama3, mistral, qwen, deepseek")
    assert raised.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("  a  b ", "a b"),
        ("a\n\n\tb\r\nc", "a b c"),
        ("a\rb\fc\vd\x85e", "a b c d e"),  # separators that are no printable characters
        ("a\u2028b\u00a0c\u3000d", "a b c d"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a \x00 b", "a b"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("½ of 3 × 4 − 1 = 5 é 😀", "½ of 3 × 4 − 1 = 5 é 😀"),
    ],
)
def test_tidy(text: str, expected: str) -> None:
    assert prompts.tidy(text) == expected
    assert prompts.tidy(expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\tb", "a\n\tb"),
        ("\x1b]0;title\x07", "]0;title"),
        ("a\r\nb\x00\x7f\x9b", "a\nb"),
        ("\u202eright to left\u2066", "right to left"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\ud800\ue000\U0010ffff", ""),
        ("ok 😀 ½ ×", "ok 😀 ½ ×"),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert prompts.printable(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("\n \n-\n* \n", ()),
        ("One.\nTwo.", ("One.", "Two.")),
        ("- One.\n* Two.\n• Three.\n-- Four - five.", ("One.", "Two.", "Three.", "Four - five.")),
        ("- One.\nOne.\n-  One.\nTwo.\nOne.", ("One.", "Two.")),
        ("  -  a \t b  \r\nc", ("a b", "c")),
        ("1. First\n2. Second", ("1. First", "2. Second")),
        ("\x1b[1mBold", ("Bold",)),
    ],
)
def test_rules(text: str, expected: tuple[str, ...]) -> None:
    assert prompts.rules(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Add.\nThen sub", ("Add.",)),
        ("Only ha", ("Only ha",)),
        ("Add.\nAdd.\n", ("Add.",)),
        ("", ()),
    ],
)
def test_rules_of_a_text_that_was_cut_off(text: str, expected: tuple[str, ...]) -> None:
    assert prompts.rules(text, complete=False) == expected


def test_a_pasted_colour_leaves_no_digits_in_the_problem() -> None:
    assert prompts.tidy("Tom \x1b[31mhas\x1b[0m 3 apples. \x1b]0;title\x07More?") == (
        "Tom has 3 apples. More?"
    )
