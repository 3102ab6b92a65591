"""The house keeps its shape: who imports whom, what only some rooms may do, and how long things get.

Each rule reads the syntax tree of every file and returns sentences. A test plants violations of each rule in
a copy of the package and sees them named.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import LONGEST

PACKAGE = Path(__file__).parents[1] / "src" / "regraft"

# Imports go down only; folders on one floor ignore each other. Drawn in docs/architecture.md.
FLOORS = (
    ("__init__", "__main__"),
    ("cli",),
    ("api",),
    ("report",),
    ("choosing",),
    ("evidence",),
    ("engine", "strategies"),
    ("inference",),
    ("plans", "terms"),
    ("linking", "scores"),
    ("sources", "targets", "tasks"),
    ("core",),
)
KNOW_MODALITIES = ("sources", "targets")
READS_TEST_LABELS = "evidence"
RUNS_CODE_WHEN_READ = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 60


@dataclass(frozen=True)
class Module:
    """One file of the package, parsed."""

    name: str
    folder: str
    path: Path
    text: str
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 0)}"


def read_package(root: Path) -> dict[str, Module]:
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(("regraft", *parts)).removesuffix(".__init__")
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, parts[0], path, text, parse(text))
    return modules


@functools.cache
def parse(text: str) -> ast.Module:
    return ast.parse(text)


def names_in(modules: dict[str, Module]) -> set[str]:
    """Names of all modules and of the folders that hold them."""
    return {".".join(name.split(".")[:depth]) for name in modules for depth in range(1, name.count(".") + 2)}


def loading(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when a file is loaded: neither function bodies nor what only type checkers read.

    A noun may hand out its makers (``Target.from_images``), which import the noun: no cycle when loading.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Constant):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from loading(node)


def imports(
    module: Module, known: set[str], nodes: Iterator[ast.AST] | None = None
) -> Iterator[tuple[str, ast.AST]]:
    """The package's modules that a file imports, wherever in the file, and the names it may import lazily."""
    for node in ast.walk(module.tree) if nodes is None else nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names if alias.name.split(".")[0] == "regraft")
        elif isinstance(node, ast.ImportFrom):
            yield from ((name, node) for name in imported_from(module, node, known))
        elif isinstance(node, ast.Constant) and node.value in known and "." in node.value:
            yield node.value, node


def imported_from(module: Module, node: ast.ImportFrom, known: set[str]) -> Iterator[str]:
    origin = node.module or ""
    if node.level:
        package = module.name if module.path.name == "__init__.py" else module.name.rpartition(".")[0]
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        origin = ".".join([*parents, *([origin] if origin else [])])
    if origin.split(".")[0] != "regraft":
        return
    for alias in node.names:
        if (origin, alias.name) == ("regraft", "__version__"):
            continue  # a constant, there before anything else of the package is
        inner = f"{origin}.{alias.name}"
        yield inner if inner in known else origin


def floor_of(name: str, modules: dict[str, Module]) -> int | None:
    folder = modules[name].folder if name in modules else name.split(".")[1]
    return next((number for number, folders in enumerate(FLOORS) if folder in folders), None)


def upward_imports(root: Path) -> list[str]:
    modules = read_package(root)
    known = names_in(modules)
    found = []
    for module in modules.values():
        here = floor_of(module.name, modules)
        if here is None:
            found.append(f"{module.name} stands on no floor: name '{module.folder}' in FLOORS")
            continue
        for imported, node in imports(module, known):
            there = floor_of(imported, modules)
            folder = modules[imported].folder if imported in modules else imported.split(".")[1]
            if there is not None and there <= here and folder != module.folder:
                relation = "beside" if there == here else "above"
                found.append(f"{module.at(node)} imports {imported}, which stands {relation} it")
    return found


def import_cycles(root: Path) -> list[str]:
    modules = read_package(root)
    known = names_in(modules)
    graph = {
        name: {imported for imported, _ in imports(module, known, loading(module.tree))} - {name}
        for name, module in modules.items()
    }
    found = []
    while cycle := one_cycle(graph):
        found.append("cycle: " + " <- ".join(cycle))
        graph[cycle[1]].discard(cycle[0])  # so that the next one is found as well
    return sorted(found)


