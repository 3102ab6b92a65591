"""co-tuning: the source's head learns beside the target's, from the target's labels."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import Plan, TermSpec
from regraft.strategies.base import check_blocks, tuned_plan
from regraft.strategies.strategy import Situation, Strategy

WEIGHT = 2.3


class CoTuning(Strategy):
    """``lpft`` with the term ``co-tuning`` (``terms/co_tuning.py``): both heads are tuned.

    ``L = supervised - lambda/N sum_i sum_s p(s | y_i) log softmax(h(f_i))_s``: p(s | t) is how often the
    source calls an example of class t by its own class s, h its head. ``co-tuning:5`` tunes the last 5
    blocks, ``co-tuning:all`` every one.

    Source: You, Kou, Long, Wang (2020), with its lambda 2.3. Changed for small data: the relationship is the
    mean of the source's answers for each class (the paper's direct approach; its reverse one is ``--set
    terms.1.options.relationship=reverse``), the head starts solved and the last blocks are tuned (as ``lpft``
    does). The paper calibrates the source's answers on the source's data, which are not here, so they are
    taken as they are: ``--set terms.1.options.temperature=auto`` calibrates them on the target's labels
    instead, which gave a worse validation loss on digits in 3 of 3 draws. Outputs of other kinds are trained
    beside, by their own loss.
    """

    name = "co-tuning"
    takes = "how many of the last blocks are tuned (3), or all"
    when = "a source that brings its own head, with classes related to the target's; outputs with classes"
    cite = "You, Kou, Long, Wang: Co-Tuning for transfer learning. NeurIPS 2020"

    def check_argument(self) -> None:
        """A number of blocks, or ``all``."""
        check_blocks(self.name, self.argument)

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft with the source as it was, and one term more."""
        outputs = situation.exclusive
        if not outputs:
            raise PlanError(
                "co-tuning relates classes that exclude each other, and no output has such: try l2sp"
            )
        term = TermSpec(
            computes="co-tuning",
            weight=WEIGHT,
            models=("student", "source"),
            streams=("target",),
            outputs=outputs,
            options={"relationship": "direct", "temperature": 1.0},
        )
        models = {"source": situation.native(self.name)}
        return tuned_plan(self.name, situation, argument=self.argument, terms=(term,), models=models)
