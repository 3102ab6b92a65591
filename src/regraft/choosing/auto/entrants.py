"""Entrants: the strategies that race, each with its plan and its price, in the order in which they begin.

The order is what is known before anything is run. A probe is the anchor: it takes one pass, is hard to beat
with fewer than some 20 labels per class or close to the source, and with it the time of everything else is
foretold. With more labels tuning the last blocks comes next, with few what holds the source's weights
(Kornblith et al. 2019, tables 2 and 4; Kumar et al. 2022). ``full`` comes last: it is by far the dearest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from regraft.choosing.auto.lengths import shortened
from regraft.core.console import duration
from regraft.core.errors import MissingPackageError, PlanError
from regraft.engine.price import Price, labels_used
from regraft.plans import Plan
from regraft.targets import Target

ANCHOR = "probe"
FEW = 20
"""Labels per class from which on tuning is tried before what holds the source's weights."""
_MANY_ORDER = ("lpft", "partial", "l2sp", "lora", "full")
_FEW_ORDER = ("l2sp", "lpft", "lora", "partial", "full")
JOINT = "joint"


@dataclass(frozen=True)
class Entrant:
    """One strategy in the race.

    Attributes
    ----------
    name
        As typed behind ``--strategy``.
    plan
        What is carried out in the end, on all labels.
    price
        What that plan costs, upper estimates for eager layers.
    settings
        What was changed of the strategy's plan, where this is a variant of it.
    """

    name: str
    plan: Plan
    price: Price
    settings: tuple[str, ...] = ()

    @property
    def training(self) -> float:
        """Priced seconds of its train stages."""
        return sum(self.price.stages.values())

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The last blocks of the prefixes that its stages freeze."""
        return tuple(
            stage.frozen_prefix
            for stage in self.plan.stages
            if stage.kind == "train" and stage.frozen_prefix is not None
        )

    def shorter(self, share: float, train: int) -> Entrant:
        """The same with this share of its steps."""
        stages = {name: seconds * share for name, seconds in self.price.stages.items()}
        return replace(
            self, plan=shortened(self.plan, share, train=train), price=replace(self.price, stages=stages)
        )


@dataclass(frozen=True)
class Left:
    """What did not enter, or did not go on, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def labels_per_class(target: Target, plan: Plan) -> float:
    """Labels that the plan uses for each class of the output with most of them; all where there are only
    values.
    """
    classes = max((len(spec.classes) for spec in target.tasks), default=0)
    return labels_used(plan, target) / max(classes, 1)


def names_in_order(per_class: float, *, joint: bool) -> tuple[str, ...]:
    """The strategies, the anchor first; ``joint`` where labelled source data were handed over."""
    rest = _FEW_ORDER if per_class < FEW else _MANY_ORDER
    return (ANCHOR, *((JOINT,) if joint else ()), *rest)


def enter(
    names: Sequence[str],
    write: Callable[[str], Plan],
    price_of: Callable[[Plan], Price],
    *,
    hopeless: Callable[[Plan], str],
    beside: Sequence[Entrant] = (),
) -> tuple[list[Entrant], list[Left]]:
    """Those that apply, in order, and those that do not.

    Parameters
    ----------
    write
        From a strategy's name to its plan; it raises ``PlanError`` or ``MissingPackageError`` where it does
        not apply.
    price_of
        From a plan to its price.
    hopeless
        Why a plan cannot even be tried in the time that there is, so that it is not priced; empty where it
        may.
    beside
        Those that have entered already.
    """
    entrants, left = list[Entrant](), list[Left]()
    for name in names:
        try:
            plan = write(name)
        except (PlanError, MissingPackageError) as error:
            left.append(Left(name, str(error)))
            continue
        twin = next((one.name for one in [*beside, *entrants] if _same(one.plan, plan)), None)
        why = f"writes the same plan as {twin} here" if twin else hopeless(plan)
        if why:
            left.append(Left(name, why))
        else:
            entrants.append(Entrant(name, plan, price_of(plan)))
    return entrants, left


def _same(one: Plan, other: Plan) -> bool:
    return one.model_copy(update={"strategy": other.strategy}) == other


def too_long(seconds: float) -> str:
    """Why an entrant is not begun."""
    return f"about {duration(seconds)} with the final fit, more than is left"
