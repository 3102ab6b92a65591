"""Too few labels: how many there are for each class, and how well so few can judge a model."""

from __future__ import annotations

import numpy as np

from regraft.core.task_spec import TaskSpec
from regraft.evidence.shape.finding import Finding
from regraft.targets import Draw, Target
from regraft.tasks import make_task

ENOUGH = 20.0
"""Labels for each class, below which a probe is enough: there full fine-tuning loses as often as it wins."""
LEAST = 5.0
"""Labels of the least class, below which that class is learned and judged by chance."""
JUDGING = 50.0
"""Values that validate a regression: the error's own relative standard error, ``1 / sqrt(2 n)``, is 10%."""


def few_labels(target: Target, draw: Draw, strategy: str = "") -> tuple[Finding, ...]:
    """A finding for each output that has too few labels in a draw.

    Parameters
    ----------
    draw
        Its train and validation examples count together: a probe is fitted to both.
    strategy
        What is going to be fitted; ``probe`` is not advised to whom it is used by.
    """
    used = np.concatenate([draw.train, draw.validation])
    labels, held = target.labels(used), target.labels(draw.validation)
    found = (
        _of_output(spec, labels[spec.name], held[spec.name], strategy) for spec in target.tasks if len(used)
    )
    return tuple(one for one in found if one is not None)


def _of_output(spec: TaskSpec, labels: np.ndarray, held: np.ndarray, strategy: str) -> Finding | None:
    task = make_task(spec)
    known, judging = labels[task.present(labels)], int(task.present(held).sum())
    if spec.kind == "regression":
        return _values(spec, len(known), judging)
    counts = (
        (known >= 0.5).sum(0)
        if spec.kind == "multilabel"
        else np.bincount(known, minlength=len(spec.classes))
    )
    mean, least = float(counts.mean()), int(counts.argmin())
    if mean >= ENOUGH and counts[least] >= LEAST:
        return None
    few = mean < ENOUGH
    number, reference = (mean, ENOUGH) if few else (float(counts[least]), LEAST)
    sentence = (
        f"{spec.name}: few labels: {mean:.3g} for each of {len(spec.classes)} classes (reference: "
        f"{ENOUGH:g}), the fewest of {spec.classes[least]!r}: {counts[least]}. {_judged(judging)}"
    )
    return Finding("few labels", number, reference, sentence, _advice(spec, counts, strategy, few))


def _judged(count: int) -> str:
    """The standard error of a share of ``count`` examples is ``sqrt(p (1 - p) / n)``, largest at one half."""
    if not count:
        return "No label validates."
    return (
        f"{count} validate, so that the standard error of an accuracy is up to {50 / count**0.5:.1f} points."
    )


def _advice(spec: TaskSpec, counts: np.ndarray, strategy: str, few: bool) -> str:
    wanted = int(np.maximum((ENOUGH if few else LEAST) - counts, 0).sum())
    more = f"{wanted} more labels, of the classes that have the fewest, would change it."
    trained = strategy.partition(":")[0] not in ("", "probe")
    return (
        f"Until then --strategy probe is safer than {strategy}; {more}"
        if few and trained
        else more[0].upper() + more[1:]
    )


def _values(spec: TaskSpec, count: int, judging: int) -> Finding | None:
    if judging >= JUDGING:
        return None
    error = f"{100 / (2 * judging) ** 0.5:.0f}%" if judging else "unknown"
    return Finding(
        "few labels",
        float(judging),
        JUDGING,
        f"{spec.name}: few labels: {count} values, {judging} of which validate (reference: {JUDGING:g}): the "
        f"relative standard error of the validation error is {error}.",
        "More labels, or a larger share that validates (--set draw.validation=0.3), would change it.",
    )
