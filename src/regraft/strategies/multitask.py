"""multitask: several outputs at once, each with a loss of its own."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import CombineSpec, Learned, Plan, TermSpec, TrainStage
from regraft.strategies.lpft import LPFT
from regraft.strategies.strategy import Situation, Strategy

RULES = ("uncertainty", "sum", "pcgrad", "gradnorm")


class MultiTask(Strategy):
    """One supervised term for each output, all on the last blocks of one trunk, trained as by ``lpft``.

    ``multitask`` learns a weight for each output from the size of its loss (Kendall, Gal, Cipolla 2018), so
    that classes and numbers stand side by side; ``multitask:sum`` adds the losses up;
    ``multitask:pcgrad`` projects gradients that conflict (Yu et al. 2020); ``multitask:gradnorm`` keeps the
    gradients' norms in balance (Chen et al. 2018). Examples without a label of some output take no part in
    its term. With one output it is ``lpft``.

    Changed for small data: as ``lpft`` does.
    """

    name = "multitask"
    when = "several outputs at once (--label A --label B), above all where classes and numbers meet"
    cite = (
        "Kendall, Gal, Cipolla: Multi-task learning using uncertainty to weigh losses for scene geometry and "
        "semantics. CVPR 2018"
    )
    takes = "how the outputs' losses become one: uncertainty (the default), sum, pcgrad, gradnorm"

    def check_argument(self) -> None:
        """How the outputs' losses become one step."""
        if self.argument and self.argument not in RULES:
            raise PlanError(
                f"multitask takes one of {', '.join(RULES)} behind its colon; got {self.argument!r}"
            )

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft, with a term for each output."""
        base = LPFT().plan(situation)
        outputs = tuple(task.spec.name for task in situation.link.graft.tasks)
        if len(outputs) < 2:
            return base.model_copy(update={"strategy": self.name})
        stages = tuple(
            self._divided(stage, outputs) if isinstance(stage, TrainStage) else stage for stage in base.stages
        )
        return base.model_copy(update={"strategy": self.name, "stages": stages})

    def _divided(self, stage: TrainStage, outputs: tuple[str, ...]) -> TrainStage:
        rule = self.argument or "uncertainty"
        weight = Learned(learned="uncertainty") if rule == "uncertainty" else 1.0
        terms = tuple(
            TermSpec(computes="supervised", streams=("target",), outputs=(name,), weight=weight)
            for name in outputs
        )
        combine = CombineSpec(rule="sum" if rule == "uncertainty" else rule)
        return stage.model_copy(update={"terms": terms, "combine": combine})
