"""Usage: which blocks run a module that has no tensors, seen by running the network once in each mode.

What has tensors belongs to one block; a dropout may stand in several, and has one mode for all of them. A
graph made in ``eval`` mode does not show it where it then gives what it is given.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch._export.utils import _compiling_state_context
from torch._subclasses.fake_tensor import FakeTensor

from regraft.core.inputs import Batch
from regraft.sources.cutting.exporting import Whole, with_fakes
from regraft.sources.cutting.outline import Part
from regraft.sources.cutting.piece import path_of

Users = Mapping[str, frozenset[int]]
"""Path of a module without tensors to the numbers of the blocks that run it."""


def users_by_graph(network: nn.Module, whole: Whole, parts: Sequence[Part], example: Batch) -> Users:
    """Of a network that exports: no value is computed, and nothing is left behind in it."""
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False):
        copied, mode = with_fakes(network, every_parameter=True)
        for module in copied.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None and not isinstance(buffer, FakeTensor):
                    module._buffers[name] = mode.from_tensor(buffer, static_shapes=True)
        device = next((p.device for p in copied.parameters()), torch.device("cpu"))
        batch = {name: mode.from_tensor(one.to(device), static_shapes=True) for name, one in example.items()}
        # As in an export: a network's code then keeps no fake tensor in caches that all networks share.
        with mode, _compiling_state_context():
            return users_of(copied, whole, parts, batch)


def users_of(network: nn.Module, whole: Whole, parts: Sequence[Part], example: Batch) -> Users:
    """Of a network that may be run, and is thrown away; empty where it does not run as its blocks say."""
    found: dict[str, frozenset[int]] = {}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for training in (False, True):
            walk = _Walk(network.train(training), parts)
            try:
                with walk.watching():
                    whole(network, None, example)
            except Exception:  # noqa: BLE001 - this runs the user's own code, which may raise anything
                walk.missing.add(None)
            if walk.missing and not training:
                return {}
            for path, users in ({} if walk.missing else walk.users).items():
                found[path] = found.get(path, frozenset()).union(users)
    return {path: users for path, users in found.items() if not _has_tensors(network.get_submodule(path))}


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in itertools.chain(module.parameters(), module.buffers()))


class _Walk:
    """One run: in which block it is now, and who was called in which."""

    def __init__(self, network: nn.Module, parts: Sequence[Part]):
        self.network = network
        self.users: dict[str, set[int]] = {}
        self._modules = dict(network.named_modules())
        self._events: dict[tuple[str, bool], int] = {}
        for number, part in enumerate(parts):
            if part.start is not None:
                self._events[self._called(part.start.frame), part.start.left] = number
        self.missing: set[tuple[str, bool] | None] = set(self._events)
        self._block = 0
        self._counts: Counter[str] = Counter()
        self._open: list[tuple[str, str]] = []

    def _called(self, frame: str) -> str:
        """The call in which a block begins: the layers of a recurrent module are one call."""
        return frame if path_of(frame) in self._modules else frame.partition(".layer.")[0]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, calls are noted."""
        with ExitStack() as stack:
            for path, module in self._modules.items():
                stack.callback(module.register_forward_pre_hook(self._enter(path)).remove)
                stack.callback(module.register_forward_hook(self._leave).remove)
            yield

    def _enter(self, path: str) -> Callable[..., None]:
        def enter(module: nn.Module, given: Any) -> None:
            count = self._counts[path]
            self._counts[path] += 1
            frame = f"{path}@{count}" if count else path
            self._open.append((path, frame))
            self._pass(frame, False)

        return enter

    def _leave(self, module: nn.Module, given: Any, gave: Any) -> None:
        _, frame = self._open.pop()
        self._pass(frame, True)

    def _pass(self, frame: str, left: bool) -> None:
        self._block = self._events.get((frame, left), self._block)
        self.missing.discard((frame, left))
        for path, _ in self._open:
            self.users.setdefault(path, set()).add(self._block)
