"""A base without adapters: how it is asked, how its samples end, what counts of what it writes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorid_local import bundle as bundles
from lorid_local import ending, loop, memory_plan, prompting, solving, too_large
from lorid_local.answers import Answer, Unparsed, vote
from lorid_local.chat_template import Template
from lorid_local.engine import Completion, Part, Request, Role
from lorid_local.errors import EXIT_MODEL, EXIT_USAGE, InputError, ModelError
from lorid_local.judging import joined, sample
from lorid_local.llama import LlamaEngine
from lorid_local.prompting import NO_FORMAT, PROMPTED, THOUGHT, framed
from lorid_local.prompts import CHATS, Chat
from lorid_local.solving import Flags, check, settle
from lorid_local.trace import Round
from tests.scripted import ScriptedEngine
from tests.test_cli import lorid
from tests.tiny import CHAT_TEMPLATE, tiny_llama_gguf, tiny_parrot_gguf

ROOM = 100_000
TEMPLATE = Template("<u>{{ messages[0].content }}</u>")
THINKING = Template("<u>{{ messages[0].content }}</u><think>\n")


def frames(chosen: str | None, template: Template | None = TEMPLATE) -> Chat | None:
    return framed(PROMPTED, chosen, template, ROOM, "x.gguf").ir.chat


def test_the_model_s_own_format_is_the_default(tmp_path: Path) -> None:
    assert frames(None) == Chat("<u>", "</u>")
    assert frames("chatml") == CHATS["chatml"]
    assert frames("none", None) == NO_FORMAT
    (tmp_path / "own.jinja").write_text("<q>{{ messages[0].content }}{{ bos_token }}")
    with_bos = replace(TEMPLATE, bos="<s>")
    assert frames(str(tmp_path / "own.jinja"), with_bos) == Chat("<q>", "<s>")


def test_a_role_s_own_frame_stays() -> None:
    own = Chat("<own>", "")
    roles = replace(PROMPTED, kg=replace(PROMPTED.kg, chat=own))
    made = framed(roles, None, TEMPLATE, ROOM, "x.gguf")
    assert (made.kg.chat, made.dr.chat) == (own, Chat("<u>", "</u>"))


def test_a_thinking_model_may_write_more_but_half_the_context_at_most() -> None:
    made = framed(PROMPTED, None, THINKING, ROOM, "x.gguf")
    assert made.ir.max_tokens == PROMPTED.ir.max_tokens + THOUGHT
    made = framed(PROMPTED, None, TEMPLATE, 512, "x.gguf")
    assert (made.ir.max_tokens, made.kg.max_tokens) == (256, 256)


def test_a_model_without_a_template() -> None:
    with pytest.raises(ModelError) as raised:
        frames(None, None)
    assert raised.value.message == (
        "x.gguf: holds no chat template, so it may not be a model that takes instructions"
    )
    names = ", ".join((*CHATS, "none"))
    assert raised.value.hint == f"name its format with --chat: {names}, or a .jinja file"
    assert raised.value.exit_code == EXIT_MODEL


def test_a_format_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        frames("chatlm")
    assert raised.value.message == "--chat chatlm: no such chat format (did you mean chatml?)"
    assert raised.value.hint == f"{', '.join((*CHATS, 'none'))}, or a .jinja file"
    assert raised.value.exit_code == EXIT_USAGE
    for path, reason in ((tmp_path / "a.jinja", "No such file or directory"),
                         (tmp_path / "b.jinja", "not UTF-8")):  # fmt: skip
        (tmp_path / "b.jinja").write_bytes(b"\xff")
        with pytest.raises(InputError) as raised:
            frames(str(path))
        assert raised.value.message == f"--chat {path}: cannot be read ({reason})"


CONTENTS = bundles.find().contents


def test_m_alone_means_that_model_as_it_is() -> None:
    setup = settle(CONTENTS, Flags(model=Path("x.gguf")))
    assert setup.roles == PROMPTED
    assert setup.calibration is None
    with_adapters = settle(CONTENTS, Flags(model=Path("x.gguf"), bundle="smollm2-135m"))
    assert with_adapters.roles == CONTENTS.roles
    assert with_adapters.calibration is None


def test_chat_is_for_a_model_without_adapters() -> None:
    check(Flags(chat="chatml", no_adapters=True))
    with pytest.raises(InputError) as raised:
        check(Flags(chat="chatml"))
    assert raised.value.message == (
        "--chat was given, but the bundle's adapters know one format only"
    )
    assert raised.value.hint == "lorid solve -m MODEL.gguf --chat FORMAT ..."


PLAIN = Request(Role.IR, (Part("x"),), 9, stop=("END",), last_line="####")
OPENED = replace(PLAIN, prompt=(Part("x"), Part("<think>\n", special=True)))


@pytest.mark.parametrize(
    ("request_", "text", "kept"),
    [
        (PLAIN, "a END b", "a "),
        (PLAIN, "#### 18", None),
        (PLAIN, "#### 18\n", "#### 18"),
        (PLAIN, "5*4\n#### $18.50\nNow", "5*4\n#### $18.50"),
        (PLAIN, "#### Step 1\n", None),  # a heading in Markdown
        (PLAIN, "#### Step 1\n5*4\n#### 20\n", "#### Step 1\n5*4\n#### 20"),
        (PLAIN, "so #### 18\n", None),
        (PLAIN, "<think>#### 9\n", None),
        (PLAIN, "<think>#### 9\n</think>#### 18\n", None),  # its line began in the thought
        (PLAIN, "<think>#### 9\n</think>\n#### 18\n", "<think>#### 9\n</think>\n#### 18"),
        (OPENED, "#### 9\n", None),
        (OPENED, "#### 9\n</think>\n#### 18\n", "#### 9\n</think>\n#### 18"),
        (replace(PLAIN, last_line=""), "#### 18\n", None),
    ],
)
def test_where_a_sample_ends(request_: Request, text: str, kept: str | None) -> None:
    assert ending.end(text, request_) == (None if kept is None else (kept, "stop"))


LOOPING = Request(Role.DR, (Part("x"),), 9, stop=("END",), repeats=3)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("He has 4.\nHe has 4.\nHe has 4.", None),  # the line may go on
        ("He has 4.\nHe has 4.\nHe has 4.\n", "He has 4.\nHe has 4.\nHe has 4."),
        ("So:\nA\n\n A \nA\nB", "So:\nA\n\n A \nA"),  # neither empty lines nor spaces count
        ("A\nA\nB\nA\n", None),
        ("A\nB\nA\nB\nA\nB\nA\n", "A\nB\nA\nB\nA\nB"),
        ("A\nB\nC\nA\nB\nC\nA\nB\nC\n", "A\nB\nC\nA\nB\nC\nA\nB\nC"),
        ("A\nB\nC\nD\n" * 3, None),
        ("\n\n\n\n\n", None),
        ("2*3=6\n2*4=8\n2*5=10\n", None),
        ("A\nA\nA\nEND", "A\nA\nA\n"),  # what the request names comes first
    ],
)
def test_a_text_that_says_the_same_over_and_over_ends(text: str, kept: str | None) -> None:
    finish = "stop" if "END" in text else "repeated"
    found = ending.end(text, LOOPING)
    assert found == (None if kept is None else (kept, finish))
    assert ending.end(text.replace("END", ""), replace(LOOPING, repeats=0)) is None
    if finish == "repeated":  # however the text came in
        pieces = (ending.end(text[:n], LOOPING, n - 1) for n in range(1, len(text) + 1))
        assert next((ended for ended in pieces if ended), None) == found


def test_the_engine_stops_behind_the_answer_s_line(tmp_path: Path) -> None:
    base = tiny_parrot_gguf(tmp_path / "parrot.gguf", "#+78Ċabc")  # Ċ is GPT-2's new line
    asked = Request(Role.IR, (Part("#"),), 20)
    with LlamaEngine(base) as engine:
        assert engine.generate([asked]) == [Completion("+78\nabc", "stop", 8)]
        ended = engine.generate([replace(asked, last_line="+")])
        assert ended == [Completion("+78", "stop", 4)]  # the new line is computed, and left out


def test_the_engine_ends_a_sample_that_repeats_itself(tmp_path: Path) -> None:
    base = tiny_parrot_gguf(tmp_path / "parrot.gguf", "abĊa")
    asked = Request(Role.IR, (Part("a"),), 20, repeats=3)
    expected = Completion("b\nab\nab\nab", "repeated", 11)
    with LlamaEngine(base) as engine:
        assert engine.generate([asked]) == [expected]
        assert engine.generate([replace(asked, repeats=0)])[0].finish_reason == "length"
    assert vote(expected.text, expected.finish_reason) == Unparsed("repeated itself")


def test_a_thought_is_neither_vote_nor_rule() -> None:
    request = replace(OPENED, role=Role.IR)
    drawn = sample(request, 1, Completion("#### 9\n</think>\n#### 18", "stop", 9))
    assert (drawn.text, drawn.thought) == ("#### 18", "#### 9")
    assert isinstance(drawn.answer, Answer) and drawn.answer.shown == "18"
    assert drawn.as_dict()["thought"] == "#### 9"
    rules = sample(replace(OPENED, role=Role.KG), 1, Completion("Hm.</think>- Add up.", "stop", 9))
    assert joined(Round(1, None, None, (), None, False, ""), rules).rules == ("Add up.",)


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_thought_that_does_not_end_has_no_vote(finish: Any) -> None:
    drawn = sample(OPENED, 1, Completion("#### 18\n", finish, 9))
    assert drawn.answer == Unparsed("its thought does not end")
    assert (drawn.text, drawn.thought) == ("", "#### 18")
    drawn = sample(OPENED, 1, Completion("#### 18\n", "cancelled", 9))
    assert drawn.answer == Unparsed("was cancelled")


def test_a_thinking_model_through_the_whole_loop() -> None:
    roles = framed(PROMPTED, None, THINKING, ROOM, "x.gguf")
    said = "I try 3.\n#### 3\n</think>\n2+2\n#### 4"
    engine = ScriptedEngine({Role.IR: [said], Role.KG: ["Hm.</think>Add."], Role.DR: [said]})
    events = loop.solve("2 + 2?", engine, roles, loop.LoopSettings(rounds=1))
    trace = loop.finish(events, lambda event: None)
    assert trace.status == "agreed" and trace.answer and trace.answer.shown == "4"
    asked = engine.of(Role.DR)[0]
    assert asked.prompt[0] == Part("<u>", special=True)
    assert asked.prompt[1].text.endswith("2 + 2?\n\nRules:\nAdd.")
    assert asked.last_line == prompting.MARKER


def test_one_command_for_any_model(tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "tiny.gguf")
    ran = lorid("solve", "-m", base, "-n", "4", "-r", "1", "2 + 2")
    assert ran.returncode == 3
    assert ran.stderr.endswith(b"\nNo agreement in 1 round.\nNo answer.\n")


def test_a_model_larger_than_memory_is_told_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = memory_plan.Machine(total=0.1, free=0.1)
    monkeypatch.setattr(too_large, "machine", lambda: small)
    base = tiny_llama_gguf(tmp_path / "tiny.gguf")
    with solving.opened(bundles.find(), Flags(model=base)):
        assert capsys.readouterr().err == (
            f"Note: {base} takes {base.stat().st_size / 2**20:.0f} MiB and this machine has 0 MiB "
            "of memory: it will be read from the disk again and again. A smaller one: lorid "
            "models list\n"
        )


def test_one_command_for_a_model_without_template(tmp_path: Path) -> None:
    base = tiny_llama_gguf(tmp_path / "tiny.gguf", template=None)
    ran = lorid("solve", "-m", base, "2 + 2")
    assert ran.returncode == EXIT_MODEL
    assert f"Error: {base}: holds no chat template, so".encode() in ran.stderr
    asked = tmp_path / "own.jinja"
    asked.write_text(CHAT_TEMPLATE)
    ran = lorid("solve", "-m", base, "--chat", asked, "-n", "4", "-r", "1", "2 + 2")
    assert ran.returncode == 3
