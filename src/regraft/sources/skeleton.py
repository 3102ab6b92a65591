"""Building a network whose parameters take no memory."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def weightless() -> Iterator[None]:
    """Inside the block every parameter that a module registers goes to the meta device; buffers stay real.

    ``torch.device("meta")`` would leave buffers that no checkpoint holds (position numbers, attention windows)
    without values. Parameters that modules share stay shared. Not for several threads at a time: torch looks
    the method up on the class.
    """
    original = nn.Module.register_parameter
    seen: dict[int, tuple[weakref.ref[nn.Parameter], nn.Parameter]] = {}

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = _twin(parameter, seen)
        original(module, name, parameter)

    _replace(register)
    try:
        yield
    finally:
        _replace(original)


def _twin(
    parameter: nn.Parameter, seen: dict[int, tuple[weakref.ref[nn.Parameter], nn.Parameter]]
) -> nn.Parameter:
    known = seen.get(id(parameter))
    if known is not None and known[0]() is parameter:
        return known[1]
    twin = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    seen[id(parameter)] = (weakref.ref(parameter), twin)
    return twin


def _replace(method: Any) -> None:
    nn.Module.register_parameter = method  # type: ignore[method-assign]
