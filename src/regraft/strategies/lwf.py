"""lwf: fine-tuning that does not forget what the source can do."""

from __future__ import annotations

from regraft.plans import Plan, TermSpec
from regraft.strategies.base import check_blocks, tuned_plan
from regraft.strategies.strategy import Situation, Strategy


class LwF(Strategy):
    """``lpft`` with the term ``lwf`` (``terms/lwf.py``): the source's own answers stay what they were.

    ``L = supervised + lambda sum_o H(softmax(o / T), softmax(h(f) / T))``: o are the logits that the source
    gives for the target's examples, h a copy of its head that is trained on the student's features f.
    ``lwf:5`` tunes the last 5 blocks, ``lwf:all`` every one.

    Source: Li, Hoiem (2016), with lambda 1 and T 2 as there. Changed for small data: the head starts solved
    (the paper trains it alone first), and the last blocks are tuned (as ``lpft`` does).
    """

    name = "lwf"
    takes = "how many of the last blocks are tuned (3), or all"
    when = "a source that brings its own head, with classes related to the target's"
    cite = "Li, Hoiem: Learning without forgetting. ECCV 2016"

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        check_blocks(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft with the source as it was, and one term more."""
        models = {"source": situation.native(self.name)}
        term = TermSpec(
            computes="lwf", models=("student", "source"), streams=("target",), options={"temperature": 2.0}
        )
        return tuned_plan(self.name, situation, argument=self.argument, terms=(term,), models=models)
