"""soup: fine-tune several times from one solved head, and average or choose what helps."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import AverageStage, GroupSpec, Plan, Stage, TrainStage
from regraft.strategies.base import rounded, tuned_plan
from regraft.strategies.strategy import Situation, Strategy

PACES = {"slow": 1 / 3, "middle": 1.0, "fast": 3.0}
"""By what the rates of ``lpft`` are multiplied."""


class Soup(Strategy):
    """The plan of ``lpft`` carried out at three paces from the same head, then a greedy soup of the three.

    ``soup:layers`` chooses for each block instead, from the head down, among the three and their mean
    (``terms/averages/layers.py``).

    Each pace is a train stage; between two of them the weights of ``head`` are put back. The soup is the mean
    of the best one and of those with which the validation loss gets no worse: one network, three times the
    training.

    Source: Wortsman et al. (2022), "Model soups", recipe 1. Changed for small data: three ingredients that
    differ in their rates (1/3, 1 and 3 times) where the paper has dozens that differ in all that is tuned.
    """

    name = "soup"
    takes = "layers, to choose for each block by itself (a greedy soup of the whole)"
    when = "as lpft, where three times its time is no matter and the right rates are not known"
    cite = (
        "Wortsman et al.: Model soups: averaging weights of multiple fine-tuned models improves accuracy "
        "without increasing inference time. ICML 2022"
    )

    def check_argument(self) -> None:
        """``layers`` or nothing."""
        if self.argument not in ("", "layers"):
            raise PlanError(f"soup takes 'layers' or nothing behind its colon; got {self.argument!r}")

    def plan(self, situation: Situation) -> Plan:
        """A head, three train stages with a way back between them, and the soup."""
        base = tuned_plan(self.name, situation)
        head, tune = base.stages
        assert isinstance(tune, TrainStage)
        stages: list[Stage] = [head]
        for name, pace in PACES.items():
            if len(stages) > 1:
                stages.append(AverageStage(name=f"before {name}", of=(head.name,)))
            stages.append(tune.model_copy(update={"name": name, "groups": _paced(tune.groups, pace)}))
        rule = self.argument or "greedy"
        stages.append(AverageStage(name="soup", of=tuple(PACES), rule=rule, measure="calibrated loss"))
        return base.model_copy(update={"stages": tuple(stages)})


def _paced(groups: tuple[GroupSpec, ...], pace: float) -> tuple[GroupSpec, ...]:
    return tuple(
        group.model_copy(update={"rate": rounded(group.rate * pace)})
        for group in groups
        if not isinstance(group.rate, str)
    )
