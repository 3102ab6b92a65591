"""bitfit: biases alone are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regraft.plans import Plan
from regraft.strategies.choosing import chosen_parameters
from regraft.strategies.sparse import sparse_plan
from regraft.strategies.strategy import Situation, Strategy

if TYPE_CHECKING:
    from torch import nn


class BitFit(Strategy):
    """Train the bias of every layer and the head; all weights stay as they are.

    A layer ``y = W x + b`` with ``W`` of shape ``(out, in)`` and ``b`` of shape ``(out,)`` moves ``b`` alone:
    less than a thousandth of most networks. In a network whose convolutions have no bias these are the
    shifts of its normalisation layers. Blocks that nothing carries over to are trained whole.

    Source: Ben Zaken, Goldberg, Ravfogel (2022), "BitFit: simple parameter-efficient fine-tuning for
    transformer-based masked language-models". Changed for small data: the head starts at the probe's
    solution, batch-norm statistics of the source, 15 epochs.
    """

    name = "bitfit"
    when = "many runs from one trunk, each of which differs from it by a thousandth of the weights"
    cite = (
        "Ben Zaken, Goldberg, Ravfogel: BitFit: simple parameter-efficient fine-tuning for "
        "transformer-based masked language-models. ACL 2022"
    )

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage for the biases."""
        return sparse_plan(self.name, situation, chosen_parameters(situation, is_bias), what="bias")


def is_bias(module: nn.Module, name: str) -> bool:
    """Whether a parameter is a layer's bias: ``bias``, ``in_proj_bias``, ``bias_ih_l0``.

    A table of position biases is none.
    """
    return name == "bias" or name.endswith("_bias") or name.startswith("bias_")
