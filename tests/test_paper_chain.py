"""The paper's bases from the hub to an answer: pull, convert, bundle, solve, each by its command.

The weights are tiny and random, of the same architectures, kinds of tokenizer and chat
templates. What the model is given is compared with REFERENCE's text, token for token, and each
token that it then writes with PEFT's own choice in torch.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorid_local import solving
from lorid_local.bundle import FILE
from lorid_local.chat_template import frame
from lorid_local.engine import Role
from lorid_local.errors import EXIT_AGREED, EXIT_NO_AGREEMENT
from lorid_local.llama_native import Context, Model, Slot
from lorid_local.prompts import CHATS
from lorid_local.solving import Flags
from tests.hub_server import hub
from tests.test_cli import Ran, lorid
from tests.test_paper_bases import TEMPLATES
from tests.tiny_families import Tiny, tiny_lora
from tests.tiny_papers import BASES, PaperBase, reference, tiny_paper

QUESTION = "Tom has 3 boxes with 12 pens in each. How many pens has he?"
TURNS = {
    Role.IR: "Please answer this MATH question step by step.\n{q}",
    Role.KG: "Please output knowledge needed to solve the MATH question step by step.\n"
    "Question: {q}\n\nKnowledge: ",
    Role.DR: "Please reason step by step based on the given MATH question and knowledge, and "
    "output the final answer.\nQuestion: {q}\n\nKnowledge: {k}\n\nRationale: ",
}
WRITTEN = 16  # tokens of each role
NEAR = 0.05  # what llama.cpp's half-precision cache may move a logit by
ENDED = (EXIT_AGREED, EXIT_NO_AGREEMENT)  # random weights need not agree


def succeeded(ran: Ran) -> str:
    """Return what a command printed."""
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode().strip()


class Sequences:
    """What llama.cpp was given to read, context by context: tokens by position of one sample."""

    def __init__(self) -> None:
        self.read: dict[int, dict[int, int]] = {}
        self.sampled: set[int] = set()

    def note(self, context: Context, slots: list[Slot]) -> None:
        known = self.read.setdefault(id(context), {})
        known.update({slot.position: slot.token for slot in slots})
        self.sampled |= {id(context) for slot in slots if slot.sequence}

    @property
    def whole(self) -> list[list[int]]:
        """The prompts with what was written behind them, in the order of the roles' first use."""
        return [[tokens[i] for i in sorted(tokens)] for key, tokens in self.read.items()
                if key in self.sampled]  # fmt: skip


@pytest.fixture
def sequences(monkeypatch: pytest.MonkeyPatch) -> Sequences:
    noted, decode, held = Sequences(), Context.decode, []

    def watched(context: Context, slots: Any) -> None:
        held.append(context)  # so that no other one gets its id
        noted.note(context, list(slots))
        decode(context, slots)

    monkeypatch.setattr(Context, "decode", watched)
    return noted


class Chain:
    """A base and its three adapters on a hub, and what became of them here."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.base, self.folder = name, BASES[name], folder
        self.tiny: Tiny = tiny_paper(folder / "published.gguf", self.base)
        self.adapted = {}
        for role in Role:
            published = folder / f"published-{role}"
            # q and v with alpha = 2 r, as the authors trained them
            self.adapted[role] = tiny_lora(
                self.tiny, published, targets=["q_proj", "v_proj"], r=8, alpha=16
            )
            self._differ(role)
            self.adapted[role].save_pretrained(published)

    def _differ(self, role: Role) -> None:
        """Make each role's adapter another one."""
        import torch

        with torch.no_grad():
            for key, parameter in self.adapted[role].named_parameters():
                if "lora_B" in key:
                    parameter.mul_(1 + list(Role).index(role))

    def repositories(self) -> dict[str, dict[str, bytes]]:
        found = {"someone/Base-GGUF": {"base.gguf": self.tiny.path.read_bytes()}}
        for role in Role:
            files = (self.folder / f"published-{role}").iterdir()
            found[f"LoRID-Math/GSM8K-Tiny-{role.upper()}"] = {f.name: f.read_bytes() for f in files}
        return found

    def pulled_and_converted(self) -> dict[Role, Path]:
        with hub(self.repositories()) as held:
            for repo in held.repos:
                named = ("--name", self.name) if repo == "someone/Base-GGUF" else ()
                succeeded(lorid("models", "pull", repo, *named, HF_ENDPOINT=held.url))
        adapters = self.folder / "adapters"
        adapters.mkdir()
        told = succeeded(lorid("convert", "LoRID-Math/GSM8K-Tiny", "--all", "--base", self.name,
                               "--outfile", adapters, "--outtype", "f32"))  # fmt: skip
        made = {role: adapters / f"{role}.gguf" for role in Role}
        assert told.splitlines() == [str(path) for path in made.values()]
        return made

    def math_bundle(self, adapters: dict[Role, Path]) -> Path:
        """Do what the template's comments say: copy it beside the base and the adapters."""
        folder = self.folder / "math"
        folder.mkdir()
        (template,) = (path for path in TEMPLATES if path.stem == f"{self.name}-math")
        (folder / FILE).write_bytes(template.read_bytes())
        (folder / f"{self.name}.gguf").write_bytes(self.tiny.path.read_bytes())
        for role, path in adapters.items():
            (folder / f"{role}.gguf").write_bytes(path.read_bytes())
        return folder


