"""Descriptions: what a network's forward pass depends on beside the values of its tensors."""

from __future__ import annotations

import logging
import types
from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_DEPTH = 6
_PLAIN = (int, float, str, bool, bytes, type(None), type)
_VALUES = (int, float, str, bytes, complex, range, slice, torch.dtype, torch.device, np.dtype)
_COMMON = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, logging.Logger)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
# What torch keeps in every module; hooks are told apart below.
_OWN = {
    "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_backward_pre_hooks",
    "_backward_hooks", "_is_full_backward_hook", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs", "_state_dict_hooks", "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "training", "_flat_weight_refs",
    "_flat_weights",
}  # fmt: skip


def describe_network(network: nn.Module) -> Hashable:
    """The network's classes, hyper-parameters and shapes: equal for a skeleton and for the whole.

    Modes are left out; an edit (another module, another attribute, a hook) changes it.
    """
    describer = _Describer(network, own=False)
    return tuple(
        (path, type(module), tuple(describer.attributes(module))) for path, module in network.named_modules()
    )


def describe_state(network: nn.Module, *, own: bool) -> Hashable:
    """All that a graph of this very network depends on: the description, and the mode of each module.

    ``own`` tells tensors apart that no one registered, which a graph holds as constants.
    """
    describer = _Describer(network, own=own)
    return tuple(
        (path, type(module), module.training, tuple(describer.attributes(module)))
        for path, module in network.named_modules()
    )


def unregistered(network: nn.Module) -> list[Any]:
    """What modules hold and no one registered, where it is told apart by its place in memory: tensors."""
    describer = _Describer(network, own=True)
    for module in network.modules():
        for _ in describer.attributes(module):
            pass
    return describer.placed


class Glance:
    """What a network looks like at a glance: which objects it holds, what they hold, and in which modes.

    Two equal glances mean that nothing was edited in between. One is taken in each step, and a description
    takes many times as long.
    """

    def __init__(self, network: nn.Module):
        self.seen: list[Any] = []
        modules = list(network.modules())
        self._known = {id(module) for module in modules}
        for module in modules:
            self._see(module)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Glance) and self.seen == other.seen

    __hash__ = None  # type: ignore[assignment]

    def _see(self, module: nn.Module) -> None:
        """A module without its children."""
        self.seen += (id(module), module.training)
        self.seen += map(id, module._parameters.values())
        self.seen += map(id, module._buffers.values())
        for name, value in vars(module).items():
            if name not in _OWN:
                self._look(value, 0)

    def _look(self, value: Any, depth: int) -> None:
        """A configuration may be edited, an entry replaced, an array be written to, however deep."""
        if type(value) in _PLAIN:
            self.seen.append(value)
            return
        self.seen.append(id(value))
        if id(value) in self._known or depth > _DEPTH:
            return
        self._known.add(id(value))
        for one in self._inside(value):
            self._look(one, depth + 1)

    def _inside(self, value: Any) -> Iterator[Any]:
        match value:
            case nn.Module():  # held, and not registered
                new = [
                    module for module in value.modules() if id(module) not in self._known or module is value
                ]
                self._known.update(map(id, new))
                for module in new:
                    self._see(module)
            case Tensor():
                yield None if value.is_inference() else value._version
            case np.ndarray():
                yield value.tobytes() if value.dtype != object else value.tolist()
            case dict():
                yield from value.keys()
                yield from value.values()
            case list() | tuple() | set() | frozenset():
                yield from value
            case partial():
                yield from (value.args, value.keywords)
            case types.MethodType():
                yield value.__self__
            case _:
                yield from _held(value).values()


