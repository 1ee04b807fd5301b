"""Each role's exact text: one home for training and for inference.

A profile's text never changes once adapters were trained on it; a new text gets a new
name. Knows no model: what is special is marked, and tokenized apart from the user's text.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lorid_local.engine import Part, Role
from lorid_local.errors import SettingsError, did_you_mean


@dataclass(frozen=True)
class Chat:
    """How a model's chat template frames one user turn; BOS is put in front as its GGUF says."""

    before: str
    after: str


# The last five are the templates that the authors of LoRID trained with (LLaMA-Factory as in
# github.com/Xinhe-Li/LoRID, src/llamafactory/data/template.py). What follows `after` there is the
# target t, tokenized by itself: for llama2, llama3 and deepseek t and EOS, for mistral a space,
# t and EOS, for qwen t and <|im_end|> and a newline. llama.cpp ends at EOS, <|eot_id|> and
# <|im_end|> by itself.
CHATS = {
    "chatml": Chat("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
    "llama2": Chat("[INST] ", " [/INST]"),
    "llama3": Chat(
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": Chat("[INST] ", "[/INST]"),
    "qwen": Chat(
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    "deepseek": Chat("User: ", "\n\nAssistant:"),
}
AUTHORS = ("llama2", "llama3", "mistral", "qwen", "deepseek")


_FILLED_IN = re.compile(r"\{question\}|\{knowledge\}")


@dataclass(frozen=True)
class Profile:
    """The user turn of each role; {question} and, for DR, {knowledge} are filled in."""

    name: str
    chat: str
    ir: str
    kg: str
    dr: str

    def parts(
        self,
        role: Role,
        question: str,
        knowledge: Sequence[str] = (),
        chat: Chat | None = None,
    ) -> tuple[Part, ...]:
        """Return the prompt of `role`; the user's text is never marked special.

        `chat` takes the place of the profile's own, for a base without adapters.
        """
        chat = chat or CHATS[self.chat]
        template: str = getattr(self, role.value)
        filled = {"{question}": question, "{knowledge}": "\n".join(knowledge)}
        # in one pass: question and rules may themselves hold the text "{knowledge}"
        text = _FILLED_IN.sub(lambda match: filled[match[0]], template)
        return Part(chat.before, special=True), Part(text), Part(chat.after, special=True)


_PROFILES = (
    # for trained adapters: the instruction is short because the adapter knows its task
    Profile(
        name="terse-1",
        chat="chatml",
        ir="Solve with equations only.\n{question}",
        kg="List the general rules that solve this.\n{question}",
        dr="Solve step by step with the rules.\n{question}\nRules:\n{knowledge}",
    ),
    # for a base without adapters: the instruction has to say everything
    Profile(
        name="plain-1",
        chat="chatml",
        ir="Solve this math problem with short equations. End with a line '#### ' and the final "
        "number.\n\n{question}",
        kg="List the general math rules needed to solve this problem, one a line. Do not solve "
        "it.\n\n{question}",
        dr="Solve this math problem step by step with the rules below. End with a line '#### ' and "
        "the final number.\n\n{question}\n\nRules:\n{knowledge}",
    ),
)
# what the authors' adapters were trained on, whatever the base (instruction, newline, input)
_OF_AUTHORS = tuple(
    Profile(
        name=chat,
        chat=chat,
        ir="Please answer this MATH question step by step.\n{question}",
        kg="Please output knowledge needed to solve the MATH question step by step.\n"
        "Question: {question}\n\nKnowledge: ",
        dr="Please reason step by step based on the given MATH question and knowledge, and output "
        "the final answer.\nQuestion: {question}\n\nKnowledge: {knowledge}\n\nRationale: ",
    )
    for chat in AUTHORS
)
PROFILES = {profile.name: profile for profile in (*_PROFILES, *_OF_AUTHORS)}

Encode = Callable[[str, bool], list[int]]
"""(text, special) -> token ids, without BOS; special tokens are read only if `special`."""


def profile(name: str) -> Profile:
    """Return the profile called `name`; raises SettingsError with the names there are."""
    if name not in PROFILES:
        near = did_you_mean(name, PROFILES)
        raise SettingsError(
            f"unknown prompt profile {name!r}{near}", hint=f"known: {', '.join(PROFILES)}"
        )
    return PROFILES[name]


def encode(parts: Iterable[Part], tokenize: Encode) -> list[int]:
    """Return the ids of a prompt's parts, as in training and at work.

    A part marked special that holds no special token of this vocabulary is plain text, and is
    tokenized in one with the plain text beside it: '[INST] ' and what follows share tokens.
    """
    tokens: list[int] = []
    plain = ""
    for part in parts:
        ids = tokenize(part.text, True) if part.special else []
        if part.special and ids != tokenize(part.text, False):
            tokens += [*(tokenize(plain, False) if plain else []), *ids]
            plain = ""
        else:
            plain += part.text
    return tokens + (tokenize(plain, False) if plain else [])


def printable(text: str) -> str:
    """Return `text` without control and format characters, newline and tab excepted.

    Keeps escape sequences from reaching a terminal and NUL bytes from reaching C code.
    """
    if text.replace("\n", "").replace("\t", "").isprintable():  # nearly every text: much faster
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _UNPRINTABLE)


_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn"}


# what a terminal takes as a command (ECMA-48): its letters and digits are no part of a problem
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")


def tidy(question: str) -> str:
    """Return `question` on one line with single spaces, as every model saw it in training.

    Runs of white space are where transformers' and llama.cpp's tokenizers differ.
    """
    question = _ESCAPES.sub("", question)
    # split first: a form feed or a lone carriage return separates words, and is not printable
    return " ".join(printable(" ".join(question.split())).split())


def rules(text: str, *, complete: bool = True) -> tuple[str, ...]:
    """Return the distinct rules of a knowledge text, one a line, in order.

    Of a text that was cut off (`complete` False), the last line is half a rule: it is left
    out, unless it is all there is.
    """
    lines = [tidy(line).lstrip("-*• ") for line in text.splitlines()]
    found = [line for line in lines if line]
    if not complete and len(found) > 1:
        found.pop()
    return tuple(dict.fromkeys(found))
