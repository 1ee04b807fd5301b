"""A base without adapters: how each role is asked by prompt alone, in the base's own chat format.

Nothing of this was measured, so an answer found so comes without a figure of how sure it is.
"""

from dataclasses import replace
from pathlib import Path

from lorid_local import thoughts
from lorid_local.chat_template import Template, frame
from lorid_local.engine import Request, Role
from lorid_local.errors import InputError, ModelError, did_you_mean
from lorid_local.loop import RoleSettings, RoleTable
from lorid_local.prompts import CHATS, Chat, profile

PROFILE = "plain-1"
MARKER = "####"  # the answer's line, which the profile asks for
THOUGHT = 2048  # tokens more for a model whose template makes it think
NO_FORMAT = Chat("", "\n")
PROMPTED = RoleTable(
    ir=RoleSettings(PROFILE, 384, last_line=MARKER),
    kg=RoleSettings(PROFILE, 256),
    dr=RoleSettings(PROFILE, 640, last_line=MARKER),
)


def framed(
    roles: RoleTable, chosen: str | None, template: Template | None, room: int, where: str
) -> RoleTable:
    """Return `roles` with the chat format `chosen` or, where it is None, the template's own.

    `chosen` is a format's name, `none`, or a .jinja file. A role may write at most half of `room`,
    the tokens of the context. Raises ModelError if there is no format, InputError for a wrong one.
    """
    chat = _chat(chosen, template, where)
    asked = Request(Role.IR, profile(PROFILE).parts(Role.IR, "", (), chat), 1)
    more = THOUGHT if thoughts.opened(asked) else 0

    def of(role: Role) -> RoleSettings:
        own = roles.of(role)
        return replace(
            own,
            chat=own.chat or chat,
            max_tokens=max(1, min(own.max_tokens + more, room // 2)),
        )

    return RoleTable(ir=of(Role.IR), kg=of(Role.KG), dr=of(Role.DR))


def _chat(chosen: str | None, template: Template | None, where: str) -> Chat:
    if chosen == "none":
        return NO_FORMAT
    if chosen in CHATS:
        return CHATS[chosen]
    if chosen and chosen.endswith(".jinja"):
        return frame(_from_file(Path(chosen), template))
    names = ", ".join((*CHATS, "none"))
    if chosen:
        near = did_you_mean(chosen, (*CHATS, "none"))
        raise InputError(
            f"--chat {chosen}: no such chat format{near}", hint=f"{names}, or a .jinja file"
        )
    if template is None:
        raise ModelError(
            f"{where}: holds no chat template, so it may not be a model that takes instructions",
            hint=f"name its format with --chat: {names}, or a .jinja file",
        )
    return frame(template)


def _from_file(path: Path, of_model: Template | None) -> Template:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise InputError(
            f"--chat {path}: cannot be read ({reason})",
            hint="give a .jinja file in UTF-8, or a name: lorid solve -h",
        ) from None
    return replace(of_model or Template(""), text=text, where=str(path))
