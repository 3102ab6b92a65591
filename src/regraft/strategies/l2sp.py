"""l2sp: fine-tuning that is drawn back to the source's weights."""

from __future__ import annotations

from regraft.plans import Plan, TermSpec
from regraft.strategies.base import check_blocks, tuned_plan
from regraft.strategies.strategy import Situation, Strategy


class L2SP(Strategy):
    """``lpft`` with the term ``l2sp`` (``terms/l2sp.py``): carried weights keep near where they began.

    ``L = supervised + alpha/2 |w_S - w_S^0|^2 + beta/2 |w_S'|^2``, w_S the trained parameters that come from
    the source, w_S' the head's and other new ones. ``l2sp:5`` tunes the last 5 blocks, ``l2sp:all`` all.

    Source: Li, Grandvalet, Davoine (2018). Changed for small data: the head starts solved, the last blocks
    are tuned (as ``lpft`` does); alpha 0.1 and beta 0.01 are the paper's, and the optimiser decays no weight.
    """

    name = "l2sp"
    takes = "how many of the last blocks are tuned (3), or all"
    when = "a target close to the source with few labels: what lpft would overfit"
    cite = (
        "Li, Grandvalet, Davoine: Explicit inductive bias for transfer learning with convolutional networks. "
        "ICML 2018"
    )

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        check_blocks(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft with one term more."""
        term = TermSpec(computes="l2sp", streams=("target",), options={"alpha": 0.1, "beta": 0.01})
        return tuned_plan(self.name, situation, argument=self.argument, terms=(term,), weight_decay=0.0)