@pytest.fixture(params=BASES)
def chain(request: pytest.FixtureRequest, tmp_path: Path) -> Chain:
    pytest.importorskip("peft")
    return Chain(request.param, tmp_path)


def prompts_of(base: PaperBase, rules: list[str]) -> Iterator[list[int]]:
    encode = reference(base)
    bos = [base.tokens.index(base.bos)] if base.adds_bos else []
    for turn in TURNS.values():
        text = turn.replace("{q}", QUESTION).replace("{k}", "\n".join(rules))
        yield bos + encode(base.sees.replace("{c}", text))


def lost_by(model: Any, tokens: list[int], start: int) -> float:
    """Return by how much PEFT's best logit exceeds that of any token from `start` on."""
    import torch

    with torch.no_grad():
        logits = np.asarray(model(torch.tensor([tokens])).logits[0].numpy())
    return max(float(logits[i - 1].max() - logits[i - 1, tokens[i]])
               for i in range(start, len(tokens)))  # fmt: skip


@pytest.mark.usefixtures("loopback")
def test_from_the_hub_to_an_answer(chain: Chain, tmp_path: Path, sequences: Sequences) -> None:
    adapters = chain.pulled_and_converted()
    given = [part for role in Role for part in (f"--{role}", adapters[role])]
    made = succeeded(lorid("bundle", tmp_path / "gsm8k", "--base", chain.name, *given,
                           "--prompt", chain.base.prompt))  # fmt: skip
    # the authors' rounds are all warm: --top-k 1 makes this one greedy
    ran = lorid("solve", "--bundle", made, "--json", "-r", "1", "-n", f"{WRITTEN}", "--top-k", "1",
                QUESTION)  # fmt: skip
    assert ran.returncode in ENDED, ran.stderr.decode()
    (drawn,) = json.loads(ran.stdout)["rounds"]

    # the MATH bundle has the same prompts, so the same model writes the same
    flags = Flags(problem=QUESTION, bundle=str(chain.math_bundle(adapters)), rounds=1, threads=1,
                  n_predict=WRITTEN, top_k=1, quiet=True,
                  trace=tmp_path / "trace.json")  # fmt: skip
    assert solving.run(flags) in ENDED
    (math,) = json.loads((tmp_path / "trace.json").read_text())["rounds"]
    for role in Role:
        assert math[role]["text"] == drawn[role]["text"]

    expected = list(prompts_of(chain.base, drawn["rules"]))
    assert len(sequences.whole) == len(Role)
    for role in Role:
        (whole,) = (t for t in sequences.whole if t[: len(expected[0])] == expected[0])
        prompt = expected.pop(0)
        assert len(whole) > len(prompt)
        assert lost_by(chain.adapted[role], whole, len(prompt)) <= NEAR
        assert lost_by(chain.tiny.model, whole, len(prompt)) > NEAR  # the adapter is what acts


@pytest.mark.parametrize("name", BASES)
def test_a_base_frames_a_turn_as_its_profile_does_and_stops_where_it_says(
    name: str, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    base = BASES[name]
    with closing(Model(tiny_paper(tmp_path / "base.gguf", base).path, 0)) as model:
        template = model.chat_template()
        assert template and frame(template) == CHATS[base.prompt]
        before, _, after = base.sees.partition("{c}")
        assert (CHATS[base.prompt].before, CHATS[base.prompt].after) == (before, after)
        ends = {t for i, t in enumerate(base.tokens) if model.ends(i)}
        assert {base.eos, *base.ends} <= ends
        assert (model.bos is not None) == base.adds_bos
