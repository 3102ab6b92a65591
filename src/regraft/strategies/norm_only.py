"""norm-only: scales and shifts of normalisation layers alone are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regraft.plans import Plan
from regraft.strategies.choosing import chosen_parameters
from regraft.strategies.sparse import sparse_plan
from regraft.strategies.strategy import Situation, Strategy

if TYPE_CHECKING:
    from torch import nn


class NormOnly(Strategy):
    """Train what normalisation layers scale and shift by, and the head.

    ``y = gamma (x - mean) / sqrt(variance + eps) + beta`` moves ``gamma`` and ``beta``, both ``(channels,)``:
    batch norm, layer norm, group norm and whatever else calls itself a norm. Blocks that nothing carries over
    to are trained whole.

    Source: Frankle, Schwab, Morcos (2021), "Training BatchNorm and only BatchNorm: on the expressive power of
    random features in CNNs"; for pretrained networks Mudrakarta et al. (2019), "K for the price of 1".
    Changed for small data: the head starts at the probe's solution, batch-norm statistics of the source
    (theirs move: ``--set norm_statistics=move``), 15 epochs.
    """

    name = "norm-only"
    when = "a target whose inputs look unlike the source's (brightness, scanner, sensor) but mean the same"
    cite = (
        "Frankle, Schwab, Morcos: Training BatchNorm and only BatchNorm: on the expressive power of random "
        "features in CNNs. ICLR 2021"
    )

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage for the normalisation layers."""
        return sparse_plan(self.name, situation, chosen_parameters(situation, is_of_norm), what="scale")


def is_of_norm(module: nn.Module, name: str) -> bool:
    """Whether a parameter belongs to a layer that calls itself a norm, as ``LayerNorm2d`` and ``RMSNorm``.

    A norm that owns a matrix is something else, such as weight norm around a convolution.
    """
    return "norm" in type(module).__name__.lower() and module.get_parameter(name).ndim <= 1