def one_cycle(graph: dict[str, set[str]]) -> list[str]:
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def knowledge_of_modalities(root: Path) -> list[str]:
    found = []
    for module in read_package(root).values():
        if module.folder in KNOW_MODALITIES:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Compare) and asks_for_modality(node):
                found.append(f"{module.at(node)} compares a modality: {ast.unparse(node)}")
            elif isinstance(node, ast.Match) and names_modality(node.subject):
                found.append(f"{module.at(node)} compares a modality: match {ast.unparse(node.subject)}")
    return found


def asks_for_modality(node: ast.Compare) -> bool:
    sides = [node.left, *node.comparators]
    if any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
        return any(names_modality(side) for side in sides)
    member = any(isinstance(operator, ast.In | ast.NotIn) for operator in node.ops)
    return member and isinstance(node.left, ast.Attribute) and names_modality(node.left)


def names_modality(node: ast.expr) -> bool:
    match node:
        case ast.Name(id="modality") | ast.Attribute(attr="modality"):
            return True
        case ast.Subscript(slice=ast.Constant(value="modality")):
            return True
        case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value="modality"), *_]):
            return True
    return False


def openings_of_the_test_part(root: Path) -> list[str]:
    return [
        f"{module.at(node)} opens the test part, which only {READS_TEST_LABELS} may"
        for module in read_package(root).values()
        if module.folder != READS_TEST_LABELS
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and called(node).split(".")[-1] == "open_test"
    ]


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def unsafe_reading(root: Path) -> list[str]:
    found = []
    for module in read_package(root).values():
        for node in ast.walk(module.tree):
            found += [f"{module.at(node)} uses {name}" for name in unsafe_names(node)]
            if isinstance(node, ast.Call) and reads_unsafely(node):
                found.append(f"{module.at(node)} may run code that a file holds: {ast.unparse(node)}")
    return found


def unsafe_names(node: ast.AST) -> list[str]:
    """What a node takes from a module that runs code when it reads; pickle's errors may be caught."""
    match node:
        case ast.Import(names=aliases):
            names = [alias.name for alias in aliases if alias.name != "pickle" or alias.asname]
        case ast.ImportFrom(module=str(origin), names=aliases):
            names = [f"{origin}.{alias.name}" for alias in aliases]
        case ast.Attribute(value=ast.Name(id="pickle"), attr=attribute):
            names = [f"pickle.{attribute}"]
        case _:
            names = []
    return [
        name
        for name in names
        if name.split(".")[0] in RUNS_CODE_WHEN_READ and name != "pickle.UnpicklingError"
    ]


def reads_unsafely(node: ast.Call) -> bool:
    options = {
        keyword.arg: keyword.value.value
        for keyword in node.keywords
        if isinstance(keyword.value, ast.Constant)
    }
    if called(node) == "torch.load":
        return options.get("weights_only") is not True
    return called(node) == "joblib.load" or bool(options.get("allow_pickle"))


def overlong_pieces(root: Path) -> list[str]:
    found = []
    for module in read_package(root).values():
        lines = len(module.text.splitlines())
        if lines > LONGEST_FILE:
            found.append(f"{module.name} has {lines} lines: past {LONGEST_FILE} a file is two rooms")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = length_without_docstring(node)
                if length > LONGEST_FUNCTION:
                    found.append(
                        f"{module.at(node)} {node.name} has {length} lines, more than {LONGEST_FUNCTION}"
                    )
    return found


def length_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


def folders_that_are_no_packages(root: Path) -> list[str]:
    folders = {path.parent for path in root.rglob("*.py")}
    without = sorted(folder for folder in folders if not (folder / "__init__.py").exists())
    return [f"{folder.relative_to(root)} has no __init__.py: it would not be installed" for folder in without]


