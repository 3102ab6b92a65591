"""What `import regraft` brings, without loading what is heavy, and that its public names are whole."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import regraft

HEAVY = (
    "torch timm transformers peft datasets ray sklearn pandas matplotlib numpy scipy pyarrow PIL openvino "
    "onnx onnxruntime tokenizers accelerate pydantic jinja2 typer rich"
)
NAMES_OF_SUBPACKAGES = {module.name for module in pkgutil.iter_modules(regraft.__path__)}


def run(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, timeout=120
    ).stdout


def test_importing_regraft_loads_nothing_heavy() -> None:
    code = f"import sys, regraft; print([name for name in {HEAVY.split()} if name in sys.modules])"
    assert run("-c", code).strip() == "[]"


def test_ray_is_loaded_only_where_it_is_asked_for() -> None:
    code = "import sys, regraft.core.executors.on_ray, regraft.core.executors.processes; print(*sys.modules)"
    assert {"ray", "joblib", "torch"}.isdisjoint(run("-c", code).split())


def test_the_check_for_heavy_imports_can_fail() -> None:
    code = f"import sys, regraft, numpy; print([name for name in {HEAVY.split()} if name in sys.modules])"
    assert "numpy" in run("-c", code)


@pytest.mark.parametrize("name", regraft.__all__)
def test_a_public_name_resolves(name: str) -> None:
    assert getattr(regraft, name) is not None


def test_all_is_what_is_public() -> None:
    """The table and the imports for type checkers agree, and nothing else is public."""
    tree = ast.parse(Path(regraft.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == regraft._HOMES
    assert sorted(regraft.__all__) == sorted(dir(regraft)) == sorted(["__version__", *typed])


def test_no_public_name_hides_a_folder() -> None:
    """`regraft.engine` cannot be both a folder and a verb: whichever is imported last would win."""
    assert NAMES_OF_SUBPACKAGES.isdisjoint(regraft.__all__)


def test_every_error_is_public() -> None:
    errors = importlib.import_module("regraft.core.errors")
    raised = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert raised <= set(regraft.__all__)
    assert all(issubclass(getattr(regraft, name), regraft.RegraftError) for name in raised)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'regraft' has no attribute 'graft'"):
        _ = regraft.graft


def test_the_installed_version_is_the_one_in_the_code() -> None:
    assert importlib.import_module("importlib.metadata").version("regraft") == regraft.__version__


def modules() -> list[str]:
    root = Path(regraft.__file__).parent
    paths = (path.relative_to(root.parent) for path in root.rglob("*.py") if path.name != "__main__.py")
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths)


def undescribed(module: str) -> Iterator[str]:
    """Public methods and properties without a docstring of their own, of an ancestor's, or in the class's."""
    for name, value in vars(importlib.import_module(module)).items():
        if name.startswith("_") or not inspect.isclass(value) or value.__module__ != module:
            continue
        for member, method in vars(value).items():
            described = inspect.getdoc(getattr(value, member, None)) or member in (value.__doc__ or "")
            if (
                not member.startswith("_")
                and (callable(method) or isinstance(method, property))
                and not described
            ):
                yield f"{module}.{name}.{member}"


@pytest.mark.parametrize("module", modules())
def test_every_module_imports_and_describes_its_methods(module: str) -> None:
    assert list(undescribed(module)) == []


@pytest.mark.vision
def test_timm_and_transformers_work_beside_torchvision() -> None:
    """What this environment is for: see .ci/vision_environment.py."""
    timm = importlib.import_module("timm")
    boxes = importlib.import_module("torchvision.ops")
    transformers = importlib.import_module("transformers")
    assert timm.list_models("resnet18")
    assert callable(boxes.nms)
    assert transformers.AutoModel is not None
