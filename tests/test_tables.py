"""Tables: aligned text in a pipe, rich's on a terminal."""

import os
import subprocess
import sys

import pytest

from lorid_local import tables

HEADS = ("speed", "base", "ratio")
ROWS = [("one sample", "9.5", "1.00"), ("[of many]",), ("sixteen at once", "120.0", "0.9")]
PLAIN = """\
speed             base  ratio
one sample         9.5   1.00
[of many]
sixteen at once  120.0    0.9
"""
CODE = f"from lorid_local import tables; tables.show({HEADS!r}, {ROWS!r})"


def test_in_a_pipe_it_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(HEADS, ROWS)
    assert capsys.readouterr().out == PLAIN


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_on_a_terminal(term: str) -> None:
    outer, inner = os.openpty()
    environ = os.environ | {"TERM": term, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", CODE], stdout=inner, env=environ, check=True, timeout=60)
    os.close(inner)
    shown = os.read(outer, 4096).decode().replace("\r\n", "\n")
    os.close(outer)
    assert "[of many]" in shown  # not taken for markup
    assert (shown == PLAIN) is (term == "dumb")
    assert ("\x1b[" in shown or "─" in shown) is (term != "dumb")
