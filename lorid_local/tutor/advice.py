"""Which of the rules that a model wrote may be shown: held against the answer, never trusted.

A rule must say something (an operation or a relation, and not of a thing by itself), be whole, and
state no number but what stands in the question or everybody knows (60 minutes, 12 of a dozen), and
never a candidate answer.
"""

import re
from collections.abc import Collection, Iterable
from fractions import Fraction

from lorid_local.answers import Answer, find
from lorid_local.trace import Round
from lorid_local.tutor import leaks

KNOWN = frozenset(map(Fraction, (1, 2, 3, 4, 7, 10, 12, 24, 30, 52, 60, 100, 365, 1000)))
FEWEST_WORDS, MOST_WORDS = 4, 40
_SAYS = re.compile(
    r"\b(?:add\w*|sums?|totals?|plus|altogether|combin\w*|subtract\w*|minus|differences?|remain\w*"
    r"|left|less|fewer|more|multipl\w*|times|products?|twice|doubl\w*|tripl\w*|divid\w*|quotients?"
    r"|shar\w*|split\w*|each|per|half|halves|thirds?|quarters?|fractions?|percent\w*|ratios?"
    r"|averages?|equals?|rates?|convert\w*|area|perimeter)\b",
    re.I,
)
_CIRCULAR = re.compile(
    r"^(?:the |an? )?(.{3,}?) (?:is|are|equals?) .*\b\1\b|\b(\w+ of \w+)\b.*\b\2\b.*\b\2\b", re.I
)
_EMPTY = re.compile(
    r"\b(?:read (?:the|it)|carefully|careful|step by step|solve (?:the|it)|check your|understand"
    r"|show your work|write down|answer|think about)\b",
    re.I,
)


def checked(
    rules: Iterable[str], question: str, candidates: Collection[Fraction]
) -> tuple[str, ...]:
    """Return the rules that may be shown, those without numbers first, each once."""
    allowed = (leaks.values(question) | KNOWN) - set(candidates)
    good = [rule for rule in dict.fromkeys(rules) if _may(rule, allowed)]
    return (*filter(bare, good), *(rule for rule in good if not bare(rule)))


def bare(rule: str) -> bool:
    """True if a rule states no number: it tells no answer, whatever that is."""
    return not leaks.values(rule)


def candidates(rounds: Iterable[Round]) -> set[Fraction]:
    """Return every answer that a system marked in these rounds, voted for or not."""
    marked = [find(s.text) for r in rounds for s in (r.ir, r.dr) if s]
    return {answer.value for answer in marked if isinstance(answer, Answer)}


def _may(rule: str, allowed: Collection[Fraction]) -> bool:
    words = len(rule.split())
    says = bool(_SAYS.search(rule)) and not (_EMPTY.search(rule) or _CIRCULAR.search(rule))
    whole = FEWEST_WORDS <= words <= MOST_WORDS and "=" not in rule
    return says and whole and leaks.values(rule) <= set(allowed)
