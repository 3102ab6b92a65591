"""joint: source data and target data at once, through one trunk."""

from __future__ import annotations

import re

from regraft.core.errors import PlanError
from regraft.plans import Learned, Plan, Schedule, SolveStage, StreamSpec, TermSpec, TrainStage
from regraft.strategies.base import until
from regraft.strategies.lpft import LPFT
from regraft.strategies.strategy import Situation, Strategy

Weight = float | Schedule | Learned
LEARNED = ("learned", "alignment", "uncertainty")
EPOCHS, STEPS, PATIENCE = 20, 2000, 5
SHARED = "shared"


class Joint(Strategy):
    """Minimise ``L(W1, W2; D_source) + lambda L(W2; D_target)``.

    W2 is the trunk with the target's head, W1 the source's head: both data sets pass through the same trunk,
    whose blocks are trained as by ``lpft``. Labelled source data are handed over as the stream ``source``
    (``--stream source=DATA``, ``streams={"source": data}``); their outputs get heads of their own, which the
    finished model leaves out. ``joint:shared`` (``joint:0.3,shared``) has one head for both, where the
    classes are the same by name. An epoch is a pass over the source data, and the target's examples come
    around as often as they have to.

    ``joint`` has lambda 1, ``joint:0.3`` another one, and with ``joint:0.3-3`` it goes from 0.3 to 3 over the
    steps. ``joint:learned`` (or ``joint:alignment``) weighs the source by what its gradient tells of the
    target's: nothing where both point apart, less as the target has more examples. ``joint:uncertainty``
    learns both weights from the sizes of the losses. What they are is in the history, line by line.

    Source: Caruana (1997), "Multitask learning"; for the weights Ben-David et al. (2010), Du et al. (2018),
    Kendall, Gal, Cipolla (2018). Changed for small data: heads that start solved (a shared one on the
    target), and only the last blocks are trained.
    """

    name = "joint"
    when = "labelled source data are at hand (--stream source=DATA) and the target has few labels"
    cite = "Caruana: Multitask learning. Machine Learning 28, 1997"
    takes = (
        "lambda, a number (1), or FROM-TO for one that moves, or how it is learned: learned (as alignment), "
        "alignment, uncertainty; "
        "then ,shared for one head where both have the same classes"
    )

    def check_argument(self) -> None:
        """Lambda, or how it is learned."""
        if self._lambda not in ("", *LEARNED) and _given(self._lambda) is None:
            raise PlanError(
                f"joint takes lambda behind its colon, a number from 0 as in joint:0.3, two as in joint:1-3, "
                f"or one of {', '.join(LEARNED)}; got {self.argument!r}"
            )

    @property
    def _shared(self) -> bool:
        return self.argument.split(",")[-1] == SHARED

    @property
    def _lambda(self) -> str:
        """What is said of lambda."""
        return self.argument.removesuffix(SHARED).removesuffix(",") if self._shared else self.argument

    def plan(self, situation: Situation) -> Plan:
        """The plan of lpft, with a term for the source's examples."""
        base = LPFT().plan(situation)
        source, target = self._weights()
        stages = tuple(
            self._with_source(stage, source, target) if isinstance(stage, TrainStage) else stage
            for stage in base.stages
        )
        if not self._shared:
            stages = (SolveStage(name="source-head", solver="ridge", streams=("source",)), *stages)
        own = base.streams["target"]
        stream = StreamSpec(
            reads="source",
            heads="shared" if self._shared else "own",
            batch=own.batch,
            views=own.views,
        )
        streams = {"source": stream, **base.streams}
        return base.model_copy(update={"strategy": self.name, "streams": streams, "stages": stages})

    def _weights(self) -> tuple[Weight, Weight]:
        """Of the source's and of the target's term."""
        if self._lambda in ("learned", "alignment"):
            return Learned(learned="alignment"), 1.0
        if self._lambda == "uncertainty":
            return Learned(learned="uncertainty"), Learned(learned="uncertainty")
        given = _given(self._lambda)
        return 1.0, 1.0 if given is None else given

    def _with_source(self, stage: TrainStage, source: Weight, target: Weight) -> TrainStage:
        terms = (
            TermSpec(computes="supervised", streams=("source",), weight=source),
            TermSpec(computes="supervised", streams=("target",), weight=target),
        )
        stop = until(EPOCHS, PATIENCE).model_copy(update={"steps": STEPS})
        return stage.model_copy(update={"terms": terms, "stop": stop})


def _given(text: str) -> float | Schedule | None:
    """A number, or two with a dash between them (which no exponent's is): from the one to the other."""
    if (number := _number(text)) is not None:
        return number
    parts = re.fullmatch(r"(.+?)(?<![eE])-(.+)", text)
    start, end = (_number(part) for part in parts.groups()) if parts else (None, None)
    if start is None or end is None:
        return None
    return Schedule(schedule="linear", start=start, end=end)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
