"""The report's page: sections of figures with their plots, then the list of problems."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lorid_local.evaluate.findings import Replayed
from lorid_local.evaluate.report import payload, plots
from lorid_local.evaluate.summary import TITLES, chance, counted, interval, of, percent, scores

Figures = dict[str, Any]
HERE = Path(__file__).parent
FILTERS = {
    "all": "all problems",
    "agreed-wrong": "agreed and wrong",
    "agreed-right": "agreed and right",
    "never": "never agreed",
    "unparsed": "with a sample that has no vote",
}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def html(figures: Figures, replayed: Replayed) -> str:
    """Return the whole page. `figures` are `findings.figures`, of the same problems."""
    sections = [(title, body) for title, body in _sections(figures) if body]
    links = "".join(f'<li><a href="#{_id(t)}">{escape(t)}</a></li>' for t, _ in sections)
    bodies = "\n".join(
        f'<section id="{_id(t)}"><h2>{escape(t)}</h2>{body}</section>' for t, body in sections
    )
    title = f"lorid eval: {figures['data']}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>{(HERE / "report.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<a class="skip" href="#samples">To the samples</a>
<header><h1>{escape(title)}</h1>
<p>{figures["problems"]} problems{of(figures["problems"], figures["wanted"])}, up to
{figures["rounds"]} rounds. Intervals are 95% Wilson intervals; p is of McNemar's exact test.</p>
<nav aria-label="Sections"><ul>{links}<li><a href="#samples">Samples</a></li></ul></nav></header>
<main>
{bodies}
{_samples(figures, replayed)}
</main>
<script>{(HERE / "report.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def _id(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


NO_RULES = (
    "Not drawn: --methods dr,dr+teacher,dr+none,dr+other adds System 2's greedy samples by the "
    "teacher's rules, by none and by another problem's."
)


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table with its caption; the first cell of a row is its head."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(str(first))}</th>'
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr>"
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def folded(summary: str, body: str) -> str:
    """Return a body that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _sections(figures: Figures) -> Iterator[tuple[str, str]]:
    yield "Methods", _methods(figures)
    yield "One round against many", _curve(figures)
    yield "Convergence", _convergence(figures)
    yield "How sure an outcome makes", _calibration(figures)
    yield "System 1 or System 2", _kinds(figures)
    yield "What the rules are worth", _rules(figures)
    yield "Independence of errors", _independence(figures)
    yield "Stopping rules", _policy(figures)
    yield "Answer extraction", _extractors(figures)
    yield "Samples without a vote", _unparsed(figures)
    yield "Settings", table("What the samples were drawn with", ("setting", "value"),
                            [(k, v) for k, v in figures["settings"].items()])  # fmt: skip


def _methods(figures: Figures) -> str:
    heads = ("method", "right", "", "95% interval", "agreed", "right when agreed", "rounds",
             "samples", "tokens", "seconds", "no answer")  # fmt: skip
    rows = [
        (m["method"], counted(m), percent(m["share"]), interval(m), m["agreed"]["n"],
         percent(m["agreed"]["share"]), f"{m['rounds']:.2f}", f"{m['generations']:.1f}",
         f"{m['tokens']:.0f}", f"{m['seconds']:.2f}", m["no_answer"])
        for m in figures["methods"]
    ]  # fmt: skip
    pairs = [
        (f"{p['first']} / {p['second']}", p["only_first"], p["only_second"], chance(p["p"]))
        for p in figures["pairs"]
    ]
    notes = [
        "Tokens are generated ones, seconds those of drawing in batches; both a problem.",
        "reference is the authors' scoring, lenient as theirs: right if any shared answer is, and "
        "x/100 and 100x count as x. Its figure cannot be compared with the others.",
    ]
    compared = table("Right by the first or by the second alone",
                     ("pair", "first alone", "second alone", "McNemar"), pairs)  # fmt: skip
    by_round = table(
        "Precision and coverage by the round in which a method settles",
        ("method", "round", "settled", "right"),
        [(m["method"], r["round"], r["n"], percent(r["share"]))
         for m in figures["methods"] for r in m["by_round"]],
    )  # fmt: skip
    return (
        plots.tokens(figures) + table("Every method on the same problems", heads, rows)
        + "".join(map(_note, notes)) + folded("Methods compared in pairs", compared)
        + folded("By round", by_round)
    )  # fmt: skip


def _curve(figures: Figures) -> str:
    curve = figures["curve"]
    if not curve["same-round"]:
        return ""
    rows = [
        (name, p["t"], counted(p), percent(p["share"]), interval(p), p.get("agreed", "-"),
         f"{p['tokens']:.0f}")
        for name, points in curve.items() for p in points
    ]  # fmt: skip
    heads = ("protocol", "t", "right", "", "95% interval", "agreed", "tokens")
    return plots.curve(figures) + folded("Figures", table("By t", heads, rows))


def _convergence(figures: Figures) -> str:
    found = figures["convergence"]
    rows = [
        (f"round {c['round']}", c["n"], c["right"], c["n"] - c["right"]) for c in found["rounds"]
    ]
    never = found["never"]
    rows.append(("never", never["n"], never["right"], never["n"] - never["right"]))
    heads = ("agreed in", "problems", "right", "wrong")
    note = (
        f"Protocol {found['protocol']}, t = {found['t']}. Without agreement the best guess counts."
    )
    return plots.rounds(figures) + _note(note) + folded("Figures", table("By round", heads, rows))


