"""How much a compiler can spare: counted on one piece, never timed, so that equal runs agree.

What eager PyTorch loses beside a compiled network is not in the multiplications but between them: each
convolution writes its result, and batch norms, activations and additions read and write it again, which a
compiler does on the way. That loss grows with the numbers that convolutions write, not with their multiply-
adds. Matrix products are as good as lossless on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from regraft.core.inputs import Batch
from regraft.inference.backends.backend import Shapes, shapes_of
from regraft.sources import Trunk

MOST_PER_INPUT = 300
"""Numbers that convolutions write for each number they are given, at most: 45 in EfficientNet-Lite0, 150 in
ResNet-152, 270 in EfficientNet-B7. Bounds the work without running anything."""
_MATRICES = ("addmm", "mm", "bmm", "baddbmm", "linear")


@dataclass(frozen=True)
class Work:
    """Numbers that are written for one piece.

    Attributes
    ----------
    convolutions, matrices
        By convolutions, and by matrix products.
    """

    convolutions: float = 0.0
    matrices: float = 0.0


def most_work(batch: Batch) -> float:
    """More than :attr:`Work.convolutions` of any usual network for a piece of this batch."""
    numbers = sum(tensor.numel() for tensor in batch.values()) / max(len(next(iter(batch.values()))), 1)
    return numbers * MOST_PER_INPUT


_counted: WeakKeyDictionary[nn.Module, dict[tuple[int, Shapes], Work]] = WeakKeyDictionary()


def work_of(trunk: Trunk, cut: int, batch: Batch) -> Work:
    """What the first ``cut`` blocks write for a piece, counted while they run on ``batch`` once."""
    known = _counted.setdefault(trunk.network, {})
    key = (cut, shapes_of(batch))
    if key not in known:
        known[key] = _count(trunk, cut, batch)
    return known[key]


def _count(trunk: Trunk, cut: int, batch: Batch) -> Work:
    device = next((parameter.device for parameter in trunk.parameters()), torch.device("cpu"))
    pieces = max(len(next(iter(batch.values()))), 1)
    with _Counter() as counter, torch.no_grad():
        trunk.prefix({name: tensor.to(device) for name, tensor in batch.items()}, cut=cut)
    return Work(counter.convolutions / pieces, counter.matrices / pieces)


class _Counter(TorchDispatchMode):
    """Watches operators as they run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.convolutions = self.matrices = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if "convolution" in name:
            self.convolutions += out.numel()
        elif name in _MATRICES:
            self.matrices += out.numel()
        return out