def _held(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in slots as well; none of what is code or belongs to all."""
    if isinstance(value, _COMMON):
        return {}
    slots = (
        name
        for kind in type(value).__mro__
        for names in [vars(kind).get("__slots__", ())]
        for name in ([names] if isinstance(names, str) else names)
    )
    held = {name: getattr(value, name) for name in slots if name[:2] != "__" and hasattr(value, name)}
    own = getattr(value, "__dict__", None)
    return {**held, **own} if isinstance(own, dict) else held


class _Describer:
    """Describes attributes; an object that many modules hold (a configuration) is described once.

    ``placed`` are the things that were told apart by where they are in memory.
    """

    def __init__(self, network: nn.Module, *, own: bool):
        self.own = own
        self.placed: list[Any] = []
        self.registered = {id(module) for module in network.modules()}
        self.objects: dict[int, Hashable] = {}

    def attributes(self, module: nn.Module) -> Iterator[Hashable]:
        """Shapes of a module's own tensors, and whatever else it holds."""
        for name, parameter in module._parameters.items():
            yield name, None if parameter is None else (tuple(parameter.shape), parameter.dtype)
        for name, buffer in module._buffers.items():
            yield name, None if buffer is None else (tuple(buffer.shape), buffer.dtype)
        for name, value in vars(module).items():
            if name in _OWN:
                continue
            if type(value) in _PLAIN:
                yield name, type(value), value
            elif name in _HOOKS:
                # They are kept by numbers that a copy does not keep.
                yield name, *(self.describe(hook, 0) for hook in value.values())
            elif not (isinstance(value, dict) and not value):
                yield name, self.describe(value, 0)

    def describe(self, value: Any, depth: int) -> Hashable:
        """Something hashable that is equal for what behaves equally."""
        if type(value) in _PLAIN:
            return (type(value), value)
        if depth > _DEPTH:
            return _class(value)
        match value:
            case nn.Module():
                return self._module(value)
            case Tensor():
                version = () if value.is_inference() else (value._version,)
                place = (*self._place(value), *version) if self.own else ()
                return (tuple(value.shape), value.dtype, *place)
            case np.ndarray() | np.generic():
                return (type(value), str(value.dtype), value.shape, _bytes_of(value))
            case list() | tuple():
                return (type(value), *(self.describe(one, depth + 1) for one in value))
            case set() | frozenset():
                return (type(value), frozenset(self.describe(one, depth + 1) for one in value))
            case dict():
                return (
                    type(value),
                    *((_key(key), self.describe(one, depth + 1)) for key, one in value.items()),
                )
            case partial():
                parts = (value.func, value.args, value.keywords)
                return (type(value), *(self.describe(one, depth + 1) for one in parts))
            case types.FunctionType() | types.BuiltinFunctionType():
                return value
            case types.MethodType():
                return (value.__func__, self.describe(value.__self__, depth + 1))
        return (type(value), repr(value)) if isinstance(value, _VALUES) else self._object(value, depth)

    def _module(self, module: nn.Module) -> Hashable:
        """A module that is held and not registered: what it holds is no tensor that the network knows."""
        if id(module) in self.registered or id(module) in self.objects:
            return _class(module)
        self.objects[id(module)] = _class(module)
        return tuple(
            (path, type(inner), inner.training, *self.attributes(inner), *map(self._loose, _tensors(inner)))
            for path, inner in module.named_modules()
        )

    def _place(self, value: Any) -> tuple[int]:
        self.placed.append(value)
        return (id(value),)

    def _loose(self, tensor: Tensor) -> Hashable:
        return self.describe(tensor, 0)

    def _object(self, value: Any, depth: int) -> Hashable:
        if id(value) not in self.objects:
            self.objects[id(value)] = _class(value)  # it may hold itself
            held = _held(value)
            items = tuple((name, self.describe(one, depth + 1)) for name, one in held.items())
            # What shows nothing of itself is told apart by where it is.
            shows = hasattr(value, "__dict__") or bool(held) or isinstance(value, _COMMON)
            hidden = self._place(value) if self.own and not shows else ()
            self.objects[id(value)] = (type(value), *items, *hidden)
        return self.objects[id(value)]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(recurse=False), *module.buffers(recurse=False)]


def _bytes_of(value: Any) -> Hashable:
    return repr(value) if value.dtype == object else value.tobytes()


def _key(key: Any) -> Hashable:
    return key if type(key) in _PLAIN else _class(key)


def _class(value: Any) -> Hashable:
    kind: Any = type(value)
    return kind
