"""A worksheet to print: one HTML file that needs nothing else, the answer key on its own page."""

from collections.abc import Iterator, Sequence
from html import escape

from lorid_local.practice.drawing import Problem

_STYLE = """
:root { color-scheme: light; }
body { font: 12pt/1.45 Georgia, serif; color: #000; background: #fff; max-width: 19cm;
       margin: 1cm auto; padding: 0 0.5cm; }
h1, h2 { font-size: 16pt; margin: 0 0 0.6cm; }
.filled-in { display: flex; gap: 1cm; margin-bottom: 0.8cm; }
.filled-in span { flex: 1; border-bottom: 1px solid #000; }
ol { padding-left: 1.1cm; }
li { break-inside: avoid; margin-bottom: 0.6cm; }
.work { height: 3.2cm; }
.answer { border-bottom: 1px solid #000; width: 7cm; margin-left: auto; }
.key { break-before: page; }
.key li { margin-bottom: 0.25cm; }
.key .steps { color: #333; font-size: 10pt; }
footer { font-size: 9pt; color: #444; margin-top: 0.8cm; }
@page { margin: 1.8cm; }
@media print { body { margin: 0; padding: 0; max-width: none; } }
@media screen { .key { border-top: 2px dashed #888; margin-top: 2cm; padding-top: 1cm; } }
""".strip()


def html(problems: Sequence[Problem], *, title: str, foot: str) -> Iterator[str]:
    """Yield the parts of the page; `foot` stands under the answer key."""
    yield f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
<div class="filled-in"><span>Name:</span><span>Date:</span></div>
<ol>
"""
    for problem in problems:
        yield (
            f'<li><p>{escape(problem.question)}</p><div class="work"></div>'
            '<div class="answer">Answer:</div></li>\n'
        )
    yield '</ol>\n<section class="key">\n<h2>Answer key</h2>\n<ol>\n'
    for problem in problems:
        steps = "; ".join(f"{step.calculation} = {step.shown}" for step in problem.steps)
        yield (
            f"<li><strong>{escape(problem.answer_text)}</strong>"
            f' <span class="steps">{escape(steps)}</span></li>\n'
        )
    yield f"</ol>\n<footer>{escape(foot)}</footer>\n</section>\n</body>\n</html>\n"
