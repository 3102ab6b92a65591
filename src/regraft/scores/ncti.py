"""ncti: how far features are from neural collapse, within a pool of sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from regraft.core.errors import UsageError
from regraft.scores.examples import Examples, same_examples

_COMPONENTS, _LEADING, _LEAST_SHRINKAGE = 64, 32, 1e-10


@dataclass(frozen=True)
class Collapse:
    """One source's three terms, before they are put in proportion to those of the others.

    Attributes
    ----------
    spread
        Nuclear norm of all examples in the space of the linear discriminants.
    separation
        Mean probability of the true class by these discriminants.
    variation
        Logarithm of the nuclear norms of each class's probabilities, summed: what is left within classes.
    """

    spread: float
    separation: float
    variation: float


def ncti(pool: Sequence[Examples]) -> list[float]:
    r"""Neural collapse transferability index (Wang, Wei, Zhang, Zhao, Sun, Yan 2023), of every source in a
    pool.

    :math:`\tilde a + \tilde b - \tilde c` of the terms of :class:`Collapse`, each scaled to [0, 1] over the
    pool (a term that all share counts 0). Between -1 and 2, higher is better. **It changes when a candidate
    is added to the pool or leaves it**, so it orders a pool and is no property of one source; a pool of one
    scores 0. Time of the decomposition and ``N C^2``. Raises :class:`DataError` unless all have the same
    labels.
    """
    if not pool:
        raise UsageError("ncti orders a pool of sources, and there is none in it")
    same_examples(tuple(pool))
    terms = np.stack([_terms(one) for one in pool])
    low, range_ = terms.min(axis=0), np.ptp(terms, axis=0)
    scaled = np.divide(terms - low, range_, out=np.zeros_like(terms), where=range_ > 0)
    return [float(value) for value in scaled @ np.array([1.0, 1.0, -1.0])]


def _terms(examples: Examples) -> np.ndarray:
    """``float64 (3,)``: the terms of one source; of several labels the mean of each."""
    tasks = examples.label_by_label() if examples.kind == "multilabel" else (examples,)
    return np.mean([astuple(collapse(one)) for one in tasks], axis=0)


def collapse(examples: Examples) -> Collapse:
    r"""The terms of one source, of the first 64 principal components.

    Discriminants are scikit-learn's: by singular values where :math:`e^{-v} \le 10^{-10}`, v being the
    variance of the first 32 components, and with that shrinkage otherwise, as in the authors' code. Constant
    features spread by 0 and predict the shares of the classes.
    """
    parts = examples.features.decomposition
    if not parts.rank:
        said = np.tile(examples.counts / examples.count, (examples.count, 1))
        return Collapse(
            0.0, float(said[np.arange(examples.count), examples.codes].mean()), _variation(examples, said)
        )
    values = examples.features.components[:, :_COMPONENTS]
    model = _discriminants(float(parts.s[:_LEADING].sum() / (parts.count - 1)))
    space = model.fit_transform(values, examples.codes)
    said = model.predict_proba(values)
    return Collapse(
        spread=float(np.linalg.norm(space - space.mean(axis=0), ord="nuc")),
        separation=float(said[np.arange(examples.count), examples.codes].mean()),
        variation=_variation(examples, said),
    )


def _discriminants(variance: float):  # type: ignore[no-untyped-def]
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    shrinkage = float(np.exp(-variance))
    if shrinkage <= _LEAST_SHRINKAGE:
        return LinearDiscriminantAnalysis(solver="svd")
    return LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage)


def _variation(examples: Examples, said: np.ndarray) -> float:
    return float(np.log(sum(np.linalg.norm(said[rows], ord="nuc") for rows in examples.by_class)))
