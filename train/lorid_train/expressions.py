"""A step's expression as pieces of text with its operands apart, and compiled to run many times.

The same grammar as `lorid_local.arithmetic`, which has the last word on every row made with this.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lorid_local import arithmetic
from lorid_train.mentions import Style, style_of, value_of

Number = int | Fraction
_OPERAND = re.compile(r"\d[\d,]*\.?\d*|\.\d+")
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "–": "-", "x": "*", "X": "*", "$": ""})
_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "~": 3, "%": 4}


@dataclass(frozen=True)
class Expression:
    """`texts` stand around the operands: one more than there are operands.

    `program` is the expression in postfix order: an operand's index, or a sign.
    """

    texts: tuple[str, ...]
    values: tuple[Fraction, ...]
    styles: tuple[Style, ...]
    program: tuple[int | str, ...]

    def run(self, given: Sequence[Number]) -> Number:
        """Return the value for these operands; raises ZeroDivisionError."""
        return compiled(self.program, [_item(at) for at in range(len(given))])(given, ())


def _item(at: int) -> "Value":
    return lambda v, r: v[at]


def parse(text: str) -> Expression:
    """Split an expression such as '(3 + 4)*20%'; raises arithmetic.Malformed."""
    text = text.translate(_SIGNS).replace(" ", "")
    arithmetic.evaluate(text)  # its judgement of what is well formed
    found = [match[0].rstrip(",") for match in _OPERAND.finditer(text)]
    texts = tuple(_OPERAND.split(text))
    return Expression(
        texts, tuple(map(value_of, found)), tuple(map(style_of, found)), _postfix(texts)
    )


def _postfix(texts: Sequence[str]) -> tuple[int | str, ...]:
    """Dijkstra's shunting-yard; '~' is a sign in front of an operand."""
    output: list[int | str] = []
    waiting: list[str] = []
    before_operand = True
    for index, text in enumerate(texts):
        for sign in re.findall(r"//|[-+*/()%]", text):
            if sign == "(":
                waiting.append(sign)
            elif sign == ")":
                while waiting[-1] != "(":
                    output.append(waiting.pop())
                waiting.pop()
            elif before_operand:
                waiting += ["~"] * (sign == "-")
            else:
                while waiting and waiting[-1] != "(" and _RANK[waiting[-1]] >= _RANK[sign]:
                    output.append(waiting.pop())
                waiting.append(sign)
            before_operand = sign not in (")", "%")
        if index < len(texts) - 1:
            output.append(index)
            before_operand = False
    return (*output, *reversed(waiting))


Value = Callable[[Sequence[Number], Sequence[Number]], Number]
"""(values of the variables, results so far) -> an exact number, whole ones as int."""


def compiled(program: Sequence[int | str], operands: Sequence[Value]) -> Value:
    """Return the expression as one function; it raises ZeroDivisionError."""
    stack: list[Value] = []
    for item in program:
        if isinstance(item, int):
            stack.append(operands[item])
        elif item in "~%":
            stack.append(_one(item, stack.pop()))
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(_two(item, left, right))
    return stack[0]


def _one(sign: str, of: Value) -> Value:
    if sign == "~":
        return lambda v, r: -of(v, r)
    return lambda v, r: divide(of(v, r), 100)


def _two(sign: str, left: Value, right: Value) -> Value:
    if sign == "+":
        return lambda v, r: plain(left(v, r) + right(v, r))
    if sign == "-":
        return lambda v, r: plain(left(v, r) - right(v, r))
    if sign == "*":
        return lambda v, r: plain(left(v, r) * right(v, r))
    if sign == "/":
        return lambda v, r: divide(left(v, r), right(v, r))
    return lambda v, r: left(v, r) // right(v, r)


def divide(left: Number, right: Number) -> Number:
    """Return the exact quotient, as int where it is whole."""
    if type(left) is int and type(right) is int:
        whole, rest = divmod(left, right)
        return Fraction(left, right) if rest else whole
    return plain(Fraction(left) / right)


def plain(value: Number) -> Number:
    """Return a whole Fraction as int, which computes faster."""
    return value if type(value) is int or value.denominator != 1 else int(value)
