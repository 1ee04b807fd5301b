"""A TOML table into a dataclass: every fault of a file is told at once, each message whole."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from lorid_local import settings
from lorid_local.errors import EXIT_USAGE, SettingsError


@dataclass(frozen=True)
class Inner:
    size: int
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    from_: str = "here"
    kind: Literal["a", "b"] = "a"
    ready: bool = False
    limit: int | None = None
    names: tuple[str, ...] = ()
    inners: tuple[Inner, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.inner.size > 99:
            raise ValueError("inner.size and name do not go together")


GOOD: dict[str, Any] = {"name": "n", "inner": {"size": 1}}


def message(table: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as raised:
        settings.from_table(table, Outer, "file.toml")
    assert raised.value.hint == "correct the file and run again"
    assert raised.value.exit_code == EXIT_USAGE
    return raised.value.message


def test_the_dataclass_owns_the_defaults() -> None:
    assert settings.from_table(GOOD, Outer, "x") == Outer("n", Inner(1))


def test_everything_given() -> None:
    table = {
        "name": "n", "inner": {"size": 2, "share": 1}, "from": "there", "kind": "b", "ready": True,
        "limit": 3, "names": ["x", "y"], "inners": [{"size": 4}, {"size": 5}],
        "weights": {"w": 1, "v": 0.5},
    }  # fmt: skip
    built = settings.from_table(table, Outer, "x")
    assert built == Outer("n", Inner(2, 1.0), "there", "b", True, 3, ("x", "y"),
                          (Inner(4), Inner(5)), {"w": 1.0, "v": 0.5})  # fmt: skip
    assert isinstance(built.inner.share, float)


FAULTS: dict[str, dict[str, Any]] = {
    "unknown key 'nmae' (did you mean name?)": {"nmae": "x"},
    "unknown key 'zzz'": {"zzz": 1},
    "unknown key 'from_' (did you mean from?)": {"from_": "x"},
    "unknown key 'inner.sice' (did you mean size?)": {"inner": {"size": 1, "sice": 2}},
    "missing key 'inner.size'": {"inner": {}},
    "name: expected str, got 3": {"name": 3},
    "ready: expected bool, got 1": {"ready": 1},
    "limit: expected int, got '3'": {"limit": "3"},
    "inner.size: expected int, got True": {"inner": {"size": True}},
    "inner.size: expected int, got 2.0": {"inner": {"size": 2.0}},
    "inner.size: expected int, got 'x'": {"inner": {"size": "x"}},
    "inner.share: expected float, got 'x'": {"inner": {"size": 1, "share": "x"}},
    "inner: expected a table, got 4": {"inner": 4},
    "kind: expected one of a, b, got 'c'": {"kind": "c"},
    "kind: expected one of a, b, got ['a']": {"kind": ["a"]},
    "names: expected a list, got 'x'": {"names": "x"},
    "names[1]: expected str, got 2": {"names": ["x", 2]},
    "inners[1].size: expected int, got 'x'": {"inners": [{"size": 1}, {"size": "x"}]},
    "inners[0]: expected a table, got 7": {"inners": [7]},
    "weights: expected a table, got []": {"weights": []},
    "weights.w: expected float, got 'x'": {"weights": {"w": "x"}},
    "inner: size must be at least 1, got 0": {"inner": {"size": 0}},
    "inners[0]: size must be at least 1, got 0": {"inners": [{"size": 0}]},
    "file: inner.size and name do not go together": {"inner": {"size": 100}},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault(fault: str) -> None:
    assert message(GOOD | FAULTS[fault]) == f"file.toml: {fault}"


def test_missing_keys() -> None:
    assert message({}) == "file.toml: missing key 'name'; missing key 'inner'"


def test_all_faults_at_once() -> None:
    table = {
        "nmae": "x",
        "inner": {"size": "big", "share": [], "deep": {}},
        "kind": "z",
        "inners": [{"size": -1}, {}],
        "limit": 1.5,
    }
    assert message(table) == (
        "file.toml: unknown key 'nmae' (did you mean name?); missing key 'name'; "
        "unknown key 'inner.deep'; inner.size: expected int, got 'big'; "
        "inner.share: expected float, got []; kind: expected one of a, b, got 'z'; "
        "limit: expected int, got 1.5; inners[0]: size must be at least 1, got -1; "
        "missing key 'inners[1].size'"
    )


def test_load_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('name = "größer"\n[inner]\nsize = 3\n', encoding="utf-8")
    assert settings.load(path, Outer) == Outer("größer", Inner(3))


def test_load_says_why_not(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text("name = \n", encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        settings.load(path, Outer)
    assert raised.value.message == f"{path}: not valid TOML: Invalid value (at line 1, column 8)"
    path.write_bytes(b'name = "\xff"\n')
    with pytest.raises(SettingsError) as raised:
        settings.load(path, Outer)
    assert raised.value.message.startswith(f"{path}: not valid TOML: 'utf-8' codec can't decode")
    with pytest.raises(SettingsError) as raised:
        settings.load(tmp_path, Outer)
    assert raised.value.message == f"{tmp_path}: cannot be read (Is a directory)"
    with pytest.raises(SettingsError) as raised:
        settings.load(tmp_path / "none.toml", Outer)
    assert raised.value.message == f"{tmp_path / 'none.toml'}: no such file"
    assert raised.value.hint == "check the path"
