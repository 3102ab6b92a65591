"""stochnorm: full fine-tuning in which batch norms use the source's statistics half of the time."""

from __future__ import annotations

from torch.nn.modules.batchnorm import _BatchNorm

from regraft.core.errors import PlanError
from regraft.plans import EditSpec, Plan, TrainStage
from regraft.strategies.editing import network_of
from regraft.strategies.full import Full
from regraft.strategies.strategy import Situation


class StochNorm(Full):
    """As ``full``; each channel of each batch norm uses the batch's statistics or the running ones, at
    random.

    Running statistics begin as the source's, so half of the network goes on seeing them while it is trained.

    Source: Kou et al. (2020), "Stochastic normalization", with its probability of one half. Rates and early
    stopping are those of ``full``.
    """

    name = "stochnorm"
    when = "full fine-tuning of a network with batch norm on a few hundred labels"
    cite = "Kou et al.: Stochastic normalization. NeurIPS 2020"

    def plan(self, situation: Situation) -> Plan:
        """That of ``full``, with an edit."""
        if not any(isinstance(layer, _BatchNorm) for layer in network_of(situation).modules()):
            raise PlanError(
                f"stochnorm changes batch norms, and the network of {situation.link.source.name} has none: "
                "use full"
            )
        plan = super().plan(situation)
        (stage,) = plan.stages
        assert isinstance(stage, TrainStage)
        edited = stage.model_copy(update={"edits": (EditSpec(edit=self.name),)})
        return plan.model_copy(update={"strategy": self.name, "stages": (edited,)})
