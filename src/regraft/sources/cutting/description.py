"""Descriptions: what a network's forward pass depends on beside the values of its tensors."""

from __future__ import annotations

import types
from collections.abc import Hashable, Iterator
from typing import Any

from torch import Tensor, nn

_DEPTH = 6
_PLAIN = (int, float, str, bool, bytes, type(None), type)
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
    describer = _Describer(own=False)
    return tuple(
        (path, type(module), tuple(describer.attributes(module))) for path, module in network.named_modules()
    )


def describe_state(network: nn.Module, *, own: bool) -> Hashable:
    """All that a graph of this very network depends on: the description, and the mode of each module.

    ``own`` tells tensors apart that no one registered, which a graph holds as constants.
    """
    describer = _Describer(own=own)
    return tuple(
        (path, type(module), module.training, tuple(describer.attributes(module)))
        for path, module in network.named_modules()
    )


def unregistered(network: nn.Module) -> list[Tensor]:
    """Tensors that modules hold without having registered them, in whatever they hold them directly."""
    values = (value for module in network.modules() for value in vars(module).values())
    return [value for value in values if isinstance(value, Tensor)]


class Glance:
    """What a network looks like at a glance: which objects it holds, and in which modes.

    Two equal glances mean that nothing was edited in between. One is taken in each step, and a description
    takes twenty times as long.
    """

    def __init__(self, network: nn.Module):
        self.seen: list[Any] = []
        known: set[int] = set()
        for module in network.modules():
            values = [value for name, value in vars(module).items() if name not in _OWN]
            self.seen += (id(module), module.training)
            self.seen += [value if type(value) in _PLAIN else id(value) for value in values]
            self.seen += map(id, module._parameters.values())
            self.seen += map(id, module._buffers.values())
            for value in values:
                if type(value) not in _PLAIN and id(value) not in known:
                    known.add(id(value))
                    self.seen.append(_inside(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Glance) and self.seen == other.seen

    __hash__ = None  # type: ignore[assignment]


def _inside(value: Any) -> Any:
    """A configuration may be edited, a list may grow, a tensor be written to."""
    if isinstance(value, Tensor):
        return None if value.is_inference() else value._version
    if isinstance(value, dict | list | set | tuple):
        return len(value)
    held = getattr(value, "__dict__", None)
    if not isinstance(held, dict) or isinstance(value, types.FunctionType | type):
        return None
    return [one if type(one) in _PLAIN else id(one) for one in held.values()]


class _Describer:
    """Describes attributes; an object that many modules hold (a configuration) is described once."""

    def __init__(self, *, own: bool):
        self.own = own
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
            elif not (isinstance(value, dict) and not value):
                yield name, self.describe(value, 0)

    def describe(self, value: Any, depth: int) -> Hashable:
        """Something hashable that is equal for what behaves equally."""
        if type(value) in _PLAIN:
            return (type(value), value)
        if depth > _DEPTH or isinstance(value, nn.Module):
            return _class(value)
        if isinstance(value, Tensor):
            place = (id(value), value._version) if self.own and not value.is_inference() else ()
            return (tuple(value.shape), value.dtype, *place)
        if isinstance(value, list | tuple):
            return (type(value), *(self.describe(one, depth + 1) for one in value))
        if isinstance(value, set | frozenset):
            return (type(value), frozenset(self.describe(one, depth + 1) for one in value))
        if isinstance(value, dict):
            # Hooks are kept by numbers that a copy does not keep.
            items = ((key if isinstance(key, str) else "", one) for key, one in value.items())
            return (type(value), *((key, self.describe(one, depth + 1)) for key, one in items))
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
            return value
        return value.__func__ if isinstance(value, types.MethodType) else self._object(value, depth)

    def _object(self, value: Any, depth: int) -> Hashable:
        if id(value) not in self.objects:
            self.objects[id(value)] = _class(value)  # it may hold itself
            held = getattr(value, "__dict__", None) or {}
            items = tuple((name, self.describe(one, depth + 1)) for name, one in held.items())
            self.objects[id(value)] = (type(value), *items)
        return self.objects[id(value)]


def _class(value: Any) -> Hashable:
    kind: Any = type(value)
    return kind
