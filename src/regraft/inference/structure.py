"""What a network computes, as a hash: its modules, their modes and settings, and the code that runs them.

Two networks of one hash and with equal weights compute the same. ``repr`` would not say so: it leaves out
what ``forward`` does, attributes without a word in ``extra_repr``, hooks, and buffers that are not saved.
Of code that was installed the package's version is taken; other code is read, with whatever it calls.
"""

from __future__ import annotations

import dis
import functools
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, dtype, fx, nn

from regraft.core.errors import PlanError
from regraft.core.hashing import hash_bytes, hash_json, hash_tensors
from regraft.sources import Trunk

_OPAQUE = ("torch", "numpy", "builtins")
_LIBRARY = sysconfig.get_path("stdlib")
_MACHINERY = frozenset(vars(nn.Module())) - {"training"}
_DEEPEST = 12
_NUMBERED = "_autograd_function_id"  # by the order in which such functions were made


def structure_hash(trunk: Trunk, first: int, last: int) -> str:
    """Hash of what the blocks ``first`` to ``last - 1`` of a trunk compute, but for parameters and saved
    buffers.
    """
    describe = _Describer(trunk.network)
    blocks = trunk.blocks[first:last]
    names = {block.name for block in blocks}
    modules = {
        name: describe.module(module)
        for name, module in trunk.network.named_modules()
        if _owner(trunk, name) in (None, *names)
    }
    return hash_json({"modules": modules, "blocks": [[block.name, describe(block.run)] for block in blocks]})


def _owner(trunk: Trunk, module: str) -> str | None:
    """The block that a module lies in; None for one that spans several."""
    try:
        return trunk.block_of(module)
    except PlanError:
        return None


class _Describer:
    """Turns values into JSON that is equal where they mean the same; each thing is described once."""

    def __init__(self, network: nn.Module) -> None:
        self._registered = {id(module) for module in network.modules()}
        self._known: dict[int, str] = {}
        self._alive: list[Any] = []  # ids are of use only for what lives

    def module(self, module: nn.Module) -> Any:
        """A module without its children, parameters and saved buffers."""
        attributes = {name: self(value) for name, value in vars(module).items() if name not in _MACHINERY}
        loose = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        return [
            self._class(type(module)),
            {name: value for name, value in attributes.items() if value is not None},
            [self(hook) for hooks in _hooks_of(module) for hook in hooks.values()],
            hash_tensors({name: buffer for name, buffer in loose.items() if buffer is not None}),
            getattr(module, "code", "") if isinstance(module, fx.GraphModule) else "",
        ]

    def __call__(self, value: Any, depth: int = 0) -> Any:
        match value:
            case None | bool() | int() | float() | complex() | str() | bytes() | dtype():
                return repr(value)
            case Tensor():
                return hash_tensors({"": value}) if value.device.type != "meta" else "meta"
            case np.ndarray() | np.generic():
                held = repr(value).encode() if value.dtype == object else value.tobytes()
                return [str(value.dtype), list(value.shape), hash_bytes(held)]
            case fx.Graph():
                return str(value)
            case nn.Module() if any(id(module) in self._registered for module in value.modules()):
                return (
                    f"module {type(value).__qualname__}"  # its own line stands elsewhere, or is the suffix's
                )
            case type():
                return self._class(value)
        if depth > _DEEPEST:
            return type(value).__qualname__
        if id(value) not in self._known:
            self._alive.append(value)
            self._known[id(value)] = "itself"
            self._known[id(value)] = hash_json(self._deep(value, depth + 1))
        return self._known[id(value)]

    def _deep(self, value: Any, depth: int) -> Any:
        match value:
            case list() | tuple():
                return [self(one, depth) for one in value]
            case set() | frozenset():
                return sorted(str(self(one, depth)) for one in value)
            case Mapping():
                return [[self(key, depth), self(one, depth)] for key, one in value.items()]
            case nn.Module():  # held, and not registered: its weights are among no others
                return [
                    [name, self.module(module), hash_tensors(_tensors_of(module))]
                    for name, module in value.named_modules()
                ]
            case types.FunctionType():
                return self._function(value, depth)
            case types.MethodType():
                return [self(value.__func__, depth), self(value.__self__, depth)]
            case partial():
                return [self(one, depth) for one in (value.func, value.args, value.keywords)]
            case types.CodeType():
                return self._code(value, depth)
        state = getattr(value, "__dict__", None)
        if state is None or type(value).__module__.partition(".")[0] in _OPAQUE:
            return type(value).__qualname__
        return [self._class(type(value)), self(state, depth)]

    def _class(self, cls: type) -> str:
        """A class: its name, and the code of all its methods."""
        if id(cls) not in self._known:
            self._alive.append(cls)
            self._known[id(cls)] = cls.__qualname__
            own = [base for base in cls.__mro__ if not _version(base)]
            code = [
                [name, self(function, 1)]
                for base in own
                for name, found in sorted(vars(base).items())
                for function in _read_of(name, found)
            ]
            self._known[id(cls)] = hash_json([cls.__module__, cls.__qualname__, _version(cls), code])
        return self._known[id(cls)]

    def _function(self, function: types.FunctionType, depth: int) -> Any:
        """A function: its code, what it closes over, and the functions that it names."""
        version = _version(function)
        if version:
            return [function.__module__, function.__qualname__, version]
        cells = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
        return [
            self._code(function.__code__, depth),
            self(function.__defaults__, depth),
            self(function.__kwdefaults__, depth),
            [self(cell, depth) for cell in cells],
            [self(other, depth) for other in _named(function)],
        ]

    def _code(self, code: types.CodeType, depth: int) -> Any:
        """Instructions and constants, but for line numbers and docstrings."""
        constants = [
            self._code(one, depth) if isinstance(one, types.CodeType) else self(one, depth)
            for one in code.co_consts
        ]
        return [hash_bytes(code.co_code), constants, list(code.co_names), list(code.co_varnames)]


