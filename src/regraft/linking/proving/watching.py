"""Watching a network run: what enters and leaves each module that owns tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.linking.network import Call, Network, outputs_of
from regraft.sources.cutting.chain import steady_attention


@dataclass(frozen=True)
class Step:
    """One call of a module that owns tensors.

    Attributes
    ----------
    path
        Of the module.
    names
        The tensors that it owns, as its network's state dict names them.
    time
        How many calls of the same module there were before.
    entering, leaving
        The first tensor that it read, and the first that it gave; None where one of them is not to be seen.
    """

    path: str
    names: tuple[str, ...]
    time: int
    entering: Tensor | None
    leaving: Tensor | None


@dataclass(frozen=True)
class Run:
    """What a network did with one call.

    Attributes
    ----------
    steps
        Calls of its modules, in the order in which they were made.
    outputs
        The floating-point tensors that it gave.
    """

    steps: tuple[Step, ...]
    outputs: tuple[Tensor, ...]


def watch(network: Network, call: Call, *, gradients: bool = False) -> Run:
    """Run a network and keep what passes through its modules; with ``gradients`` what they depend on as well.

    A module whose own children do the work is no step. Where it uses their tensors itself instead of calling
    them (``nn.MultiheadAttention`` and its ``out_proj``), they are steps at its entry and at its end.
    """
    watcher = _Watcher(network.module, gradients)
    # Torch's shortcut of an encoder layer calls none of its modules: nothing could be seen.
    with watcher.attached(), steady_attention(), torch.set_grad_enabled(gradients):
        given = network.module(*call.args, **call.kwargs)
    return Run(tuple(watcher.finish()), tuple(outputs_of(given)))


@dataclass
class _Seen:
    module: nn.Module
    path: str
    entering: Tensor | None
    leaving: Tensor | None


class _Watcher:
    def __init__(self, root: nn.Module, gradients: bool):
        self.modules = dict(root.named_modules())
        self.owners = {path: module for path, module in self.modules.items() if _own_names(path, module)}
        self.gradients = gradients
        self.seen: list[_Seen] = []
        self.running: list[int] = []

    @contextmanager
    def attached(self) -> Iterator[None]:
        handles = []
        for path, module in self.owners.items():
            handles.append(module.register_forward_pre_hook(self._enter(path, module), with_kwargs=True))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.running.append(len(self.seen))
            self.seen.append(_Seen(module, path, self._keep([*args, *kwargs.values()]), None))

        return hook

    def _leave(self, module: nn.Module, args: tuple[Any, ...], given: Any) -> None:
        self.seen[self.running.pop()].leaving = self._keep(outputs_of(given))

    def _keep(self, values: Iterable[Any]) -> Tensor | None:
        """A copy: what comes after may work in place."""
        first = next((value for value in values if isinstance(value, Tensor)), None)
        if first is None or not first.is_floating_point() or first.is_nested:
            return None
        return first.clone() if self.gradients else first.detach().clone()

    def finish(self) -> Iterator[Step]:
        called = {seen.path for seen in self.seen}
        times: dict[str, int] = {}
        for seen in self.seen:
            time = times.get(seen.path, 0)
            times[seen.path] = time + 1
            inner = [path for path in self.owners if _is_inside(path, seen.path)]
            silent = [path for path in inner if path not in called]
            if not inner:
                names = _own_names(seen.path, seen.module)
                yield Step(seen.path, names, time, seen.entering, _pure(seen))
            elif silent:
                yield from self._halves(seen, silent, time)

    def _halves(self, seen: _Seen, silent: list[str], time: int) -> Iterator[Step]:
        """A module that reads its children's tensors: the last projection leaves it, the rest enters it."""
        last = [path for path in silent if path.endswith("proj")]
        first = _own_names(seen.path, seen.module)
        for path in silent:
            if path not in last:
                first += _own_names(path, self.owners[path])
        if first:
            yield Step(seen.path, first, time, seen.entering, None)
        for path in last:
            yield Step(path, _own_names(path, self.owners[path]), time, None, seen.leaving)


def _own_names(path: str, module: nn.Module) -> tuple[str, ...]:
    """The tensors that a module itself owns and its state dict holds."""
    held = [name for name, tensor in module._parameters.items() if tensor is not None]
    held += [
        name
        for name, tensor in module._buffers.items()
        if tensor is not None and name not in module._non_persistent_buffers_set
    ]
    return tuple(f"{path}.{name}" if path else name for name in held)


def _is_inside(path: str, outer: str) -> bool:
    return path != outer and (not outer or path.startswith(outer + "."))


def _pure(seen: _Seen) -> Tensor | None:
    """What leaves the operation that the tensors belong to: timm's norms apply an activation behind it."""
    module = seen.module
    if not any(isinstance(getattr(module, name, None), nn.Module) for name in ("act", "drop")):
        return seen.leaving
    if not isinstance(module, nn.modules.batchnorm._BatchNorm) or seen.entering is None:
        return None
    if module.running_mean is None or module.running_var is None:
        return None
    return functional.batch_norm(
        seen.entering, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps
    )
