"""swa: fine-tune, then wander at a steady rate and keep the mean of where one was."""

from __future__ import annotations

from regraft.plans import GroupSpec, ModelSpec, Plan, RateSchedule, TrainStage
from regraft.strategies.base import rounded, tuned_plan, until
from regraft.strategies.strategy import Situation, Strategy

MEAN = "mean"
STEADY = 0.5
"""Of the rates of ``lpft``."""


class SWA(Strategy):
    """The plan of ``lpft``, then some epochs at a constant rate, whose weights are averaged.

    ``a_n = a_{n-1} + (w_n - a_{n-1}) / n`` after the n-th step: the plain mean of the weights of all steps,
    in a model of its own, ``mean``, which is validated and whose best weights are kept. Those that the stage
    began with, the end of ``lpft``, take part.

    Source: Izmailov et al. (2018), "Averaging weights leads to wider optima and better generalization".
    Changed for small data: the mean is over steps, not epochs, which may be few steps long; the rate is half
    of what ``lpft`` trains with. Statistics of batch norm are the source's, as in ``lpft``, so they need no
    pass of their own; where a plan lets them move, an average stage of that one stage with
    ``norm_statistics: recompute`` takes it.
    """

    name = "swa"
    when = "as lpft, where validation goes up and down from epoch to epoch: half as many epochs more"
    cite = "Izmailov et al.: Averaging weights leads to wider optima and better generalization. UAI 2018"

    def plan(self, situation: Situation) -> Plan:
        """The stages of ``lpft`` and one that is averaged."""
        mean = ModelSpec(average_of="student", average="equal")
        base = tuned_plan(self.name, situation, models={MEAN: mean})
        *_, tune = base.stages
        assert isinstance(tune, TrainStage)
        wander = tune.model_copy(
            update={
                "name": "wander",
                "groups": tuple(_steady(group) for group in tune.groups),
                "schedule": RateSchedule(name="constant", warmup=0.0),
                "stop": until(10).model_copy(update={"judge": MEAN}),
            }
        )
        return base.model_copy(update={"stages": (*base.stages, wander)})


def _steady(group: GroupSpec) -> GroupSpec:
    assert not isinstance(group.rate, str)
    return group.model_copy(update={"rate": rounded(group.rate * STEADY)})
