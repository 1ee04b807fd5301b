"""`lorid eval` where samples, rounds or rules are missing that a method needs."""

from pathlib import Path

import pytest

from lorid_local.errors import InputError
from lorid_local.evaluate import places, running
from lorid_local.evaluate.methods import Needs
from lorid_local.evaluate.running import Asked
from tests.eval_engine import HashedEngine, draw


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("lorid@9", "no problem has the samples that lorid@9 needs"),
        ("ir,majority@4", "no problem has the samples that majority@4 needs"),
    ],
)
def test_methods_beyond_the_samples(tmp_path: Path, methods: str, message: str) -> None:
    draw(tmp_path / "a.jsonl", HashedEngine())
    with pytest.raises(InputError) as raised:
        running.run(Asked((str(tmp_path / "a.jsonl"),), methods=methods))
    assert raised.value.message == message
    assert raised.value.hint == (
        "name other --methods, a smaller @t, or draw more: lorid eval DATA -r ROUNDS"
    )


def test_a_teachers_rules_there_are_none_of(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_text('{"question": "2 + 3?", "answer": 5}\n')
    with pytest.raises(InputError) as raised:
        running.run(Asked((str(data),), methods="dr,dr+teacher"))
    assert raised.value.message == "dr+teacher: no problem has a teacher's rules"
    assert raised.value.hint == (
        '--rules-file FILE.jsonl of {"id": 0-based line of DATA, "knowledge": [rules]}'
    )


def test_system_2_by_other_rules_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has no round; the table was a traceback."""
    path = tmp_path / "a.jsonl"
    draw(path, HashedEngine(), needs=Needs(by=("none",)))
    assert running.run(Asked((str(path),), methods="dr+none")) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].endswith(": 9 problems") and "Agreement" not in out


def test_problems_chosen_by_lines_have_a_file_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "folder", lambda: tmp_path)
    asked = ("d.jsonl", {"bundle": "b"}, "How many?")
    whole, some = places.default(*asked), places.default(*asked, Path("ids.txt"))
    assert whole != some == places.default(*asked, Path("ids.txt"))
    assert places.default(*asked, Path("others.txt")) not in (whole, some)
