"""The decomposition of features with their mean left in, out of that of the centred ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from regraft.core.linalg import Decomposition


@dataclass(frozen=True)
class Shrunk:
    """Quantities of a ridge fit without intercept for K targets, each at its own penalty t: ``float64 (K,)``.

    Attributes
    ----------
    effective
        gamma, the effective number of parameters: ``sum_j sigma_j / (sigma_j + t)``.
    room
        ``N - gamma``, without the cancellation.
    weight
        Squared length of the weights.
    residual
        Squared length of the residuals.
    """

    effective: np.ndarray
    room: np.ndarray
    weight: np.ndarray
    residual: np.ndarray


@dataclass(frozen=True)
class Uncentred:
    r"""Features ``X = Xc + 1 m^T`` seen from the decomposition of Xc.

    In the orthonormal basis :math:`[U, 1/\sqrt N]` the Gram matrix :math:`X X^T` is an arrowhead:

    .. math:: K = \begin{pmatrix} S & q \\ q^T & N \lVert m \rVert^2 \end{pmatrix}, \qquad
        q_j = \sqrt{N s_j}\, (V^T m)_j

    so :math:`(K + t)^{-1}` takes R operations by eliminating S + t, for any t, and no second decomposition.
    Its pivot :math:`\delta = t + N \lVert m_\perp \rVert^2 + N \sum_j t (V^T m)_j^2 / (s_j + t)` is a sum of
    positive numbers: nothing cancels (:math:`m_\perp` is what of the mean lies outside the span of V).
    """

    s: np.ndarray
    along: np.ndarray  # V^T m, (R,)
    outside: float  # |m - V V^T m|^2
    count: int

    @classmethod
    def of(cls, parts: Decomposition) -> Uncentred:
        """From the decomposition of the centred features."""
        along = parts.V.T @ parts.mean
        rest = parts.mean - parts.V @ along
        outside = float(rest @ rest)
        # What rounding leaves of a mean inside the span is no direction of its own.
        noise = (np.finfo(np.float64).eps * len(rest)) ** 2 * float(parts.mean @ parts.mean)
        return cls(parts.s, along, outside if outside > noise else 0.0, parts.count)

    @property
    def vanishes(self) -> bool:
        """Whether all features are 0."""
        return not len(self.s) and not self.outside

    def pivot(self, t: np.ndarray) -> np.ndarray:
        """The pivot delta ``(K,)`` for penalties ``t (K,)``, see the class."""
        tail = (np.square(self.along)[:, None] * (t / (self.s[:, None] + t))).sum(axis=0)
        return t + self.count * (self.outside + tail)

    def log_determinant(self, t: np.ndarray) -> np.ndarray:
        r"""``(K,)``: :math:`\ln\det(I + X X^T / t)`."""
        return np.log1p(self.s[:, None] / t).sum(axis=0) + np.log(self.pivot(t) / t)

    def shrunk(self, projected: np.ndarray, mean: np.ndarray, rest: np.ndarray, t: np.ndarray) -> Shrunk:
        """Ridge fits of K targets.

        Parameters
        ----------
        projected
            ``(R, K)``: U^T y.
        mean
            ``(K,)``: the targets' means times the root of N, their part along the ones.
        rest
            ``(K,)``: squared length of what of the targets lies in neither.
        t
            ``(K,)``: penalties, positive.
        """
        n = self.count
        inverse = 1 / (self.s[:, None] + t)
        tips = np.sqrt(n * self.s) * self.along
        delta = self.pivot(t)
        last = (mean - tips @ (inverse * projected)) / delta
        others = inverse * (projected - tips[:, None] * last)
        faded = (np.square(self.along)[:, None] * np.square(t * inverse)).sum(axis=0)
        left = (1 + np.square(tips) @ np.square(inverse)) / delta  # the arrow's part of tr (K + t)^-1
        inside = np.sqrt(self.s)[:, None] * others + np.sqrt(n) * self.along[:, None] * last
        return Shrunk(
            effective=(self.s[:, None] * inverse).sum(axis=0) + n * (self.outside + faded) / delta,
            room=n - len(self.s) - 1 + t * (inverse.sum(axis=0) + left),
            weight=np.square(inside).sum(axis=0) + n * self.outside * np.square(last),
            residual=np.square(t) * (np.square(others).sum(axis=0) + np.square(last)) + rest,
        )
