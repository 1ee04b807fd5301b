"""Files of samples read as one: parts of the problems that processes of their own drew."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorid_local.errors import InputError
from lorid_local.evaluate import store
from lorid_local.evaluate.cases import Case
from lorid_local.evaluate.store import Contents

APART = "give files of one run's parts, as --skip and --count cut them"


def join(paths: Sequence[Path]) -> Contents:
    """Return the problems of the first file, then those of the next, with their samples.

    Raises InputError, naming the setting or the problem, if the files were drawn with different
    settings or share a problem, which would count twice.
    """
    whole, homes = Contents(), dict[Any, Path]()
    for path in paths:
        part = store.read(path)
        if path is paths[0]:
            whole.data, whole.settings = part.data, part.settings
        else:
            _check_settings(path, part.settings, paths[0], whole.settings)
        for case in part.cases:
            _check_apart(path, case, homes)
        homes |= dict.fromkeys(map(_text, part.cases), path)
        if part.data not in whole.data.split(" and "):
            whole.data += f" and {part.data}"
        before = len(whole.cases)
        whole.cases += part.cases
        whole.samples |= {
            key._replace(case=before + key.case): taken for key, taken in part.samples.items()
        }
    return whole


def _check_settings(
    path: Path, its: Mapping[str, Any], first: Path, wanted: Mapping[str, Any]
) -> None:
    for name in dict.fromkeys([*wanted, *its]):
        if its.get(name) != wanted.get(name):
            raise InputError(
                f"{path}: drawn with other settings than {first}: its {name} is "
                f"{its.get(name)!r}, not {wanted.get(name)!r}",
                hint=APART,
            )


def _check_apart(path: Path, case: Case, homes: Mapping[Any, Path]) -> None:
    if home := homes.get(_text(case)):
        raise InputError(
            f"{path}: its problem {case.question[:60]!r} is in {home} too and would count twice",
            hint=APART,
        )


def _text(case: Case) -> Any:
    return case.question, case.gold.value