def _calibration(figures: Figures) -> str:
    found = figures["calibration"]
    if not found:
        return ""
    parts = [(f"{b['first']}-{b['last']}", b) for b in found["agreed"]]
    parts.append(("no agreement", found["no_agreement"]))
    rows = []
    for name, part in parts:
        rows.append((name, counted(part)))
        rows += [(f"{name}, System 1's text at {b['span']}", counted(b)) for b in part["bins"]]
    one, two = found["error"]
    note = (
        f"Expected calibration error, one half of the problems foretelling the other: {one:.3f} "
        f"and {two:.3f}. Brier score of that (smaller is better): {scores(found)}."
    )
    counts = table("All problems", ("agreed in rounds", "right"), rows)
    return plots.reliability(figures) + _note(note) + folded("Figures", counts)


def _kinds(figures: Figures) -> str:
    kinds = figures["kinds"]
    if not kinds:
        return ""
    rows = [
        (f"{k['by']}: {k['kind']}", k["n"], k["ir"]["right"], k["dr"]["right"], chance(k["p"]))
        for k in kinds
    ]
    heads = ("kind", "problems", "System 1 right", "System 2 right", "McNemar")
    note = "Greedy samples of round 1, each system alone."
    return plots.kinds(figures) + _note(note) + folded("Figures", table("By kind", heads, rows))


def _rules(figures: Figures) -> str:
    if len(figures["rules"]) < 2:
        return _note(NO_RULES)
    rows = [
        (TITLES[r["rules"]], counted(r), percent(r["share"]), interval(r), f"+{r['won']} "
         f"-{r['lost']}", chance(r["p"]))
        for r in figures["rules"]
    ]  # fmt: skip
    heads = ("System 2 by", "right", "", "95% interval", "against KG's", "McNemar")
    return table("Greedy samples of System 2", heads, rows)


def _independence(figures: Figures) -> str:
    found = figures["independence"]
    if not found["rounds"]:
        return ""
    alike = found["wrong_alike"]
    correlation = "-" if found["phi"] is None else f"{found['phi']:.2f}"
    rows = [
        ("rounds in which both systems vote", found["rounds"]),
        ("both right", f"{found['both_right']} (by chance {found['expected']:.1f})"),
        ("System 1 alone right", found["ir_alone"]),
        ("System 2 alone right", found["dr_alone"]),
        ("both wrong", found["both_wrong"]),
        ("of these with the same answer", f"{percent(alike['share'])} ({interval(alike)}%)"),
        ("correlation of being right (phi)", correlation),
    ]
    return table("Votes of System 1 and System 2 in the same round", ("", ""), rows)


def _policy(figures: Figures) -> str:
    found = figures["policy"]
    if not found:
        return ""
    rows = [
        (r["method"], counted(r["first"]), f"{r['first']['tokens']:.0f}", counted(r["second"]),
         f"{r['second']['tokens']:.0f}", "yes" if r["frontier"] else "")
        for r in found["rules"]
    ]  # fmt: skip
    heads = ("rule", "chosen on: right", "tokens", "confirmed on: right", "tokens", "frontier")
    note = (
        f"{found['tried']} rules tried on {found['halves'][0]} problems; the cheapest within a "
        f"standard error of the best is {found['chosen']}, of those that lorid solve can follow "
        f"{found['loop']}. The other {found['halves'][1]} problems had no say in it."
    )
    return _note(note) + table("The frontier of accuracy against tokens", heads, rows)


def _extractors(figures: Figures) -> str:
    found = figures["extractors"]
    counts = [
        (name, c["both"], c["theirs"], c["ours"], c["neither"], c["otherwise"])
        for name, c in found["counts"].items()
    ]
    heads = ("by", "both right", "theirs alone", "ours alone", "neither", "read otherwise")
    cases = [tuple(d.values()) for d in found["differing"]]
    case_heads = tuple(found["differing"][0]) if cases else ()
    listed = table(f"{len(cases)} of {found['differ']}", case_heads, cases) if cases else ""
    body = table("Samples called right", heads, counts)
    return body + (folded("Samples where they differ", listed) if listed else "")


def _unparsed(figures: Figures) -> str:
    rows = []
    for role, s in figures["samples"].items():
        reasons = "; ".join(f"{reason}: {n}" for reason, n in s["no_vote"].items())
        votes = "-" if role == "kg" else s["votes"]
        rows.append((role, s["drawn"], s["truncated"], s["failed"], votes, reasons))
    heads = ("role", "drawn", "cut off", "failed", "vote", "why not")
    return table("All samples", heads, rows)


def _samples(figures: Figures, replayed: Replayed) -> str:
    found = figures["convergence"]
    data, texts = payload.packed(replayed.problems, found["protocol"], found["t"])
    options = "".join(f'<option value="{k}">{escape(v)}</option>' for k, v in FILTERS.items())
    return f"""<section id="samples"><h2>Samples</h2>
<p class="note">As lorid solve would go through them ({found["protocol"]}, t = {found["t"]}); texts
of {texts}. Keys: j and k go to the next and the previous problem, Enter opens it, / searches.</p>
<div class="controls"><label for="filter">Show<select id="filter">{options}</select></label>
<label for="words">with the words<input id="words" type="search"></label></div>
<p id="count" role="status"><noscript>The list of samples needs JavaScript.</noscript></p>
<ol id="list"></ol><button id="more" type="button" hidden>Show more</button>
<script type="text/plain" id="data">{data}</script></section>"""
