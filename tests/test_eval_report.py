"""The report of `lorid eval`: one file without a network, and what a person does with it."""

import json
import re
import zlib
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import pytest

from lorid_local.evaluate import findings, methods, report, sampled, store
from lorid_local.evaluate.findings import Replayed
from lorid_local.evaluate.methods import Needs
from lorid_local.evaluate.report import payload, svg
from tests import chromium
from tests.eval_engine import HashedEngine, draw

COUNT, T = 60, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Replayed]:
    path = tmp_path_factory.mktemp("run") / "a.jsonl"
    draw(path, HashedEngine(), COUNT, Needs(6, T, T, ("teacher", "none", "other")))
    contents = store.read(path)
    replayed = findings.replay(sampled.gather(contents), methods.parse(methods.DEFAULT, T))
    return findings.figures(
        contents, replayed, wanted=COUNT, rounds=T, protocol="same-round"
    ), replayed


@pytest.fixture(scope="module")
def page(run: tuple[dict[str, Any], Replayed]) -> str:
    return report.html(*run)


def samples(page: str) -> list[dict[str, Any]]:
    data = re.search(r'id="data">([^<]*)<', page)
    assert data
    found: list[dict[str, Any]] = json.loads(zlib.decompress(b64decode(data[1])))
    return found


# --- the file ---


def test_it_asks_for_nothing_outside_itself(page: str) -> None:
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert not re.search(r"<(?:link|img|iframe|object|embed)\b|\b(?:src|href)=\"(?!#)", page)
    assert "content=\"default-src 'none'; " in page


def test_it_has_every_section_and_plot(page: str) -> None:
    titles = re.findall(r"<h2>([^<]*)</h2>", page)
    assert titles == [
        "Methods", "One round against many", "Convergence", "How sure an outcome makes",
        "System 1 or System 2", "What the rules are worth", "Independence of errors",
        "Stopping rules", "Answer extraction", "Samples without a vote", "Settings", "Samples",
    ]  # fmt: skip
    assert page.count("<svg ") == page.count('role="img" aria-label="') == 5


def test_every_problem_is_in_it_with_its_samples(
    page: str, run: tuple[dict[str, Any], Replayed]
) -> None:
    figures, replayed = run
    found = samples(page)
    assert [p["q"] for p in found] == [p.case.question for p in replayed.problems]
    lorid = figures["methods"][0]
    assert sum(p["right"] for p in found) == lorid["right"]
    assert sum(p["agreed"] is not None for p in found) == lorid["agreed"]["n"]
    first = replayed.problems[0].whole[0]
    assert first.ir and found[0]["rounds"][0]["ir"]["t"] == first.ir.text
    assert all(len(p["rounds"]) == (p["agreed"] or T) for p in found)


def test_texts_of_a_model_cannot_break_the_page(run: tuple[dict[str, Any], Replayed]) -> None:
    figures = {**run[0], "data": "<script>alert(1)</script>"}
    assert "<script>alert" not in report.html(figures, run[1])


