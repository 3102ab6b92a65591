"""The line that a train stage adds to the history at the end of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regraft.engine.optimiser import rates_by_group
from regraft.engine.validation import Validation

if TYPE_CHECKING:
    from regraft.engine.train_stage import TrainStageRun


def epoch_line(run: TrainStageRun, steps: int, found: Validation) -> dict[str, Any]:
    """Means over the epoch's steps, and what :data:`regraft.engine.history.MEASURED` names."""
    names, standing = run.objective.term_names, run.standing
    sums = run.work.processes.agree([standing.epoch_terms.get(name, 0.0) for name in names])
    return {
        "stage": run.stage.name,
        "kind": "train",
        "step": standing.step,
        "epoch": -(-standing.step // run.steps_per_epoch),
        "loss": standing.epoch_loss / steps,
        "terms": {name: value / steps for name, value in zip(names, sums, strict=True)},
        "rate": run.optimiser.param_groups[0]["lr"],
        "rates": rates_by_group(run.optimiser, run.stage.groups),
        "weights": run.combining.weights(run.done_share()),
        **run.meter.read(),
        "seconds": round(standing.seconds, 3),
        "validation": found.to_json(),
        **({"skipped": run.precision.skipped} if run.precision.skipped else {}),
    }
