"""Building a network whose parameters take no memory."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

_Seen = dict[int, tuple["weakref.ref[nn.Parameter]", nn.Parameter]]
_inside: ContextVar[bool] = ContextVar("weightless", default=False)


@contextmanager
def weightless() -> Iterator[None]:
    """Inside the block every parameter that a module registers goes to the meta device; buffers stay real.

    ``torch.device("meta")`` would leave buffers that no checkpoint holds (position numbers, attention
    windows) without values. Parameters that modules share stay shared. Not for several threads at a time:
    torch looks the method up on the class.
    """
    original = nn.Module.register_parameter
    seen: _Seen = {}

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = _twin(parameter, seen)
        original(module, name, parameter)

    token = _inside.set(True)
    replace_registration(register)
    try:
        yield
    finally:
        replace_registration(original)
        _inside.reset(token)


def makes_skeletons() -> bool:
    """Whether a network built here and now gets no memory for its parameters."""
    return _inside.get() or torch.empty(0).is_meta


def copy_module(module: nn.Module) -> nn.Module:
    """A deep copy that takes no memory for parameters where skeletons are made.

    They go to the meta device (under ``torch.device("meta")`` buffers too) without being copied first.
    """
    if not makes_skeletons():
        return copy.deepcopy(module)
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(
            parameter.detach().to("meta"), requires_grad=parameter.requires_grad
        )
    if not _inside.get():
        memo.update({id(buffer): buffer.to("meta") for buffer in module.buffers()})
    return copy.deepcopy(module, memo)


def _twin(parameter: nn.Parameter, seen: _Seen) -> nn.Parameter:
    known = seen.get(id(parameter))
    if known is not None and known[0]() is parameter:
        return known[1]
    twin = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    seen[id(parameter)] = (weakref.ref(parameter), twin)
    return twin


def replace_registration(method: Any) -> None:
    """Let every module register its parameters by ``method``, until it is replaced again."""
    nn.Module.register_parameter = method  # type: ignore[method-assign]