def test_texts_are_left_out_where_the_file_would_be_too_large(
    run: tuple[dict[str, Any], Replayed], monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = run[1].problems
    whole, which = payload.packed(problems, "same-round", T)
    assert which == payload.EVERY
    monkeypatch.setattr(payload, "MOST", len(whole) - 1)
    monkeypatch.setattr(payload, "STEPS", ((T, payload.EVERY), (1, payload.FEW)))
    less, which = payload.packed(problems, "same-round", T)
    assert which == payload.FEW and len(less) < len(whole)
    never = payload.record(next(p for p in problems if not p.agreement("same-round", T)),
                           "same-round", T, 0)  # fmt: skip
    assert ["t" in r["ir"] for r in never["rounds"]] == [True, False, False, False]


@pytest.mark.parametrize("top", [0.0, 0.004, 0.04, 0.11, 0.5, 0.93, 1.0])
def test_an_axis_of_shares_holds_its_values(top: float) -> None:
    axis = svg.percent_axis("right", top)
    assert top <= axis.high <= 1 and 2 <= len(axis.ticks) <= 7
    assert axis.ticks[0] == (0, "0%")


@pytest.mark.parametrize("top", [0, 1, 3, 7, 60, 582.4, 12345])
def test_an_axis_of_counts_holds_its_values(top: float) -> None:
    axis = svg.count_axis("tokens", top)
    assert top <= axis.high and 2 <= len(axis.ticks) <= 7


# --- in a browser ---

needs_chromium = pytest.mark.skipif(chromium.PROGRAM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(page, encoding="utf-8")
    with chromium.page(folder / "profile") as opened:
        opened.open(folder / "report.html")
        opened.wait("document.querySelectorAll('#list > li').length > 0")
        yield opened


def count(browser: chromium.Page) -> str:
    return str(browser.value("document.getElementById('count').textContent"))


def choose(browser: chromium.Page, name: str) -> None:
    browser.value(f"location.hash = 'samples={name}'")
    browser.wait(f"document.getElementById('filter').value === '{name}'")
    browser.wait("true")


@needs_chromium
def test_it_opens_without_errors_and_without_a_network(browser: chromium.Page) -> None:
    assert count(browser) == f"{COUNT} of {COUNT} problems"
    assert browser.errors == []
    assert all(url.startswith(("file:", "about:")) for url in browser.requests)


@needs_chromium
def test_problems_are_filtered(
    browser: chromium.Page, run: tuple[dict[str, Any], Replayed]
) -> None:
    agreed = run[0]["methods"][0]["agreed"]
    right, wrong = agreed["right"], agreed["n"] - agreed["right"]
    expected = {"agreed-wrong": wrong, "agreed-right": right, "never": COUNT - agreed["n"]}
    for name, n in expected.items():
        choose(browser, name)
        assert count(browser) == f"{n} of {COUNT} problems"
    choose(browser, "unparsed")
    assert 0 < int(count(browser).split()[0]) < COUNT
    choose(browser, "all")
    browser.value("document.getElementById('words').value = 'ann 17'")
    browser.value("document.getElementById('words').dispatchEvent(new Event('input'))")
    assert count(browser) == f"1 of {COUNT} problems"
    browser.value("document.getElementById('words').value = ''")
    browser.value("document.getElementById('words').dispatchEvent(new Event('input'))")


@needs_chromium
def test_it_is_used_by_keyboard_alone(browser: chromium.Page) -> None:
    choose(browser, "all")
    browser.value("document.activeElement.blur()")
    focus = "[...document.querySelectorAll('#list summary')].indexOf(document.activeElement)"
    browser.press("j")
    assert browser.value(focus) == 0
    browser.press("j")
    browser.press("j")
    browser.press("k")
    assert browser.value(focus) == 1
    browser.press("Enter")
    browser.wait("document.querySelectorAll('#list > li')[1].querySelector('details').open")
    browser.wait("document.querySelectorAll('#list > li')[1].querySelectorAll('.round').length > 0")
    assert "Right answer: 2" in browser.value(
        "document.querySelectorAll('#list > li')[1].innerText"
    )
    browser.press("/")
    assert browser.value("document.activeElement.id") == "words"
    browser.press("Tab")
    assert browser.value("document.activeElement.tagName") == "SUMMARY"


@needs_chromium
def test_more_are_shown_on_demand(browser: chromium.Page) -> None:
    choose(browser, "all")
    shown = "document.querySelectorAll('#list > li').length"
    assert browser.value(shown) == 50
    browser.value("document.getElementById('more').click()")
    assert browser.value(shown) == COUNT
    assert browser.value("document.getElementById('more').hidden") is True


@needs_chromium
def test_it_is_light_and_dark(browser: chromium.Page) -> None:
    paper = {}
    for scheme in ("light", "dark"):
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", features=media)
        paper[scheme] = browser.value("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 19, 24)"}


@needs_chromium
def test_a_screen_reader_finds_names_for_everything(browser: chromium.Page) -> None:
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = {"image", "combobox", "searchbox", "button", "link", "table", "navigation"}
    found: dict[str, list[str]] = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in named and not node.get("ignored"):
            found.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    assert len(found["image"]) == 5
    assert all(name for names in found.values() for name in names)
    assert any(n.get("role", {}).get("value") == "status" for n in nodes)