def _tensors_of(module: nn.Module) -> dict[str, Tensor]:
    own = {**module._parameters, **module._buffers}
    return {name: tensor for name, tensor in own.items() if tensor is not None and not tensor.is_meta}


def _hooks_of(module: nn.Module) -> tuple[Mapping[int, Any], Mapping[int, Any]]:
    return module._forward_pre_hooks, module._forward_hooks


def _named(function: types.FunctionType) -> Iterator[Any]:
    """Functions, classes and plain values outside a function that its code names, directly or in a module."""
    steps = [step for code in _codes(function.__code__) for step in dis.get_instructions(code)]
    names = {str(step.argval) for step in steps}
    outside = {str(step.argval) for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for name in sorted(outside & function.__globals__.keys()):
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            if not _version(value):
                inside = (vars(value).get(other) for other in sorted(names))
                yield from filter(_is_read, inside)
        elif _is_read(value):
            yield value


def _is_read(value: Any) -> bool:
    """Whether a value is code or a constant: what is no constant may be a memory that fills as code runs."""
    return isinstance(value, types.FunctionType | type | partial | Tensor) or _is_constant(value)


def _is_constant(value: Any) -> bool:
    match value:
        case None | bool() | int() | float() | complex() | str() | bytes() | np.ndarray() | np.generic():
            return True
        case list() | tuple() | set() | frozenset():
            return all(map(_is_constant, value))
        case dict():
            return all(map(_is_constant, value)) and all(map(_is_constant, value.values()))
    return False


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _codes(one)


def _read_of(name: str, found: Any) -> Iterator[Any]:
    """What of a class's attribute is code or a plain value; nothing of what Python or torch write there."""
    if isinstance(found, property):
        yield from (one for one in (found.fget,) if one is not None)
    elif isinstance(found, functools.cached_property):
        yield found.func
    elif isinstance(found, staticmethod | classmethod):
        yield found.__func__
    elif isinstance(found, types.FunctionType) or (_is_own(name, found) and _is_read(found)):
        yield found


def _is_own(name: str, found: Any) -> bool:
    return not isinstance(found, type) and not name.startswith("__") and name != _NUMBERED


def _version(value: Any) -> str:
    """Package and version of a module, class or function; empty for what is no installed package."""
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", "") or ""
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    top = name.partition(".")[0]
    installed = "site-packages" in file or "dist-packages" in file
    if installed or top in sys.builtin_module_names or file.startswith(_LIBRARY):
        return f"{top} {getattr(sys.modules.get(top), '__version__', sys.version)}"
    return ""


def _is_empty(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True
