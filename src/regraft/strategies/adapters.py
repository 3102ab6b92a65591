"""adapters: bottlenecks behind the layers of every block, which stay in the network."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import EditSpec, Plan
from regraft.strategies.editing import branch_ends, edited_plan, norms_of, patterns_of
from regraft.strategies.strategy import Situation, Strategy

WIDTH = 16
RATE = 1e-3


class Adapters(Strategy):
    """Start the head at the probe's solution, then train it with a bottleneck in every branch, and norms.

    ``y = h + up(gelu(down(h)))`` behind the last layer of each attention and each feed-forward pair, in a
    convolutional network behind the last convolution of each block. ``adapters`` has 16 features between,
    ``adapters:64`` 64. Bottlenecks cannot be merged: the bundle names them, and the network grows by about
    ``2 width features`` numbers for each.

    Source: Houlsby et al. (2019), "Parameter-efficient transfer learning for NLP": places, and layer norms
    that are trained with them. Changed for small data: a solved head, ``up`` begins at 0, batch-norm
    statistics of the source, 15 epochs. Convolutions are not in the paper.
    """

    name = "adapters"
    when = "few labels where lora falls short: a nonlinear change of every block; the network grows a little"
    cite = "Houlsby et al.: Parameter-efficient transfer learning for NLP. ICML 2019"

    takes = "the features of each bottleneck (16)"

    def check_argument(self) -> None:
        """A width."""
        if self.argument and not (self.argument.isdigit() and int(self.argument) > 0):
            raise PlanError(f"adapters takes a width from 1 on behind its colon; got {self.argument!r}")

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage with an edit."""
        edit = EditSpec(
            edit="adapter",
            match=patterns_of(situation, branch_ends(situation, self.name)),
            options={"width": int(self.argument or WIDTH)},
        )
        return edited_plan(situation, self.name, edit, RATE, beside=norms_of(situation))
