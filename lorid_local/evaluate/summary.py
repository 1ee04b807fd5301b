"""The summary on a terminal: the table and what the paper leaves open, with plain-text bars."""

from collections.abc import Iterator, Sequence
from typing import Any

from lorid_local import tables

Figures = dict[str, Any]
BAR = 20  # characters of a whole bar
HEADS = ("method", "right", "", "95%", "", "agreed", "right then", "rounds", "samples", "tokens",
         "s", "no answer", "than the first")  # fmt: skip
TITLES = {"kg": "KG's rules", "teacher": "the teacher's", "none": "no rules",
          "other": "another problem's"}  # fmt: skip


def show(figures: Figures) -> None:
    """Print everything to standard output."""
    n, wanted = figures["problems"], figures["wanted"]
    data = figures["data"].rstrip(":")  # `practice:` is all of them
    rounds = f", whole rounds: {figures['rounds']}" if figures["rounds"] else ""
    print(f"{data}: {n} problems{of(n, wanted)}{rounds}\n")
    tables.show(HEADS, [row(m, figures["pairs"]) for m in figures["methods"]])
    for lines in (convergence(figures), rules(figures), errors(figures), calibration(figures),
                  policy(figures), extractors(figures)):  # fmt: skip
        if found := list(lines):
            print("\n" + "\n".join(found))


def of(n: int, wanted: int) -> str:
    """Return ' of 500', where not all are complete."""
    return "" if n == wanted else f" of {wanted}"


def percent(share: float | None) -> str:
    """Return '12.5%', or '-' where nothing was counted."""
    return "-" if share is None else f"{100 * share:.1f}%"


def interval(part: Figures) -> str:
    """Return '3.8-10.8'."""
    return f"{100 * part['low']:.1f}-{100 * part['high']:.1f}"


def counted(part: Figures) -> str:
    """Return '13 of 200'."""
    return f"{part['right']} of {part['n']}"


def bar(share: float | None, width: int = BAR) -> str:
    """Return a share as '####......'."""
    full = round(width * (share or 0.0))
    return "#" * full + "." * (width - full)


def chance(p: float) -> str:
    """Return 'p = 0.041', or 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def row(method: Figures, pairs: Sequence[Figures]) -> tuple[str, ...]:
    """Return a method's cells."""
    first = pairs[0]["first"] if pairs else ""
    found = (p for p in pairs if (p["first"], p["second"]) == (first, method["method"]))
    pair = next(found, None)
    versus = f"+{pair['only_second']} -{pair['only_first']} {chance(pair['p'])}" if pair else ""
    agreed = method["agreed"]
    return (
        method["method"],
        counted(method),
        percent(method["share"]),
        interval(method),
        bar(method["share"]),
        str(agreed["n"]) if agreed["n"] else "-",
        percent(agreed["share"]),
        f"{method['rounds']:.1f}",
        f"{method['generations']:.1f}",
        f"{method['tokens']:.0f}",
        f"{method['seconds']:.2f}",
        str(method["no_answer"]),
        versus,
    )


def convergence(figures: Figures) -> Iterator[str]:
    """Yield in which round the systems agree."""
    found = figures["convergence"]
    cells = [(f"round {c['round']}", c) for c in found["rounds"]] + [("never", found["never"])]
    total = sum(c["n"] for _, c in cells)
    if not total or not found["t"]:
        return
    yield f"Agreement ({found['protocol']}, t = {found['t']})"
    for name, cell in cells:
        right = f", right {cell['right']}" if cell["n"] else ""
        yield f"  {name:<9} {bar(cell['n'] / total)} {cell['n']}{right}"


def rules(figures: Figures) -> Iterator[str]:
    """Yield what KG's rules are worth to DR."""
    if len(figures["rules"]) < 2:
        return
    yield "System 2, greedy, by"
    for r in figures["rules"]:
        versus = "" if r["rules"] == "kg" else f", +{r['won']} -{r['lost']} {chance(r['p'])}"
        name = TITLES[r["rules"]]
        yield f"  {name:<17} {bar(r['share'])} {counted(r)} ({interval(r)}%){versus}"


def errors(figures: Figures) -> Iterator[str]:
    """Yield how independent the errors are, and how many samples have no vote."""
    found = figures["independence"]
    if found["rounds"]:
        yield (
            f"Rounds in which both systems vote: {found['rounds']}; both right "
            f"{found['both_right']} (by chance {found['expected']:.1f}), both wrong "
            f"{found['both_wrong']}, of these the same answer {found['wrong_alike']['right']}"
        )
    for role in ("ir", "dr"):
        s = figures["samples"][role]
        if s["drawn"]:
            reasons = ", ".join(f"{reason} {n}" for reason, n in s["no_vote"].items())
            yield f"{role}: {s['votes']} of {s['drawn']} samples vote" + ("; " + reasons) * bool(
                reasons
            )


def calibration(figures: Figures) -> Iterator[str]:
    """Yield how sure an outcome makes."""
    found = figures["calibration"]
    if not found:
        return
    yield f"How sure an outcome makes ({found['protocol']}, t = {found['rounds']})"
    for band in found["agreed"]:
        last = "" if band["last"] == band["first"] else f"-{band['last']}"
        yield f"  agreed in round {band['first']}{last}: right in {counted(band)}"
        yield from _bins(band)
    yield f"  not agreed, best guess: right in {counted(found['no_agreement'])}"
    yield from _bins(found["no_agreement"])
    one, two = found["error"]
    yield f"  expected calibration error, each half foretold by the other: {one:.3f}, {two:.3f}"
    yield f"  Brier score of that (smaller is better): {scores(found)}"


def _bins(part: Figures) -> Iterator[str]:
    for one in part["bins"]:
        yield f"    System 1's text at {one['span']}: {counted(one)}"


def scores(found: Figures) -> str:
    """Return a calibration's Brier score, and what it is without System 1's probability."""
    own, plain = f"{found['brier']:.3f}", f"{found['brier_by_agreement']:.3f}"
    return own if own == plain else f"{own}; by agreement alone {plain}"


def policy(figures: Figures) -> Iterator[str]:
    """Yield which stopping rule earns its tokens."""
    found = figures["policy"]
    if not found:
        return
    yield f"Stopping rules ({found['tried']} tried on one half, confirmed on the other)"
    picked = [("of all", found["chosen"]), ("that solve knows", found["loop"])]
    if len(found["draws"]) > 1:
        own = "at the bundle's T"
        picked += [(f"at {d['at']}" if d["at"] else own, d["loop"]) for d in found["draws"]]
    for title, name in picked:
        rule = next(r for r in found["rules"] if r["method"] == name)
        one, two = rule["first"], rule["second"]
        yield (
            f"  {title:<17} {name}: {counted(one)} for {one['tokens']:.0f} tokens, then "
            f"{counted(two)} for {two['tokens']:.0f}"
        )


def extractors(figures: Figures) -> Iterator[str]:
    """Yield where lm-evaluation-harness and the authors read another answer."""
    counts = figures["extractors"]["counts"]
    if not any(sum(c.values()) for c in counts.values()):
        return
    yield "Samples called right, by others' answer extraction and by ours"
    for name, c in counts.items():
        yield (
            f"  {name:<17} both {c['both']}, theirs alone {c['theirs']}, ours alone {c['ours']}, "
            f"neither {c['neither']}; another answer read from {c['otherwise']}"
        )
