"""A training recipe: a TOML file, checked whole before torch is loaded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lorid_local import settings
from lorid_local.base import Base
from lorid_local.engine import Role
from lorid_local.errors import SettingsError
from lorid_local.prompts import PROFILES

Precision = Literal["auto", "f32", "bf16"]
LLAMA_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Data:
    """Files below the folder given as --data: GSM8K's format, where ids are 0-based lines.

    Or `built`, a folder that `lorid data build` made.
    """

    questions: str = ""
    knowledge: str = ""
    leave_out: tuple[str, ...] = ()
    errata: str = ""
    built: str = ""

    def __post_init__(self) -> None:
        others = (self.questions, self.knowledge, self.leave_out, self.errata)
        if self.built and any(others):
            raise ValueError("built stands alone: its own recipe named the files")
        if not self.built and not (self.questions and self.knowledge):
            raise ValueError("expected built, or questions and knowledge")


@dataclass(frozen=True)
class Lora:
    """Shape of the adapter; `targets` are names of linear modules."""

    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    targets: tuple[str, ...] = LLAMA_LINEARS

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise ValueError(f"rank and alpha must be positive, got {self.rank} and {self.alpha}")


@dataclass(frozen=True)
class Run:
    """One role's training. Lengths in tokens; `token_budget` 0 means whole epochs.

    `imperfect_rules` is the share of DR's examples whose rules are spoiled (`data.spoiled`).
    """

    learning_rate: float = 1e-3
    warmup: float = 0.05
    batch_tokens: int = 1024
    max_length: int = 512
    epochs: int = 1
    token_budget: int = 0
    clip: float = 1.0
    checkpoint_steps: int = 50
    start_from: str = ""
    imperfect_rules: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate must lie in (0, 1), got {self.learning_rate}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of the steps in [0, 1), got {self.warmup}")
        if not 0 <= self.imperfect_rules <= 1:
            raise ValueError(f"imperfect_rules is a share in [0, 1], got {self.imperfect_rules}")
        if min(self.batch_tokens, self.max_length, self.epochs, self.checkpoint_steps) < 1:
            raise ValueError(
                "batch_tokens, max_length, epochs and checkpoint_steps must be positive"
            )


@dataclass(frozen=True)
class Roles:
    """One run a role."""

    ir: Run = field(default_factory=Run)
    kg: Run = field(default_factory=Run)
    dr: Run = field(default_factory=Run)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, but for where the data lies.

    `compile` has torch compile the base's layers: for long runs on a GPU.
    """

    name: str
    prompt: str
    base: Base
    data: Data
    lora: Lora = field(default_factory=Lora)
    roles: Roles = field(default_factory=Roles)
    seed: int = 1
    threads: int = 0
    precision: Precision = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        if self.prompt not in PROFILES:
            raise ValueError(f"prompt: expected one of {', '.join(PROFILES)}, got {self.prompt!r}")

    def run(self, role: Role) -> Run:
        """Return the settings of one role's run."""
        run: Run = getattr(self.roles, role.value)
        return run


def load(path: Path) -> Recipe:
    """Read a recipe; raises SettingsError naming every fault at once."""
    if path.suffix != ".toml":
        raise SettingsError(f"{path}: a recipe is a .toml file", hint="see train/recipes/")
    return settings.load(path, Recipe)
