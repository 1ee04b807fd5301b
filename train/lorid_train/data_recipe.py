"""A data recipe: a TOML file that says what training rows are made of, and how many of each."""

from dataclasses import dataclass, field
from pathlib import Path

from lorid_local import settings
from lorid_local.engine import Role
from lorid_local.errors import SettingsError
from lorid_train.rows import Format


@dataclass(frozen=True)
class Counts:
    """Rows for each role, of every problem, template or family."""

    ir: int = 0
    kg: int = 0
    dr: int = 0

    def __post_init__(self) -> None:
        if min(self.ir, self.kg, self.dr) < 0:
            raise ValueError("counts are 0 or more")

    def of(self, role: Role) -> int:
        """Return the count of one role."""
        count: int = getattr(self, role.value)
        return count


@dataclass(frozen=True)
class Problems:
    """Worked problems: a file below --data, or a hub id that is in the local cache.

    `leave_out` names files of 0-based lines that nothing is made from nor may be near to; lines of
    `errata` are only left out. `rules` is the key of the rules in a file of the authors' format.
    """

    source: str
    format: Format = "gsm8k"
    knowledge: str = ""
    rules: str = ""
    leave_out: tuple[str, ...] = ()
    errata: str = ""
    originals: Counts = field(default_factory=Counts)
    templates: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        if self.templates.kg:
            raise ValueError("templates.kg must be 0: new numbers do not change the rules")


@dataclass(frozen=True)
class Families:
    """Draws of every family of `file` below --data (those that come with lorid if '').

    `short` counts draws of each of the 40 families of one step that come with lorid_train, 16 of
    which tell a number that is not needed. One family in `heldout` (0: none) is left out of
    training, by a hash of its id; `heldout_draws` problems of each such go to a file of their own,
    to measure on.
    """

    file: str = ""
    draws: Counts = field(default_factory=Counts)
    short: Counts = field(default_factory=Counts)
    heldout: int = 10
    heldout_draws: int = 2

    def __post_init__(self) -> None:
        if self.heldout < 0 or self.heldout == 1 or self.heldout_draws < 0:
            raise ValueError("heldout is 0 or 2 and more, heldout_draws 0 or more")


@dataclass(frozen=True)
class DataRecipe:
    """Everything that decides the rows, but for where the data lies.

    `overlap` names the test sets below --data that no row may be near to. `imperfect_rules` is the
    share of DR's rows with spoiled rules, `rename` the share of template rows with other names,
    `distracted` that of template and family rows which also tell a number that is not needed.
    """

    name: str
    overlap: tuple[str, ...]
    seed: int = 1
    problems: tuple[Problems, ...] = ()
    families: Families | None = None
    imperfect_rules: float = 0.0
    rename: float = 0.0
    distracted: float = 0.0

    def __post_init__(self) -> None:
        if not self.problems and self.families is None:
            raise ValueError("nothing to build: give [[problems]] or [families]")
        for name in ("imperfect_rules", "rename", "distracted"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], got {getattr(self, name)}")


def load(path: Path) -> DataRecipe:
    """Read a data recipe; raises SettingsError naming every fault at once."""
    if path.suffix != ".toml":
        raise SettingsError(f"{path}: a recipe is a .toml file", hint="see train/recipes/")
    return settings.load(path, DataRecipe)
