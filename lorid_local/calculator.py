"""The calculator in the decoder: what must follow `<<48/2=` is computed, not guessed."""

from lorid_local.arithmetic import Malformed, evaluate
from lorid_local.number import show

OPEN, CLOSE = "<<", ">>"
MAX_SHOWN = 15  # characters; longer results are no word problem's


def result(text: str) -> str:
    """Return what completes `text` where it ends in an open step: '24>>' behind '<<48/2='.

    Within a sentence ('He sold 48/2 = <<48/2=') it is '24>>24': there the step is a remark, and
    the sentence goes on with its result (GSM8K's form). '' where nothing is to be computed: no
    open step, an expression that cannot be read, a value without a finite decimal form. The model
    then goes on with its own tokens.
    """
    if not text.endswith("=") or OPEN not in text:
        return ""
    before, _, expression = text[:-1].rpartition(OPEN)
    try:
        value = evaluate(expression)  # refuses '>' and a second '='
    except Malformed:
        return ""
    shown = show(value)
    if "/" in shown or len(shown) > MAX_SHOWN:
        return ""
    in_sentence = bool(before.rpartition("\n")[2].strip())
    return shown + CLOSE + (shown if in_sentence else "")
