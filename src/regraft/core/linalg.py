"""One float64 eigendecomposition of centred features, and what follows from it in closed form.

The smaller Gram matrix is decomposed: ``Xc.T @ Xc`` where there are at least as many examples as features,
``Xc @ Xc.T`` otherwise. Ridge regression for a whole grid of penalties, its exact leave-one-out predictions
and a family of transferability scores are then sums over the eigenvalues.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_EPS = float(np.finfo(np.float64).eps)
_BLOCK = 1 << 18  # numbers that are looked at together: they stay in the processor's cache


@dataclass(frozen=True)
class Decomposition:
    """``Xc = U @ diag(sqrt(s)) @ V.T`` for N examples, D features and rank R.

    Attributes
    ----------
    mean
        ``float64 (D,)``: what was subtracted from every row.
    U
        ``float64 (N, R)``: orthonormal columns; the row space of the examples.
    s
        ``float64 (R,)``: positive eigenvalues of the Gram matrix, largest first.
    V
        ``float64 (D, R)``: orthonormal columns; the principal axes of the features.
    """

    mean: np.ndarray
    U: np.ndarray
    s: np.ndarray
    V: np.ndarray

    @property
    def count(self) -> int:
        """N, the number of examples."""
        return len(self.U)

    @property
    def rank(self) -> int:
        """R, the number of directions in which the features vary."""
        return len(self.s)

    @property
    def unit(self) -> float:
        """The mean eigenvalue: relative penalties are multiples of it; 1 for features that do not vary."""
        return float(self.s.mean()) if self.rank else 1.0

    def components(self) -> np.ndarray:
        """``float64 (N, R)``: the centred examples in the principal axes; all distances are kept."""
        return np.asarray(self.U * np.sqrt(self.s))


def decompose(features: np.ndarray) -> Decomposition:
    """Decompose features ``(N, D)``; directions below rounding error are dropped.

    Raises ``ValueError`` for an empty array or numbers that are not finite.
    """
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features of shape (examples, width) are needed, found {features.shape}")
    wide = np.asarray(features, dtype=np.float64)
    mean = wide.mean(axis=0)
    centred = wide - mean
    if not np.isfinite(mean).all():
        raise ValueError("the features hold numbers that are not finite")
    # What rounding leaves of a column of equal numbers must not pass for variation.
    noise = wide.size * (_EPS * max(float(wide.max()), -float(wide.min()))) ** 2
    return _tall(mean, centred, noise) if len(centred) >= centred.shape[1] else _wide(mean, centred, noise)


def _tall(mean: np.ndarray, centred: np.ndarray, noise: float) -> Decomposition:
    s, V = _eigen(centred.T @ centred, noise)
    return Decomposition(mean, _orthonormal(centred @ (V / np.sqrt(s))), s, V)


def _wide(mean: np.ndarray, centred: np.ndarray, noise: float) -> Decomposition:
    s, U = _eigen(centred @ centred.T, noise)
    return Decomposition(mean, U, s, centred.T @ (U / np.sqrt(s)))


def _eigen(gram: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(gram)
    floor = max(values[-1] * _EPS * len(gram), noise)
    kept = np.flatnonzero(values > floor)[::-1]
    return values[kept], vectors[:, kept]


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Centre again: products with small eigenvalues amplify what rounding left of the mean."""
    columns -= columns.mean(axis=0)
    return columns


def leave_one_out(
    decomposition: Decomposition, targets: np.ndarray, penalties: Sequence[float]
) -> Iterator[np.ndarray]:
    r"""Exact leave-one-out predictions ``float64 (N, K)`` of ridge regression, for each penalty in turn.

    Example i's prediction is that of the fit (with an intercept that is not penalised) to all others. With
    :math:`h_i = \sum_j U_{ij}^2 s_j / (s_j + \lambda) + 1/N` the residual is
    :math:`(y_i - \hat y_i) / (1 - h_i)` (Allen 1974, PRESS; Golub, Heath and Wahba 1979), so no fit is
    repeated. Needs at least two examples.

    Parameters
    ----------
    decomposition
        Of the features.
    targets
        ``float64 (N, K)``.
    penalties
        Absolute values of lambda in ``|y - Xw - b|^2 + lambda |w|^2``, positive.
    """
    U, s, count = decomposition.U, decomposition.s, decomposition.count
    centre = targets.mean(axis=0)
    projected = U.T @ (targets - centre)
    shrink = s[:, None] / (s[:, None] + np.asarray(penalties, dtype=np.float64))
    room = _room(_leverage(U, shrink) + 1 / count)
    rest = targets - centre
    for number in range(shrink.shape[1]):
        outputs = U @ (shrink[:, number, None] * projected)
        outputs -= rest
        outputs /= room[:, number, None]
        outputs += targets
        yield outputs


def _leverage(U: np.ndarray, shrink: np.ndarray) -> np.ndarray:
    """``float64 (N, P)``: the diagonals of ``U diag(shrink) U^T``, in blocks of rows, to bound memory."""
    step = max(1, _BLOCK // max(1, U.shape[1]))
    blocks = [np.square(U[first : first + step]) @ shrink for first in range(0, len(U), step)]
    return np.concatenate(blocks)


def _room(leverage: np.ndarray) -> np.ndarray:
    """1 - h, kept away from 0, where an example alone decides its own fit and rounding decides the rest."""
    return np.asarray(np.maximum(1 - leverage, _EPS))


def ridge_coefficients(
    decomposition: Decomposition, targets: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weight ``float64 (K, D)`` and bias ``(K,)`` of a ridge fit, for features as they came."""
    centre = targets.mean(axis=0)
    s = decomposition.s
    projected = decomposition.U.T @ (targets - centre)
    weight = (decomposition.V @ (np.sqrt(s)[:, None] / (s[:, None] + penalty) * projected)).T
    return weight, centre - weight @ decomposition.mean
