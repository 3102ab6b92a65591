"""Validation: loss and deciding metric of every output on the validation examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from regraft.core.randomness import torch_randomness
from regraft.engine.forward import Forward
from regraft.engine.processes.group import ALONE
from regraft.engine.processes.sharding import no_gradients
from regraft.engine.processes.shares import outputs_shared
from regraft.engine.workspace import Workspace
from regraft.plans.schema import Measure
from regraft.tasks import Task
from regraft.terms.solvers.temperature import fit_sharpness

_BATCH = 64


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Attributes
    ----------
    loss
        Summed over outputs.
    calibrated
        The same once each output with classes has the temperature that suits these examples best: what the
        model knows, apart from how sure it is of it.
    metrics
        Named for people.
    """

    loss: float
    calibrated: float
    metrics: dict[str, float]

    def by(self, measure: Measure) -> float:
        """The number that decides."""
        return self.loss if measure == "loss" else self.calibrated

    def to_json(self) -> dict[str, float | None]:
        """As plain JSON; what is undefined (one class only) is null."""
        known = {name: value if np.isfinite(value) else None for name, value in self.metrics.items()}
        return {"loss": self.loss, "calibrated loss": self.calibrated, **known}


def predict_logits(forward: Forward, examples: np.ndarray, *, slices: int = 1) -> dict[str, np.ndarray]:
    """Every head's output for some examples, ``float32 (examples, K)``, in ``eval()`` mode.

    Where memory made training compute its batches in ``slices``, so many times fewer are read at once here.
    """
    batch = max(_BATCH // slices, 1)
    forward.model.eval()
    parts: dict[str, list[np.ndarray]] = {}
    with no_gradients(forward.model):
        for start in range(0, len(examples), batch):
            # Some layers draw in eval() too; what they draw has to be the same in a resumed run.
            with torch_randomness(0, "validation", start):
                outputs = forward(examples[start : start + batch])
            for name, values in outputs.items():
                parts.setdefault(name, []).append(values.cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def validate(forward: Forward, work: Workspace, *, slices: int = 1) -> Validation:
    """Run the model on the draw's validation examples; the model is left in ``eval()``."""
    examples = work.draw.validation
    # Processes that put weights together have to take as many batches as the others.
    alone = ALONE if work.settings.sharding != "none" else work.processes
    logits = outputs_shared(alone, examples, lambda chosen: predict_logits(forward, chosen, slices=slices))
    labels = work.target.labels(examples)
    loss, calibrated, metrics = 0.0, 0.0, {}
    for name, task in work.tasks.items():
        present = task.present(labels[name])
        if not present.any():
            continue
        known, values = labels[name][present], logits[name][present]
        plain, best = losses(task, values, known)
        loss, calibrated = loss + plain, calibrated + best
        metric = task.metrics[0]
        title = metric.name if len(work.tasks) == 1 else f"{name} {metric.name}"
        metrics[title] = metric.compute(task.scores(values), known)
    # What is decided by it is decided alike everywhere, on unlike machines too.
    return Validation(*work.processes.share((loss, calibrated, metrics)))


def losses(task: Task, logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The task's mean loss on labelled examples, as it is and at the best temperature; see
    ``terms/solvers/temperature.py``. Numbers have none.
    """
    best = calibrated_losses(task, logits, labels)
    plain = task.loss(torch.from_numpy(logits), torch.from_numpy(labels)).double().mean()
    return float(plain), float(torch.from_numpy(best).mean())


def calibrated_losses(task: Task, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each labelled example's loss at the temperature that suits them all best, ``float64 (N,)``."""
    factor = 1.0
    if task.spec.kind != "regression":
        truth = task.regressand(labels).T
        exclusive = task.spec.kind != "multilabel"
        factor = fit_sharpness(logits.astype(np.float64).T, truth, exclusive=exclusive)[0]
    found = task.loss(torch.from_numpy(logits * factor), torch.from_numpy(labels))
    return np.asarray(found.double())
