"""stochnorm: batch norm that takes the source's statistics as often as the batch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from regraft.core.errors import PlanError
from regraft.engine.edits.edit import Change, Edit, replace_module
from regraft.plans import TrainStage


class StochNorm(Edit):
    """In training each channel of a batch norm uses the batch's statistics, or the running ones.

        z_c = s_c z_batch,c + (1 - s_c) z_running,c,   s_c ~ Bernoulli(p) for each channel c and step

    z_batch and z_running are the input normalised by either, then scaled and shifted. ``p`` 1 is batch norm,
    0 that of frozen statistics; running statistics are collected whatever p is. In ``eval`` mode, and after
    the stage, it is batch norm.

    Source: Kou et al. (2020), "Stochastic normalization", section 3, where p is 0.5.
    """

    name = "stochnorm"
    changes = "batch norms with running statistics"
    takes: ClassVar[dict[str, Any]] = {"p": 0.5}
    cite = "Kou et al.: Stochastic normalization. NeurIPS 2020"

    def check(self) -> None:
        """A probability."""
        self.number("p", "from 0 to 1", lambda p: 0 <= p <= 1)

    def check_stage(self, stage: TrainStage) -> None:
        """Frozen statistics leave it nothing to choose."""
        if stage.norm_statistics == "frozen":
            raise PlanError(
                f"stage {stage.name!r} has the edit 'stochnorm' and norm_statistics: frozen, which keeps "
                "batch norm in eval mode: set norm_statistics to move"
            )

    def can_change(self, layer: nn.Module) -> bool:
        """Torch's own batch norms."""
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        return type(layer) in kinds and isinstance(layer, _BatchNorm) and layer.track_running_stats

    def apply(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """Put stochastic norms in the place of batch norms."""
        changes = []
        for path in paths:
            layer = network.get_submodule(path)
            assert isinstance(layer, _BatchNorm)
            changes.append(Change(path, layer, StochasticNorm(layer, float(self.options["p"]))))
            replace_module(network, path, changes[-1].now)
        return tuple(changes)

    def settle(self, change: Change) -> None:
        """Hand the statistics back, in case that something put new tensors in their places."""
        change.original._buffers.update(change.now._buffers)
        change.original._parameters.update(change.now._parameters)


class StochasticNorm(_BatchNorm):
    """A batch norm's tensors with the other forward pass; ``p`` is the share of the batch's statistics."""

    def __init__(self, norm: _BatchNorm, p: float):
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, affine=False, device=torch.device("meta")
        )
        self.p = p
        self.affine = norm.affine
        self._parameters.update(norm._parameters)
        self._buffers.update(norm._buffers)
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"a norm of channels reads (pieces, channels, ..); got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """``Float[pieces, channels, ..]`` to the same."""
        if not self.training:
            return super().forward(input)
        running = functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )
        batch = super().forward(input)
        shape = (1, self.num_features, *(1 for _ in range(input.dim() - 2)))
        chosen = torch.bernoulli(torch.full(shape, self.p, dtype=input.dtype, device=input.device))
        return chosen * batch + (1 - chosen) * running
