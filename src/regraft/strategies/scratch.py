"""scratch: the same network, trained from fresh weights: what transfer has to beat."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import GroupSpec, OptimiserSpec, Plan, TrainStage
from regraft.strategies.base import until
from regraft.strategies.strategy import Situation, Strategy, supervised_term, target_stream

RATES = {"": 1e-3, "slow": 3e-4, "fast": 3e-3}


class Scratch(Strategy):
    """Train every layer from its own initialisation; no source weight is used.

    ``scratch:slow`` and ``scratch:fast`` train at 0.3 and 3 times the rate, for tuning the arm fairly.
    """

    name = "scratch"
    takes = "the pace: slow or fast"
    when = "as the comparison that says whether the source helped"

    def check_argument(self) -> None:
        """A pace."""
        if self.argument not in RATES:
            raise PlanError(f"scratch takes slow or fast behind its colon; got {self.argument!r}")

    def plan(self, situation: Situation) -> Plan:
        """One train stage over everything, from fresh weights."""
        return Plan(
            strategy=self.name,
            seed=situation.seed,
            draw=situation.draw,
            models=situation.student(fresh=True),
            streams=target_stream(views=1),
            stages=(
                TrainStage(
                    name="train",
                    terms=supervised_term(),
                    groups=(GroupSpec(match=("*",), rate=RATES[self.argument], weight_decay=0.01),),
                    optimiser=OptimiserSpec(name="adamw", clip=1.0),
                    stop=until(30, patience=8),
                ),
            ),
        )
