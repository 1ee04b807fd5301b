"""Files of samples read together: parts of the problems that processes of their own drew, and
the same problems drawn at other temperatures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorid_local.engine import Role
from lorid_local.errors import InputError
from lorid_local.evaluate import store
from lorid_local.evaluate.cases import Case
from lorid_local.evaluate.store import Contents

ALIKE = "draw them for the same problems with another --temp or --top-p alone"
WARMTH = {"temperature": "T", "top_p": "top-p"}
APART = "give files of one run's parts, as --skip and --count cut them"


def join(paths: Sequence[Path]) -> Contents:
    """Return the problems of the first file, then those of the next, with their samples.

    Raises InputError, naming the setting or the problem, if the files were drawn with different
    settings or share a problem, which would count twice.
    """
    return _joined({path: store.read(path) for path in _once(paths)})


def beside(paths: Sequence[Path], whole: Contents) -> dict[str, Contents]:
    """Return samples of the problems of `whole` at other temperatures, by name, as 'T = 1'.

    Files of the same settings are joined; problems that `whole` lacks are left out. Raises
    InputError, naming it, for a setting other than temperature or top_p that differs, or for a
    problem that is missing.
    """
    groups: dict[str, dict[Path, Contents]] = {}
    for path in _once(paths):
        if not store.is_samples(path):
            raise InputError(f"{path}: no file of samples, as --also takes them", hint=ALIKE)
        part = store.read(path)
        groups.setdefault(_name(path, part.settings, whole.settings), {})[path] = part
    return {name: _in_order(name, _joined(parts), whole) for name, parts in groups.items()}


def _once(paths: Sequence[Path]) -> Sequence[Path]:
    for n, path in enumerate(paths):
        if path in paths[:n]:
            raise InputError(f"{path}: given twice", hint=APART)
    return paths


def _joined(parts: Mapping[Path, Contents]) -> Contents:
    whole, homes, first = Contents(), dict[Any, Path](), next(iter(parts))
    whole.data, whole.settings = parts[first].data, parts[first].settings
    for path, part in parts.items():
        _check_settings(path, part.settings, first, whole.settings)
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


def _name(path: Path, its: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Return what names the temperatures of a file, where they differ from DATA's."""
    differing = [name for name in dict.fromkeys([*own, *its]) if its.get(name) != own.get(name)]
    if others := [name for name in differing if name.rpartition(".")[2] not in WARMTH]:
        raise InputError(
            f"{path}: not only another temperature: its {others[0]} is {its.get(others[0])!r}, "
            f"that of DATA is {own.get(others[0])!r}",
            hint=ALIKE,
        )
    if not differing:
        raise InputError(f"{path}: of the same temperature as DATA", hint=ALIKE)
    words = []
    for key, short in WARMTH.items():
        names = [name for name in differing if name.endswith(f".{key}")]
        values = {its.get(f"{role}.{key}") for role in Role}
        if names and len(values) == 1:
            words.append(f"{short} = {values.pop():g}")
        else:
            words += [f"{name} = {its[name]:g}" for name in names]
    return ", ".join(words)


def _in_order(name: str, part: Contents, whole: Contents) -> Contents:
    """Return the part with its problems at the places that they have in `whole`."""
    places: dict[Any, list[int]] = {}
    for number, case in enumerate(part.cases):
        places.setdefault(_text(case), []).append(number)
    moved: dict[int, int] = {}
    for number, case in enumerate(whole.cases):
        there = places.get(_text(case))
        if not there:
            raise InputError(
                f"the samples at {name} lack the problem {case.question[:60]!r} of DATA",
                hint=ALIKE,
            )
        moved[there.pop(0)] = number
    samples = {
        key._replace(case=moved[key.case]): taken
        for key, taken in part.samples.items()
        if key.case in moved
    }
    return Contents(part.data, part.settings, whole.cases, samples)


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
