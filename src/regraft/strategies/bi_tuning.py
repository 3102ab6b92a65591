"""bi-tuning: fine-tuning that also brings examples of one class together."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import ModelSpec, Plan, TermSpec
from regraft.strategies.base import check_blocks, tuned_plan
from regraft.strategies.strategy import Situation, Strategy

KEY = "key"
MOMENTUM = 0.999


class BiTuning(Strategy):
    """``lpft`` with the term ``bi-tuning`` (``terms/bi_tuning.py``): two contrasts beside the cross-entropy.

    ``L = supervised + CCE + CCL``: each class looks for its examples among those of a queue, and each example
    for those of its class, the latter behind a projector. Keys come from a moving average of the student.
    ``bi-tuning:5`` tunes the last 5 blocks, ``bi-tuning:all`` every one.

    Source: Zhong, You, Wang, Long (2020), all parts of weight 1, temperature 0.07, momentum 0.999, 128
    dimensions, as there. Changed for small data: the head starts solved and the last blocks are tuned (as
    ``lpft`` does); the queue has room for 8 examples a class and for no more than there are; the momentum
    grows from 0.1 with the steps, which are few. Outputs of other kinds are trained beside, by their own
    loss.
    """

    name = "bi-tuning"
    takes = "how many of the last blocks are tuned (3), or all"
    when = "outputs with classes and some tens of labels each: costs half a step more than lpft"
    cite = "Zhong, You, Wang, Long: Bi-tuning of pre-trained representations. arXiv:2011.06182, 2020"

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        check_blocks(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft with a moving average of the student, and one term more."""
        outputs = situation.exclusive
        if not outputs:
            raise PlanError(
                "bi-tuning contrasts classes that exclude each other, and no output has such: try l2sp"
            )
        term = TermSpec(
            computes="bi-tuning",
            models=("student", KEY),
            streams=("target",),
            outputs=outputs,
            options={"temperature": 0.07, "keys": 8, "dimensions": 128},
        )
        models = {KEY: ModelSpec(average_of="student", decay=MOMENTUM)}
        return tuned_plan(self.name, situation, argument=self.argument, terms=(term,), models=models)
