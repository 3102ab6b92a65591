"""What a solve stage fits heads to: features and labels of the streams that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.core.errors import PlanError
from regraft.engine.streams import open_stream
from regraft.engine.workspace import Workspace
from regraft.plans import SolveStage
from regraft.tasks import Task


@dataclass(frozen=True)
class Rows:
    """Examples to fit to.

    Attributes
    ----------
    features
        ``float32 (examples, width)``.
    labels
        By output.
    tasks
        The outputs that are labelled here.
    inside
        Which of them the choice along a grid is made on; ``bool (examples,)``.
    """

    features: np.ndarray
    labels: Mapping[str, np.ndarray]
    tasks: Mapping[str, Task]
    inside: np.ndarray


def open_rows(stage: SolveStage, work: Workspace) -> list[Rows]:
    """The rows of every stream that the stage names.

    Of the run's own target these are the training examples, and with ``refit`` the validation examples
    besides; of other data all that are in neither its test nor its validation part.
    """
    return [_open(name, stage, work) for name in stage.streams]


def of_output(rows: Sequence[Rows], output: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and which rows are chosen on, over all streams that know an output."""
    known = [one for one in rows if output in one.tasks]
    return (
        np.concatenate([one.features for one in known]),
        np.concatenate([one.labels[output] for one in known]),
        np.concatenate([one.inside for one in known]),
    )


def _open(name: str, stage: SolveStage, work: Workspace) -> Rows:
    stream = open_stream(name, work.plan.streams[name], work)
    if not stream.labelled:
        raise PlanError(
            f"stage {stage.name!r} solves heads on the stream {name!r}, which has no labels: name one with "
            f"labels, --set stages.{stage.name}.streams=target"
        )
    if stream.other is None:
        used = stream.examples
        if stage.refit:
            used = np.union1d(used, work.draw.validation)
        features = work.features(stage.model, used).numpy()
        return Rows(features, work.target.labels(used), work.tasks, np.isin(used, stream.examples))
    if stage.model in work.own_inputs:
        raise PlanError(
            f"stage {stage.name!r} solves heads of {stage.model!r} on the stream {name!r}, whose examples "
            f"are prepared as the student reads them; {stage.model!r} reads others: solve it on the target"
        )
    other, used = stream.other, stream.examples
    features = work.features(stage.model, used, inputs=other.inputs).numpy()
    tasks = other.tasks or work.tasks
    return Rows(features, other.labels_of(used), tasks, np.ones(len(used), dtype=bool))
