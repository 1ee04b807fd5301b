"""What a thinking model thought, apart from what it said.

Knows thoughts between tags that are written as text. A model that marks them otherwise
(gpt-oss, by channels) is not understood: its thoughts are read as what it says.
"""

import re
from dataclasses import dataclass

from lorid_local.engine import Request

# opening and closing tag: DeepSeek-R1, QwQ and Qwen3; Reka and others; Magistral and Ministral
TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "[THINK]": "[/THINK]",
}
_TAG = re.compile("|".join(map(re.escape, (*TAGS, *TAGS.values()))))


@dataclass(frozen=True)
class Split:
    """A text's two parts; `closed` is False where its last thought does not end."""

    thought: str
    said: str
    closed: bool


def split(text: str) -> Split:
    """Return `text` in its two parts.

    What stands before a closing tag without an opening one is a thought too: the prompt opened it.
    """
    thought: list[str] = []
    said: list[str] = []
    inside, at = False, 0
    for match in _TAG.finditer(text):
        piece, at = text[at : match.start()], match.end()
        if match[0] in TAGS:
            (thought if inside else said).append(piece)
            inside = True
        else:
            if not inside:
                thought += said
                said = []
            thought.append(piece)
            inside = False
    (thought if inside else said).append(text[at:])
    return Split("".join(thought), "".join(said), not inside)


def opened(request: Request) -> str:
    """Return the tag that the request's prompt ends with, and so opens a thought; else ''."""
    end = next((part.text for part in reversed(request.prompt) if part.text), "").rstrip()
    return next((tag for tag in TAGS if end.endswith(tag)), "")
