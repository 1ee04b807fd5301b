"""The topic a family is listed under: its own words, or for the S families a group of topics.

Families whose id is S and a digit each tell their own topic ("age after some years"): the first
group of GROUPS with a keyword in those words takes them, else the group of their operations.
"""

import re
from collections.abc import Mapping
from typing import Any

_OWN_WORDS = re.compile(r"S\d")
# the first that fits counts, so the special stand before the general
GROUPS: tuple[tuple[str, str], ...] = (
    ("ages of people and things", r"ages?|older|birth"),
    ("averages and what is needed for one", r"averages?"),
    ("ratios and shares", r"ratios?|shar(e|es|ed|ing)|split\w*|pooled"),
    ("percents of amounts and groups", r"percent\w*|concentration|probability|chance"),
    ("working backwards to the start", r"back|backwards?|undo\w*|original|start|starting|unknown"),
    ("sums, differences and multiples of unknown numbers",
     r"sum|consecutive|larger|largest|smaller|smallest|from (its|their|a) total|finding (parts|an)"
     r"|(two|three) (linked|related|unknown)\w*|missing part"),
    ("coins and bills", r"coins?|bills|cents|dimes"),
    ("discounts, offers and price changes",
     r"discounts?|sale|free(?! hours)|voucher|coupon|cheap\w*|packs?|saving by|price rise"
     r"|half price|offers|trad(e|ing)\w*"),
    ("earning, saving and spending",
     r"pay|paid|payments?|wages?|earn\w*|income|profits?|sav(e|ed|ing|ings)|money|budget|bill"
     r"|prices?|priced|cost\w*|fees?|tip|tax|rent|rental|purchases?|buying|shopp\w*|sold|selling"
     r"|spend\w*|spent|debt|commission|takings|exchange\w*|interest|insurance|deductions"),
    ("speed, distance and routes",
     r"speeds?|distances?|miles?|trips?|route|traveler|travel|legs?(?= of a route)|two legs|lap"
     r"|kilometer|catching up|pace"),
    ("clock time and durations",
     r"time|hours?|minutes?|seconds|clock|late|deadline|waiting|leaving|shifts?|departures|cycles"),
    ("measures, units and area",
     r"area|perimeters?|rectangle|triangle|square|lengths?|heights?|weights?|weigh\w*|volume|feet"
     r"|inches|ounces|pounds?|quarts|gallons|liters|milliliters|milligrams|tons|cups|units?|tiles"
     r"|edging|strips|mixture|rope|gaps"),
    ("fractions of what remains",
     r"fractions?|half|halves|halving|thirds?|quarter|remain\w*|rest|left|leftover"),
    ("growth and change over days and years",
     r"grow\w*|doubl\w*|daily|days?|weeks?|weekly|months?|monthly|years?|yearly|rates?|repeat\w*"
     r"|production|rising|steady"),
    ("comparisons: more, fewer, times as many",
     r"multiples?|twice|times|more|fewer|less|than|compar\w*|differences?|chain\w*|double"),
    ("groups, packs and counting",
     r"groups?|count\w*|kinds?|packages?|boxes|containers?|capacity|seats|servings?|recipe|stock"
     r"|supplies|supply|batches|pieces|portions?|dozens?|pairs?|items?|collect\w*|points|scores?"
     r"|material\w*|feed\w*|total|things|getting on"),
)  # fmt: skip
_PATTERNS = tuple((name, re.compile(rf"\b(?:{words})\b")) for name, words in GROUPS)


def topic_of(row: Mapping[str, Any]) -> str:
    """Return the topic that a family, given as its parsed line, is listed under."""
    words: str = row["topic"]
    if not _OWN_WORDS.match(row["id"]):
        return words
    for name, pattern in _PATTERNS:
        if pattern.search(words):
            return name
    return _operations("".join(expression for _, expression, _ in row["steps"]))


def _operations(text: str) -> str:
    adds, multiplies = bool(set("+-") & set(text)), bool(set("*/") & set(text))
    if adds and multiplies:
        return "several operations in a row"
    return "adding and taking away" if adds else "multiplying and dividing"
