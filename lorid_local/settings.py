"""A TOML table into a frozen dataclass: the dataclass owns keys, types and defaults.

Unknown keys, missing keys and values of the wrong kind are all reported at once.
"""

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from lorid_local.errors import SettingsError, did_you_mean

T = TypeVar("T")


def load(path: Path, cls: type[T]) -> T:
    """Read the TOML file at `path` into `cls`; raises SettingsError naming every fault."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file", hint="check the path") from None
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror})", hint="give a .toml file that you may read"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path}: not valid TOML: {error}", hint="mend the line that is named"
        ) from None
    return from_table(table, cls, str(path))


def from_table(table: dict[str, Any], cls: type[T], where: str) -> T:
    """Build `cls` from a parsed table; `where` prefixes the error message."""
    faults: list[str] = []
    built = _build(table, cls, "", faults)
    if faults:
        raise SettingsError(f"{where}: " + "; ".join(faults), hint="correct the file and run again")
    return typing.cast(T, built)


def _build(table: dict[str, Any], cls: type, at: str, faults: list[str]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    keys = {_key(name): name for name in fields}
    for key in table:
        if key not in keys:
            near = did_you_mean(key, keys)
            faults.append(f"unknown key {at + key!r}{near}")
    values, before = {}, len(faults)
    for key, name in keys.items():
        if key in table:
            values[name] = _value(table[key], hints[name], at + key, faults)
        elif _required(fields[name]):
            faults.append(f"missing key {at + key!r}")
    if len(faults) > before:  # the class's own checks expect values of the right kind
        return None
    try:
        return cls(**values)
    except ValueError as error:
        faults.append(f"{at.rstrip('.') or 'file'}: {error}")
        return None


def _key(field_name: str) -> str:
    return field_name.rstrip("_")  # `from_` in Python is `from` in TOML


def _required(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(value: Any, kind: Any, at: str, faults: list[str]) -> Any:
    if isinstance(kind, types.UnionType):
        kind = next(k for k in typing.get_args(kind) if k is not types.NoneType)
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, dict):
            return _build(value, kind, at + ".", faults)
        faults.append(f"{at}: expected a table, got {value!r}")
        return None
    if origin is tuple:
        return _items(value, typing.get_args(kind)[0], at, faults)
    if origin is dict:
        if isinstance(value, dict):
            inner = typing.get_args(kind)[1]
            return {k: _value(v, inner, f"{at}.{k}", faults) for k, v in value.items()}
        faults.append(f"{at}: expected a table, got {value!r}")
        return None
    return _scalar(value, kind, at, faults)


def _items(value: Any, kind: Any, at: str, faults: list[str]) -> Any:
    if not isinstance(value, list):
        faults.append(f"{at}: expected a list, got {value!r}")
        return ()
    return tuple(_value(v, kind, f"{at}[{i}]", faults) for i, v in enumerate(value))


def _scalar(value: Any, kind: Any, at: str, faults: list[str]) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is Any or type(value) is kind:
        return value
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        if value in choices:
            return value
        faults.append(f"{at}: expected one of {', '.join(choices)}, got {value!r}")
        return None
    faults.append(f"{at}: expected {kind.__name__}, got {value!r}")
    return None
