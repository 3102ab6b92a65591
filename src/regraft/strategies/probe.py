"""probe: a linear head on frozen features, in closed form."""

from __future__ import annotations

from regraft.core.console import say
from regraft.core.errors import PlanError
from regraft.plans import Plan, SolveStage
from regraft.strategies.strategy import Situation, Strategy, target_stream

SOLVERS = ("ridge", "logistic", "centroid", "knn")


class Probe(Strategy):
    """Fit a linear head on the frozen trunk's pooled features; nothing else is trained.

    ``probe`` solves ridge regression over a grid of penalties by exact leave-one-out from one decomposition;
    ``probe:logistic`` solves multinomial logistic regression along the same grid by cross-validation;
    ``probe:centroid`` takes the class whose mean is nearest; ``probe:knn`` lets the most similar training
    examples vote, as many as leave-one-out says, and keeps their features in the bundle. Each is fitted once
    more on train and validation together once it has chosen. Ridge and knn are for every kind of task, the
    other two for outputs with classes.

    Sources: Kornblith, Shlens, Le (2019), "Do better ImageNet models transfer better?"; for centroids
    Mensink et al. (2013), for neighbours Cover & Hart (1967) and Wu et al. (2018).
    """

    name = "probe"
    takes = "what solves it: ridge (the default), logistic, centroid or knn"
    when = "few labels, or a target close to the source: seconds, and hard to beat below 20 labels a class"
    cite = "Kornblith, Shlens, Le: Do better ImageNet models transfer better? CVPR 2019"

    def check_argument(self) -> None:
        """The solver's name."""
        if self.argument and self.argument not in SOLVERS:
            raise PlanError(
                f"probe takes one of {', '.join(SOLVERS)} behind its colon; got {self.argument!r}"
            )

    def plan(self, situation: Situation) -> Plan:
        """One solve stage."""
        if fresh := situation.fresh_blocks:
            named = ", ".join(fresh[:4]) + (", .." if len(fresh) > 4 else "")
            say(
                f"Nothing carries over to {len(fresh)} of {len(situation.blocks)} blocks, in part or whole "
                f"({named}), and a probe trains no block: lpft trains these."
            )
        return Plan(
            strategy=self.name,
            seed=situation.seed,
            draw=situation.draw,
            models=situation.student(),
            streams=target_stream(),
            stages=(SolveStage(name="head", solver=self.argument or "ridge", refit=True),),
        )
