"""bss: fine-tuning that shrinks the features' smallest directions away."""

from __future__ import annotations

from regraft.plans import Plan, TermSpec
from regraft.strategies.base import check_blocks, tuned_plan
from regraft.strategies.strategy import Situation, Strategy

ETA = 1e-3


class BSS(Strategy):
    """``lpft`` with the term ``bss`` (``terms/bss.py``): batch spectral shrinkage.

    ``L = supervised + eta sum_{i=1..k} sigma_{-i}(F)^2``, F the features of a batch, with the paper's
    eta = 0.001 and k = 1. ``bss:5`` tunes the last 5 blocks, ``bss:all`` every one.

    Source: Chen, Wang, Fu, Long, Wang (2019). Changed for small data: the head starts solved and the last
    blocks are tuned (as ``lpft`` does). It combines with other terms, as the paper does with L2-SP and DELTA.
    """

    name = "bss"
    takes = "how many of the last blocks are tuned (3), or all"
    when = "few labels and a source that knows much that the target has no use for (negative transfer)"
    cite = (
        "Chen et al.: Catastrophic forgetting meets negative transfer: batch spectral shrinkage for safe "
        "transfer learning. NeurIPS 2019"
    )

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        check_blocks(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft with one term more."""
        term = TermSpec(computes="bss", weight=ETA, streams=("target",), options={"k": 1})
        return tuned_plan(self.name, situation, argument=self.argument, terms=(term,))
