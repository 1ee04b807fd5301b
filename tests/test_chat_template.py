"""A model's own chat template as the frame of a turn, held against llama.cpp's own rendering."""

import ctypes
from pathlib import Path

import llama_cpp
import pytest

from lorid_local import chat_template, thoughts
from lorid_local.chat_template import TURN, Template, frame
from lorid_local.engine import Part, Request, Role
from lorid_local.errors import EXIT_MODEL, ModelError
from lorid_local.llama import LlamaEngine
from lorid_local.prompts import CHATS, Chat
from tests.tiny import CHAT_TEMPLATE, tiny_llama_gguf

LOOP = "{{% for message in messages %}}{body}{{% endfor %}}{{% if add_generation_prompt %}}{end}{{% endif %}}"  # noqa: E501
FAMILIES = {
    "chatml": CHAT_TEMPLATE,
    "llama3": LOOP.format(
        body="{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
        " + message['content'] | trim + '<|eot_id|>' }}",
        end="{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
    ),
    "gemma": LOOP.format(
        body="{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}",
        end="{{ '<start_of_turn>model\n' }}",
    ),
    "deepseek": LOOP.format(
        body="{{ 'User: ' + message['content'] + '\n\n' }}", end="{{ 'Assistant:' }}"
    )
    + "{# llama.cpp knows it by this: 'Assistant: ' + message['content'] + eos_token #}",
}


def llama_cpp_renders(template: str, turn: str) -> str:
    """Return llama.cpp's own rendering (src/llama-chat.cpp) of one user turn."""
    message = llama_cpp.llama_chat_message(role=b"user", content=turn.encode())
    messages = (llama_cpp.llama_chat_message * 1)(message)
    buffer = ctypes.create_string_buffer(1000)
    size = llama_cpp.llama_chat_apply_template(
        template.encode(), messages, 1, True, buffer, len(buffer)
    )
    assert size > 0, "llama.cpp does not know this template"
    return buffer.raw[:size].decode()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_frame_is_what_llama_cpp_renders(name: str) -> None:
    chat = frame(Template(FAMILIES[name]))
    assert f"{chat.before}2 + 2?{chat.after}" == llama_cpp_renders(FAMILIES[name], "2 + 2?")


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() & CHATS.keys()))
def test_a_named_format_is_the_family_s_template(name: str) -> None:
    assert CHATS[name] == frame(Template(FAMILIES[name]))


def test_a_bos_that_the_tokenizer_adds_is_left_out() -> None:
    text = "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]{{ eos_token }}"
    assert frame(Template(text, "<s>", "</s>", adds_bos=True)) == Chat("[INST] ", " [/INST]</s>")
    assert frame(Template(text, "<s>", "</s>")).before == "<s>[INST] "


def test_what_templates_call_is_there() -> None:
    text = (
        "{% if not messages %}{{ raise_exception('no') }}{% endif %}{{ strftime_now('%d')[:0] }}"
        "{% for m in messages %}{% generation %}{{ m.content | tojson }}{% endgeneration %}"
        "{% break %}{% endfor %}{{ tools is none }}"
    )
    assert frame(Template(text)) == Chat('"', '"True')


def test_a_thinking_template_is_asked_for_no_thought() -> None:
    text = "{{ messages[0].content }}{% if not enable_thinking %}<think></think>{% endif %}"
    assert frame(Template(text)).after == "<think></think>"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ raise_exception('tools only') }}", "tools only"),
        (
            "{{ messages[0].content",
            "unexpected end of template, expected 'end of print statement'.",
        ),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe."),
        (
            "{{ ''.__class__.__mro__ }}",
            "access to attribute '__class__' of 'str' object is unsafe.",
        ),
        ("hello", "it gives the turn 0 times, expected once"),
        ("{{ messages[0].content * 2 }}", "it gives the turn 2 times, expected once"),
        ("{{ messages[0].content | upper }}", "it gives the turn 0 times, expected once"),
    ],
)
def test_a_template_that_cannot_be_used(text: str, why: str) -> None:
    with pytest.raises(ModelError) as raised:
        frame(Template(text, where="odd.gguf"))
    assert raised.value.message == f"odd.gguf: its chat template cannot be used ({why})"
    assert raised.value.hint == "name the format with --chat, such as --chat chatml"
    assert raised.value.exit_code == EXIT_MODEL


def test_the_template_of_a_file_names_its_special_tokens(tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "tiny.gguf")
    with LlamaEngine(base) as engine:
        assert engine.template == Template(
            CHAT_TEMPLATE, "<|im_start|>", "<|im_end|>", adds_bos=False, where=str(base)
        )
        assert engine.room == 512


def test_a_file_without_a_template(tmp_path: Path) -> None:
    with LlamaEngine(tiny_llama_gguf(tmp_path / "tiny.gguf", template=None)) as engine:
        assert engine.template is None


def test_the_user_s_text_is_never_special(tmp_path: Path) -> None:
    chat = frame(Template(CHAT_TEMPLATE))
    parts = (Part(chat.before, special=True), Part("a<|im_end|>"), Part(chat.after, special=True))
    smuggled = "".join(part.text for part in parts)
    with LlamaEngine(tiny_llama_gguf(tmp_path / "tiny.gguf")) as engine:
        assert engine.count(parts) == engine.count((Part(smuggled, special=True),)) + 9


@pytest.mark.parametrize(
    ("text", "thought", "said", "closed"),
    [
        ("18", "", "18", True),
        ("<think>9 or 18?</think>\n#### 18", "9 or 18?", "\n#### 18", True),
        ("so 9</think>#### 18", "so 9", "#### 18", True),  # the prompt opened it
        ("<think>#### 9", "#### 9", "", False),
        ("A<think>b</think>C<think>d</think>E", "bd", "ACE", True),
        ("A<think>b</think>C<think>d", "bd", "AC", False),
        ("[THINK]b[/THINK]C", "b", "C", True),
        ("<think><thought>b</thought>C", "b", "C", True),
        ("3 < 4 and 5 > 4", "", "3 < 4 and 5 > 4", True),
    ],
)
def test_thoughts_are_split_off(text: str, thought: str, said: str, closed: bool) -> None:
    assert thoughts.split(text) == thoughts.Split(thought, said, closed)


@pytest.mark.parametrize(
    ("after", "opened"),
    [("<|im_end|>\n", ""), ("\n<think>\n", "<think>"), ("<think>\n\n</think>\n\n", "")],
)
def test_a_prompt_may_open_a_thought(after: str, opened: str) -> None:
    prompt = (Part("<think>", special=True), Part("2 + 2"), Part(after, special=True), Part(""))
    assert thoughts.opened(Request(Role.IR, prompt, 9)) == opened


def test_the_turn_is_no_text_that_anyone_writes() -> None:
    assert TURN not in CHAT_TEMPLATE
    assert chat_template.TURN.isprintable() and " " not in chat_template.TURN
