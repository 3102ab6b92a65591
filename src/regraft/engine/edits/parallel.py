"""parallel: a pointwise convolution beside each convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regraft.engine.edits.edit import Change, Edit, replace_module
from regraft.sources.layers import has_centre


class Parallel(Edit):
    """Weights stay; beside each k x k convolution a 1 x 1 convolution of the same input is trained.

        y = W * x + b + A x,   A: Float[out, in], read where the centre of W is

    A begins at 0, so the network begins as it was. At the end of the stage A is added to the centre of W,
    which is exact but for rounding: the result is as large and as fast as the source.

    Source: Rebuffi, Bilen, Vedaldi (2018), "Efficient parametrization of multi-domain deep neural networks",
    section 3.2.
    """

    name = "parallel"
    changes = "2-d convolutions of one group whose kernel has a centre and is larger than 1"
    takes: ClassVar[dict[str, Any]] = {}
    cite = (
        "Rebuffi, Bilen, Vedaldi: Efficient parametrization of multi-domain deep neural networks. CVPR 2018"
    )

    def check(self) -> None:
        """Nothing can be chosen."""

    def can_change(self, layer: nn.Module) -> bool:
        """Ordinary convolutions with a centre, padded by it."""
        return has_centre(layer)

    def apply(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """Put pointwise convolutions beside the layers."""
        changes = []
        for path in paths:
            layer = network.get_submodule(path)
            assert isinstance(layer, nn.Conv2d)
            changes.append(Change(path, layer, WithParallel(layer)))
            replace_module(network, path, changes[-1].now)
        return tuple(changes)

    @torch.no_grad()
    def settle(self, change: Change) -> None:
        """Add it to the kernel's centre."""
        assert isinstance(change.now, WithParallel)
        weight = change.now.weight
        row, column = (size // 2 for size in weight.shape[2:])
        weight[:, :, row, column] += change.now.parallel.weight[:, :, 0, 0]


class WithParallel(nn.Conv2d):
    """A convolution's own tensors, and a pointwise convolution beside it."""

    def __init__(self, layer: nn.Conv2d):
        super().__init__(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            bias=layer.bias is not None,
            device=torch.device("meta"),
        )
        self._parameters.update(layer._parameters)
        self.parallel = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            1,
            layer.stride,  # type: ignore[arg-type]
            bias=False,
            device=layer.weight.device,
            dtype=layer.weight.dtype,
        )
        nn.init.zeros_(self.parallel.weight)
        self.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        """``Float[pieces, in, height, width]`` to ``Float[pieces, out, ..]``."""
        beside: Tensor = self.parallel(input)
        return super().forward(input) + beside
