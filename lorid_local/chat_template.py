"""A model's own chat template, a Jinja program in its GGUF, as the frame of one user turn.

Rendered by jinja2 with the settings of transformers and llama-cpp-python. llama.cpp's public
llama_chat_apply_template only recognises some fifty known templates and renders those from C++;
its server has a Jinja engine of its own, which libllama does not export. Templates are foreign
code: they run in jinja2's sandbox, and see one made-up message and no text of the user's.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from lorid_local.errors import ModelError
from lorid_local.prompts import Chat

TURN = "lorid-turn-7f3a"  # stands for the user's turn while a template is rendered


@dataclass(frozen=True)
class Template:
    """A chat template and what it may name. `adds_bos`: the tokenizer puts BOS in front itself.

    `where` names its source in messages.
    """

    text: str
    bos: str = ""
    eos: str = ""
    adds_bos: bool = False
    where: str = "the model"


def frame(template: Template) -> Chat:
    """Return what stands before and behind a user's turn, the model's next.

    Asks for no thought where the template can be told so (`enable_thinking`, as Qwen3 has it).
    A BOS that the tokenizer adds is left out, as in llama.cpp (common/chat.cpp). Raises ModelError
    if the template fails, or does not give the turn once and as it is.
    """
    rendered = _render(template)
    before, _, after = rendered.partition(TURN)
    if rendered.count(TURN) != 1:
        raise _unusable(template, f"it gives the turn {rendered.count(TURN)} times, expected once")
    if template.adds_bos and template.bos:
        before = before.removeprefix(template.bos)
    return Chat(before, after)


def _render(template: Template) -> str:
    from jinja2 import BaseLoader
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=BaseLoader(),
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _generation_extension()],
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now}
    try:
        return environment.from_string(template.text).render(
            messages=[{"role": "user", "content": TURN}],
            add_generation_prompt=True,
            enable_thinking=False,
            bos_token=template.bos,
            eos_token=template.eos,
            tools=None,
            documents=None,
        )
    except Exception as error:  # a template is a program: it may raise anything
        raise _unusable(template, " ".join(str(error).split()) or type(error).__name__) from None


def _unusable(template: Template, why: str) -> ModelError:
    return ModelError(
        f"{template.where}: its chat template cannot be used ({why})",
        hint="name the format with --chat, such as --chat chatml",
    )


def _generation_extension() -> type:
    """Return what makes nothing of `{% generation %}`, a mark that only training reads."""
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation


def _raise(message: str) -> NoReturn:
    raise ValueError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False} | options)
