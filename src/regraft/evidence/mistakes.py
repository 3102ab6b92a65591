"""What went wrong on the test part: confusion, figures per class, residuals, the worst examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from regraft.core.bootstrap import share_interval
from regraft.core.task_spec import TaskSpec
from regraft.targets import Target, thumbnail

LARGEST_CONFUSION = 200  # classes; beyond, the matrix is left out
_RESIDUALS = 2000
_WORST = 24
_CONFUSED = 20
_THRESHOLD = 0.5


def confusion(spec: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> list[list[int]] | None:
    """Counts, rows are the truth; None for tasks without exclusive classes and for very many."""
    kinds = len(spec.classes)
    if spec.kind not in ("binary", "multiclass") or kinds > LARGEST_CONFUSION:
        return None
    cells = np.bincount(labels * kinds + scores.argmax(1), minlength=kinds * kinds)
    matrix: list[list[int]] = cells.reshape(kinds, kinds).tolist()
    return matrix


def per_class(spec: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Any]] | None:
    """Precision, recall, F1 and count of every class; a share is None where nothing defines it.

    ``intervals`` holds a 95% interval of each, ``[low, high]``: Wilson's of precision and recall, which are
    shares of the examples called so and of those that are so, and that of :func:`f1_interval`.
    """
    if not spec.classes:
        return None
    truth, said = _indicators(spec, scores, labels)
    both, held, claimed = (truth & said).sum(0), truth.sum(0), said.sum(0)
    return {
        name: {
            "precision": _share(both[k], claimed[k]),
            "recall": _share(both[k], held[k]),
            "f1": _share(2 * both[k], held[k] + claimed[k]),
            "count": int(held[k]),
            "intervals": {
                "precision": _ends(both[k], claimed[k]),
                "recall": _ends(both[k], held[k]),
                "f1": f1_interval(int(both[k]), int(held[k] + claimed[k] - both[k])),
            },
        }
        for k, name in enumerate(spec.classes)
    }


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def _ends(part: Any, whole: Any) -> list[float] | None:
    if not whole:
        return None
    interval = share_interval(float(part / whole), int(whole))
    return [interval.low, interval.high]


def f1_interval(both: int, either: int) -> list[float] | None:
    """95% interval of F1 from the examples that are of a class or called so, ``either``, and ``both``.

    F1 = 2 J / (1 + J) grows with J = both / either, a share of examples (Jaccard's): the ends are those of
    J's Wilson interval.
    """
    ends = _ends(both, either)
    return None if ends is None else [2 * end / (1 + end) for end in ends]


def confused(spec: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]] | None:
    """The pairs of classes that are mistaken most often, with which share of the true class and its interval.

    Largest count first, 20 at most; None for tasks without exclusive classes.
    """
    if spec.kind not in ("binary", "multiclass"):
        return None
    kinds, said = len(spec.classes), scores.argmax(1)
    wrong = said != labels
    pairs, counts = np.unique(labels[wrong] * kinds + said[wrong], return_counts=True)
    sizes = np.bincount(labels, minlength=kinds)
    order = np.argsort(-counts, kind="stable")[:_CONFUSED]
    return [_pair(spec, *divmod(int(pairs[at]), kinds), int(counts[at]), sizes) for at in order]


def _pair(spec: TaskSpec, truth: int, said: int, count: int, sizes: np.ndarray) -> dict[str, Any]:
    interval = share_interval(count / int(sizes[truth]), int(sizes[truth]))
    return {
        "label": spec.classes[truth],
        "predicted": spec.classes[said],
        "count": count,
        "of": int(sizes[truth]),
        "share": count / int(sizes[truth]),
        "low": interval.low,
        "high": interval.high,
    }


def _indicators(spec: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if spec.kind == "multilabel":
        return labels >= _THRESHOLD, scores >= _THRESHOLD
    eye = np.eye(len(spec.classes), dtype=bool)
    return eye[labels], eye[scores.argmax(1)]


def residuals(spec: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> dict[str, list[float]] | None:
    """True and predicted values of a regression, evenly thinned where there are very many."""
    if spec.kind != "regression":
        return None
    step = max(1, -(-len(labels) // _RESIDUALS))
    return {"labels": [float(x) for x in labels[::step]], "values": [float(x) for x in scores[::step]]}


def worst(
    target: Target, spec: TaskSpec, examples: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> list[dict[str, Any]]:
    """The most confidently wrong test examples, worst first; for a regression those with the largest error.

    ``examples`` are the target's indices of the rows of ``scores`` and ``labels``.
    """
    blame = _blame(spec, scores, labels)
    order = np.argsort(-blame, kind="stable")[:_WORST]
    return [
        _entry(target, spec, int(examples[row]), scores[row], labels[row]) for row in order if blame[row] > 0
    ]


def _blame(spec: TaskSpec, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How confidently wrong each prediction is; 0 for one that is right."""
    if spec.kind == "regression":
        return np.asarray(np.abs(scores - labels))
    if spec.kind == "multilabel":
        truth, said = _indicators(spec, scores, labels)
        return np.asarray(np.where(truth != said, np.maximum(scores, 1 - scores), 0.0).max(axis=1))
    return np.asarray(np.where(scores.argmax(1) == labels, 0.0, scores.max(axis=1)))


def _entry(target: Target, spec: TaskSpec, example: int, score: np.ndarray, label: Any) -> dict[str, Any]:
    truth, said, confidence = _in_words(spec, score, label)
    return {
        "item": target.examples.names[example],
        "label": truth,
        "predicted": said,
        "confidence": confidence,
        **thumbnail(target, example),
    }


def _in_words(spec: TaskSpec, score: np.ndarray, label: Any) -> tuple[Any, Any, float | None]:
    if spec.kind == "regression":
        return float(label), float(score), None
    if spec.kind == "multilabel":
        named = [
            [name for name, share in zip(spec.classes, row, strict=True) if share >= _THRESHOLD]
            for row in (label, score)
        ]
        return named[0], named[1], float(_blame(spec, score[None], label[None])[0])
    return spec.classes[int(label)], spec.classes[int(score.argmax())], float(score.max())
