"""wise-ft: fine-tune, then go part of the way back to where fine-tuning began."""

from __future__ import annotations

from regraft.core.errors import PlanError
from regraft.plans import AverageStage, Plan
from regraft.strategies.lpft import LPFT
from regraft.strategies.strategy import Situation, Strategy


class WiseFT(Strategy):
    """The plan of ``lpft``, then the point between its solved head and its end that validates best.

    ``w = (1 - a) w_head + a w_tuned`` for every weight, with ``a`` from a grid of 11 shares chosen by
    validation loss; ``wise-ft:0.5`` takes that share and chooses nothing.

    Source: Wortsman et al. (2022), "Robust fine-tuning of zero-shot models", eq. 1. Changed for small data
    and for sources that name no classes of the target: the start is the probe's head on the source's trunk
    where the paper has a zero-shot head, and the last blocks alone are tuned, as in ``lpft``.
    """

    name = "wise-ft"
    takes = "the tuned weights' share (chosen on validation)"
    when = "as lpft, where new data will differ from the labelled ones: costs some validations more"
    cite = "Wortsman et al.: Robust fine-tuning of zero-shot models. CVPR 2022"

    def check_argument(self) -> None:
        """A share from 0 to 1."""
        if self.argument and self._share() is None:
            raise PlanError(f"wise-ft takes a share from 0 to 1 behind its colon; got {self.argument!r}")

    def plan(self, situation: Situation) -> Plan:
        """The stages of ``lpft`` and an average of both."""
        tuned = LPFT().plan(situation)
        options = {} if self._share() is None else {"share": self._share()}
        between = AverageStage(
            name="between",
            of=("head", "tune"),
            rule="interpolation",
            measure="calibrated loss",
            options=options,
        )
        return tuned.model_copy(update={"strategy": self.name, "stages": (*tuned.stages, between)})

    def _share(self) -> float | None:
        try:
            share = float(self.argument)
        except ValueError:
            return None
        return share if 0 <= share <= 1 else None