Rule = Callable[[Path], list[str]]
RULES: tuple[Rule, ...] = (
    upward_imports,
    import_cycles,
    knowledge_of_modalities,
    openings_of_the_test_part,
    unsafe_reading,
    overlong_pieces,
    folders_that_are_no_packages,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps(rule: Rule) -> None:
    found = rule(PACKAGE)
    assert not found, "\n".join(found)


# Rule, file, what is planted in it, and the end of the sentence that has to name it.
PLANTED = [
    (upward_imports, "core/planted.py", "from regraft.engine import x", ":1 imports regraft.engine"),
    (upward_imports, "core/planted.py", "def f():\n    import regraft.cli", ":2 imports regraft.cli"),
    (upward_imports, "core/planted.py", "from ..tasks import task", ":1 imports regraft.tasks.task"),
    (upward_imports, "core/planted.py", "X = 'regraft.tasks.task'", ":1 imports regraft.tasks.task"),
    (
        upward_imports,
        "tasks/planted.py",
        "if X:\n    from regraft import sources",
        ":2 imports regraft.sources",
    ),
    (upward_imports, "plans/planted.py", "from regraft.inference import x", ":1 imports regraft.inference"),
    (upward_imports, "engine/planted.py", "import regraft.strategies", ":1 imports regraft.strategies"),
    (upward_imports, "evidence/planted.py", "from regraft import Target", ":1 imports regraft"),
    (upward_imports, "attic/planted.py", "", " stands on no floor"),
    (import_cycles, "core/errors.py", "from regraft.core.optional import require", "regraft.core.optional"),
    (knowledge_of_modalities, "engine/planted.py", "x = t.modality == 'image'", ":1 compares a modality"),
    (knowledge_of_modalities, "engine/planted.py", "x = d['modality'] != 'text'", ":1 compares a modality"),
    (knowledge_of_modalities, "cli/planted.py", "x = s.modality in ('text',)", ":1 compares a modality"),
    (
        knowledge_of_modalities,
        "cli/planted.py",
        "match s.modality:\n    case 1: pass",
        ":1 compares a modality",
    ),
    (openings_of_the_test_part, "engine/planted.py", "t.open_test(ledger, 'peek')", ":1 opens the test part"),
    (unsafe_reading, "core/planted.py", "import pickle\nx = pickle.load(f)", ":2 uses pickle.load"),
    (unsafe_reading, "core/planted.py", "import pickle as safe", ":1 uses pickle"),
    (unsafe_reading, "core/planted.py", "from pickle import loads", ":1 uses pickle.loads"),
    (unsafe_reading, "core/planted.py", "import dill", ":1 uses dill"),
    (unsafe_reading, "core/planted.py", "torch.load(path)", ":1 may run code"),
    (unsafe_reading, "core/planted.py", "torch.load(path, weights_only=False)", ":1 may run code"),
    (unsafe_reading, "core/planted.py", "np.load(path, allow_pickle=True)", ":1 may run code"),
    (overlong_pieces, "core/planted.py", "x = 1\n" * 401, " has 401 lines"),
    (overlong_pieces, "core/planted.py", "def f():\n" + "    x = 1\n" * 61, ":1 f has 61 lines"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy") / "regraft"
    shutil.copytree(PACKAGE, folder, ignore=lambda _, names: {"__pycache__"} & set(names))
    return folder


@contextmanager
def planted(file: Path, code: str) -> Iterator[None]:
    old = file.read_text(encoding="utf-8") if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{old}\n{code}" if old else code, encoding="utf-8")
    try:
        yield
    finally:
        file.unlink()
        if old is not None:
            file.write_text(old, encoding="utf-8")


@pytest.mark.parametrize(("rule", "place", "code", "end"), PLANTED)
def test_a_planted_violation_is_named(rule: Rule, place: str, code: str, end: str, copy: Path) -> None:
    module = "regraft." + place.removesuffix(".py").replace("/", ".")
    before = rule(copy)
    with planted(copy / place, code):
        new = [sentence for sentence in rule(copy) if sentence not in before]
    assert [sentence for sentence in new if module in sentence and end in sentence], new


def test_a_folder_that_would_not_be_installed_is_named(tmp_path: Path) -> None:
    (tmp_path / "planted").mkdir()
    (tmp_path / "__init__.py").touch()
    (tmp_path / "planted" / "module.py").touch()
    assert folders_that_are_no_packages(tmp_path) == ["planted has no __init__.py: it would not be installed"]


def test_what_is_allowed_is_not_named(tmp_path: Path) -> None:
    allowed = {
        "engine/planted.py": "from regraft import __version__\nfrom regraft.core.errors import PlanError",
        "targets/planted.py": "x = target.modality == 'image'",
        "evidence/planted.py": "labels = target.open_test(ledger, 'final')",
        "core/planted.py": "weights = torch.load(path, weights_only=True)\nname = 'regraft'",
        "core/catching.py": "import pickle\nbad = pickle.UnpicklingError",
    }
    for place, code in allowed.items():
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
        (file.parent / "__init__.py").touch()
    (tmp_path / "__init__.py").touch()
    assert [sentence for rule in RULES for sentence in rule(tmp_path)] == []


def test_the_files_that_are_run_first_are_there() -> None:
    tests = Path(__file__).parent
    assert [name for name in LONGEST if not (tests / name).is_file()] == []
