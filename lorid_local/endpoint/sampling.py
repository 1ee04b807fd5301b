"""One sample drawn from a server: its stream read, ended where the request says, calculated in."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from lorid_local import calculator, ending
from lorid_local.endpoint import greeting
from lorid_local.endpoint.dialect import Delta, Dialect, Prompt
from lorid_local.endpoint.greeting import Found
from lorid_local.endpoint.patience import Trouble
from lorid_local.endpoint.wire import Wire
from lorid_local.engine import Completion, FinishReason, Part, Request
from lorid_local.errors import ContextOverflow
from lorid_local.prompts import encode

KEPT_TEXTS = 4096  # texts whose tokens are remembered: more than all prompts in flight have
BREAKS_UP = {"<": "< ", "[": "[ "}
ENDS: dict[str, FinishReason] = {"stop": "stop", "repeated": "repeated"}


@dataclass
class Draft:
    """A sample under way. `tell` is called with text that was not told before."""

    request: Request
    text: str = ""
    tokens: int = 0
    ids: list[int] = field(default_factory=list)
    tell: Callable[[str], None] | None = None
    told: int = 0

    def restart(self) -> None:
        """Forget what was written; what was told stays told."""
        self.text, self.tokens, self.ids = "", 0, []

    def show(self, held: int = 0) -> None:
        """Tell what is new, but for the last `held` characters."""
        end = len(self.text) - held
        if self.tell and end > self.told:
            self.tell(self.text[self.told : end])
            self.told = end


class _NotKnown(Exception):
    """The tokens of a text have to be asked for first."""

    def __init__(self, text: str, special: bool) -> None:
        super().__init__(text)
        self.text, self.special = text, special


class Prompts:
    """Prompts as a server takes them; special tokens are read in the frame only.

    llama-server is given token ids, tokenized as the embedded engine does it. Others
    are given text, in which the user's own '<' and '[' are parted from what would make a special
    token of them.
    """

    def __init__(self, wire: Wire, found: Found) -> None:
        self._wire, self._found = wire, found
        self._known: OrderedDict[tuple[str, bool], list[int]] = OrderedDict()

    async def of(self, request: Request) -> Prompt:
        """Return the request's prompt; raises ContextOverflow if it leaves too little room."""
        if not self._found.ids:
            return "".join(p.text if p.special else harmless(p.text) for p in request.prompt)
        ids = [*self._found.bos, *await self._encoded(request.prompt)]
        if len(ids) + request.max_tokens > self._found.room:
            raise ContextOverflow(
                f"the problem takes {len(ids)} tokens and the answer up to {request.max_tokens}, "
                f"but a place of the server holds {self._found.room}",
                hint="start it with a larger -c or fewer -np, or lower -n/--n-predict",
            )
        return ids

    async def continued(self, prompt: Prompt, draft: Draft) -> Prompt:
        """Return the prompt with what was written so far behind it."""
        return prompt + draft.text if isinstance(prompt, str) else [*prompt, *draft.ids]

    async def forced(self, text: str) -> list[int]:
        """Return the tokens of `text` behind '=' (llama_native.Model.continuation); else none."""
        if not self._found.ids:
            return []
        head, whole = await self.encode("=", False), await self.encode("=" + text, False)
        if whole[: len(head)] == head:
            return whole[len(head) :]
        return await self.encode(text, False)

    async def _encoded(self, parts: tuple[Part, ...]) -> list[int]:
        """Return the parts' tokens by the rules of the embedded engine (prompts.encode)."""
        while True:
            try:
                return encode(parts, self._remembered)
            except _NotKnown as missing:
                await self.encode(missing.text, missing.special)

    def _remembered(self, text: str, special: bool) -> list[int]:
        if not text:
            return []
        if (text, special) not in self._known:
            raise _NotKnown(text, special)
        return self._known[text, special]

    async def encode(self, text: str, special: bool) -> list[int]:
        """Return the server's tokens of `text`; asked once while they are remembered."""
        if not text:
            return []
        if (text, special) not in self._known:
            found = await greeting.tokens(self._wire, text, special)
            self._known[text, special] = found
        self._known.move_to_end((text, special))
        while len(self._known) > KEPT_TEXTS:
            self._known.popitem(last=False)
        return self._known[text, special]


def harmless(text: str) -> str:
    """Return `text` with a space where '<|im_end|>', '</s>' or '[INST]' would be read as special.

    Numbers and comparisons stay as they are: '3<4', '<<48/2=24>>'.
    """
    made = []
    for c, follower in zip(text, text[1:] + " ", strict=True):
        special = follower.isalpha() or follower in "|/_\uff5c"
        made.append(BREAKS_UP[c] if c in BREAKS_UP and special else c)
    return "".join(made)


async def draw(draft: Draft, wire: Wire, dialect: Dialect, prompts: Prompts) -> Completion:
    """Draw the sample from its start; raises Trouble or LoridError. What it has is in `draft`."""
    draft.restart()
    prompt = await prompts.of(draft.request)
    finish = ""
    while not finish:
        written = await prompts.continued(prompt, draft)
        finish = await _stream(draft, written, wire, dialect)
        if finish == "calculate":
            finish = await _calculated(draft, prompts)
    draft.show()
    return Completion(draft.text, ENDS.get(finish, "length"), draft.tokens)


async def _stream(draft: Draft, prompt: Prompt, wire: Wire, dialect: Dialect) -> str:
    """Read one answer into `draft`; return how it ended, or calculate behind a '<<48/2='."""
    request, before = draft.request, draft.tokens
    path, body = dialect.ask(request, prompt, request.max_tokens - before)
    events = wire.events(path, body)
    finish = ""
    try:
        async for event in events:  # to its end, so that the connection can serve again
            delta = dialect.delta(event)
            if ended := _taken(draft, delta, before):
                return ended
            finish = finish or delta.finish
    except Trouble:
        if not finish:
            raise
    finally:
        await events.aclose()  # type: ignore[attr-defined]  # an async generator
    if not finish:
        raise Trouble("ended in the middle of an answer" if draft.text else "answered nothing")
    if finish == "stop":
        draft.tokens = max(draft.tokens, before + 1)
    return finish


def _taken(draft: Draft, delta: Delta, before: int) -> str:
    """Add an event's text; return how the sample ends or pauses by it, or ''."""
    request, old = draft.request, len(draft.text)
    draft.text += delta.text
    draft.ids += delta.ids
    draft.tokens += len(delta.ids) or bool(delta.text)
    if delta.used is not None:
        draft.tokens = before + delta.used
    ended = ending.end(draft.text, request, old)
    if ended:
        draft.text = ended.text
        return ended.finish
    if request.calculator and _asks(draft, old):
        return "calculate"
    draft.show(held=max(map(len, request.stop), default=1) - 1)
    return ""


def _asks(draft: Draft, old: int) -> bool:
    """True if the text behind `old` asks for a result; what came behind the '=' is dropped.

    Where tokens are known by id, an event that brings several cannot be parted.
    """
    for at in range(old, len(draft.text)):
        known = at + 1 == len(draft.text) or not draft.ids
        if draft.text[at] == "=" and known and calculator.result(draft.text[: at + 1]):
            draft.text = draft.text[: at + 1]
            return True
    return False


async def _calculated(draft: Draft, prompts: Prompts) -> str:
    """Write the exact result where it fits, as the embedded engine does; return '' to go on."""
    result = calculator.result(draft.text)
    ids = await prompts.forced(result)
    size = len(ids) or len(result)
    if draft.tokens + size >= draft.request.max_tokens:
        return "length"
    draft.text += result
    draft.ids += ids
    draft.tokens += size
    draft.show()
    return ""
