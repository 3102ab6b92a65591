"""The plain baseline: what a careful person would try without a source and without deep learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.core.task_spec import TaskSpec
from regraft.targets.channels import channels_of
from regraft.targets.decoding import Geometry, read_pixels
from regraft.targets.examples import ImageArrays
from regraft.targets.target import Target

Candidates = tuple[tuple[str, Any], ...]
_SIDE = 32
_GRID = (0.1, 1.0, 10.0, 100.0)
_RIDGE_GRID = (0.01, 0.1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class PlainBaseline:
    """A baseline that needs no source.

    Attributes
    ----------
    name
        As printed: ``SVM on 32x32 grey pixels``.
    values
        What an estimator is fitted to: ``Float32[np.ndarray, "N D"]`` of pixels, or an array of texts;
        indexed by an array of examples.
    estimators
        For an output the candidates, ``(label, unfitted scikit-learn estimator)``; choose on validation.
    """

    name: str
    values: np.ndarray
    estimators: Callable[[TaskSpec], Candidates] = field(repr=False)


def plain_baseline(target: Target) -> PlainBaseline:
    """The plain baseline for a target whose examples can all be read (``prepare(..).target``)."""
    if target.modality == "text":
        texts = np.array([target.examples.raw(index) for index in range(len(target))], dtype=object)
        return PlainBaseline("TF-IDF and a linear model", texts, _text_estimators)
    pixels, what = _pixels(target)
    return PlainBaseline(f"SVM on {what} pixels", pixels, _pixel_estimators)


def _pixels(target: Target) -> tuple[np.ndarray, str]:
    """Pixels ``float32 (N, D)`` of small copies in 0..1, grey where every image is, and what they are."""
    side = _sides(target)
    channels = channels_of(target.examples) or 3
    geometry = Geometry(size=side, interpolation="bilinear", keep_aspect=False, channels=channels)
    small = np.empty((len(target), *side, channels), dtype=np.uint8)
    for index in range(len(target)):
        small[index] = read_pixels(target.examples.raw(index), geometry)
    grey = bool((small == small[..., :1]).all())
    kept = small[..., :1] if grey else small
    flat = kept.reshape(len(target), -1).astype(np.float32) / 255
    what = "grey" if grey else "colour" if channels == 3 else f"{channels}-channel"
    return flat, f"{side[1]}x{side[0]} {what}"


def _sides(target: Target) -> tuple[int, int]:
    """Height and width: those of arrays that are smaller than 32 pixels, else 32."""
    if isinstance(target.examples, ImageArrays):
        height, width = target.examples.array.shape[1:3]
        return min(height, _SIDE), min(width, _SIDE)
    return _SIDE, _SIDE


def _pixel_estimators(spec: TaskSpec) -> Candidates:
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    def candidate(strength: float) -> Any:
        if spec.kind == "regression":
            return make_pipeline(StandardScaler(), SVR(C=strength, gamma="scale", epsilon=0.01))
        machine: Any = SVC(C=strength, gamma="scale")
        if spec.kind == "multilabel":
            machine = OneVsRestClassifier(machine)
        return make_pipeline(StandardScaler(), machine)

    return tuple((f"C={strength:g}", candidate(strength)) for strength in _GRID)


def _text_estimators(spec: TaskSpec) -> Candidates:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    def candidate(strength: float) -> Any:
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        if spec.kind == "regression":
            return make_pipeline(words, Ridge(alpha=strength))
        model: Any = LogisticRegression(C=strength, max_iter=1000)
        if spec.kind == "multilabel":
            model = OneVsRestClassifier(model)
        return make_pipeline(words, model)

    if spec.kind == "regression":
        return tuple((f"alpha={strength:g}", candidate(strength)) for strength in _RIDGE_GRID)
    return tuple((f"C={strength:g}", candidate(strength)) for strength in _GRID)
