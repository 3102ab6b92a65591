"""What evidence and races write down beside the figures: calibration, slices, a choice, near-duplicates."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np

from regraft.choosing.auto.choice import Choice, Row
from regraft.core.task_spec import TaskSpec
from regraft.evidence.calibration import Temperature, calibration
from regraft.evidence.selection import Selection
from regraft.evidence.slices import slices
from regraft.tasks import make_task

Json = dict[str, Any]


def calibration_json(*, applied: bool | None = True) -> Json:
    """That of an overconfident classifier; ``applied`` None: no temperature was fitted."""
    return copy.deepcopy(_calibration(applied))


@functools.cache
def _calibration(applied: bool | None, count: int = 300) -> Json:
    rng = np.random.default_rng(4)
    task = make_task(TaskSpec("label", "binary", ("sound", "defective")))
    truth = rng.uniform(0.02, 0.98, count)
    labels = (rng.random(count) < truth).astype(np.int64)
    logits = 1.8 * np.log(truth / (1 - truth))
    share = 1 / (1 + np.exp(-logits))
    temperature = None if applied is None else Temperature(1.8, applied, 60)
    found = calibration(task, np.stack([1 - share, share], axis=1), labels, temperature)
    assert found is not None
    return found


def slices_json() -> list[Json]:
    """Two columns; one of their values does worse than the rest."""
    return [dict(one) for one in _slices()]


@functools.cache
def _slices() -> tuple[Json, ...]:
    rng = np.random.default_rng(5)
    task = make_task(TaskSpec("label", "binary", ("sound", "defective")))
    labels = rng.integers(0, 2, 400)
    camera = rng.choice(["old", "new", "a camera whose name is very long and goes on"], 400)
    right = rng.random(400) < np.where(camera == "old", 0.6, 0.92)
    scores = np.eye(2)[np.where(right, labels, 1 - labels)]
    columns = {"camera": [str(one) for one in camera], "year": [str(1990 + at % 30) for at in range(400)]}
    return tuple(one.to_json() for one in slices(task.metrics[0], scores, labels, columns))


def choice_json(**changes: Any) -> Json:
    """A race that five strategies began and one was not tried in."""
    rows = [
        Row("lpft", 0.91, 0.88, 0.94, 0.62, 3, 40.0, 1.0, "chosen", "", (0.9, 0.93, 0.9)),
        Row("lora", 0.905, 0.87, 0.94, 0.3, 3, 80.0, 0.36, "as good", "cannot be told", (0.9, 0.92, 0.895)),
        Row("l2sp", 0.88, 0.85, 0.92, 0.08, 2, 50.0, 1.0, "behind", "too far", (0.87, 0.89, None)),
        Row(
            "probe", 0.8, 0.76, 0.84, None, 1, 2.0, 1.0, "dropped", "1.2% of the resamples", (0.8, None, None)
        ),
        Row("full", None, None, None, None, 0, 0.0, 1.0, "skipped", "about 90 s, more than is left"),
    ]
    choice = Choice(
        winner="lpft",
        sentence="lpft: the best over 3 folds, and in 62% of the resamples.",
        measure={"name": "accuracy", "percent": True, "higher_is_better": True},
        rows=tuple(rows),
        seeds=(11, 12, 13),
        labels=300,
        budget_seconds=300.0,
        predicted_seconds=250.0,
        race_seconds=200.0,
        final_seconds=40.0,
        skipped=("full: about 90 s, more than is left", "lora: all but 36% of its steps"),
        spent_seconds=245.0,
        settings=("stop.epochs=5",),
    )
    return choice.to_json() | changes


def selection_json() -> Json:
    """What choosing had seen and cost."""
    return Selection((11, 12, 13), 5, 200.0, "a race between strategies").to_json()


FINDING = {
    "kind": "few labels",
    "number": 10.0,
    "reference": 20.0,
    "sentence": "label: few labels: 10 for each of 2 classes (reference: 20).",
    "advice": "10 more labels would change it.",
}
NEAR = """item,part,twin,part_of_twin,likeness,same_label
a.jpg,pool,b.jpg,pool,0.9990,yes
c.jpg,pool,d.jpg,test,0.9800,
folder/with/a/very/long/name/of/a/folder/and/a/file/e.jpg,pool,f.jpg,pool,0.9700,no
"""


def without_json() -> Json:
    """Figures without test examples that have a twin."""
    metric = {"value": 0.82, "low": 0.79, "high": 0.85, "higher_is_better": True, "percent": True}
    return {"left_out": 12, "count": 512, "metrics": {"accuracy": metric}}
