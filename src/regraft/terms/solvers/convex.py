"""Several penalised logistic regressions on one set of examples, minimised together.

The examples come in their principal axes. There the Hessian of the loss at an undecided model is diagonal,
known beforehand, and a good preconditioner everywhere; L-BFGS with it needs few steps (Nocedal and Wright
2006, algorithm 7.4). Logits are linear in the parameters, so a line search costs no product with the
examples: each step needs one for its direction and one for its gradient, and all problems share both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from regraft.terms.solvers.curvature import Curvature

_SEARCH_STEPS = 12
_SLOPE = 0.5  # the line search ends when the slope has fallen to this share


@dataclass(frozen=True)
class LogisticProblems:
    """B problems that differ in which of the N examples they learn from; R axes and an intercept, K classes.

    Attributes
    ----------
    examples
        ``(N, R+1)``: principal components and a column of ones.
    curvature
        ``(R+1,)``: diagonal of ``examples.T @ examples``, which is diagonal.
    truth
        ``(K, N)`` of 0 and 1.
    learns
        ``(B, N)`` of 0 and 1: whether problem b learns from example i.
    penalised
        ``(R+1,)``: share of the penalty that each axis gets.
    exclusive
        Softmax over the classes if true, a sigmoid for each otherwise.
    """

    examples: np.ndarray
    curvature: np.ndarray
    truth: np.ndarray
    learns: np.ndarray
    penalised: np.ndarray
    exclusive: bool

    @property
    def start(self) -> np.ndarray:
        """Parameters ``(B, K, R+1)`` of zero."""
        return np.zeros((len(self.learns), len(self.truth), self.examples.shape[1]), self.examples.dtype)

    def logits(self, parameters: np.ndarray) -> np.ndarray:
        """``(B, K, N)``, of all examples."""
        problems, classes, axes = parameters.shape
        flat = parameters.reshape(problems * classes, axes) @ self.examples.T
        return np.asarray(flat.reshape(problems, classes, -1))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """``(B, K, N)``."""
        if not self.exclusive:
            return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))
        powers = logits - logits.max(axis=1, keepdims=True)
        np.exp(powers, out=powers)
        powers /= powers.sum(axis=1, keepdims=True)
        return np.asarray(powers)

    def gradient(self, probabilities: np.ndarray, parameters: np.ndarray, penalty: float) -> np.ndarray:
        """Of the summed log-loss and half the penalty times the squared parameters."""
        problems, classes, count = probabilities.shape
        residual = probabilities - self.truth
        residual *= self.learns[:, None, :]
        flat = residual.reshape(problems * classes, count) @ self.examples
        return np.asarray(flat.reshape(parameters.shape) + self._shrink(penalty) * parameters)

    def preconditioner(self, probabilities: np.ndarray, penalty: float) -> np.ndarray:
        """Inverse of the approximate diagonal of the Hessian, ``(B, K, R+1)``."""
        spread = np.einsum("bkn,bkn,bn->bk", probabilities, 1 - probabilities, self.learns)
        mean = np.maximum(spread / self.learns.shape[1], 1e-6)
        return np.asarray(1 / (mean[:, :, None] * self.curvature + self._shrink(penalty)))

    def scaled(self, scale: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """``scale * gradient`` without what softmax cannot see: the same change to all classes."""
        direction = scale * gradient
        return np.asarray(direction - direction.mean(axis=1, keepdims=True) if self.exclusive else direction)

    def slopes(
        self, probabilities: np.ndarray, along: np.ndarray, drag: np.ndarray, stiffness: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative ``(B,)`` of each objective along its direction.

        ``along`` holds the direction's logits; ``drag`` and ``stiffness`` the penalty's own derivatives.
        """
        pulled = probabilities * along
        mean = pulled.sum(axis=1)
        first = mean - np.einsum("kn,bkn->bn", self.truth, along)
        second = np.einsum("bkn,bkn->bn", pulled, along)
        second = second - (mean**2 if self.exclusive else np.einsum("bkn,bkn->bn", pulled, pulled))
        return (first * self.learns).sum(axis=1) + drag, (second * self.learns).sum(axis=1) + stiffness

    def dot(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Inner product of each problem's parameters, ``(B,)``."""
        count = len(left)
        return np.asarray((left.reshape(count, 1, -1) @ right.reshape(count, -1, 1))[:, 0, 0])

    def _shrink(self, penalty: float) -> np.ndarray:
        return np.asarray(self.penalised * self.examples.dtype.type(penalty))


@dataclass(frozen=True)
class Minimum:
    """Where the minimiser ended, after how many steps: parameters ``(B, K, R+1)``, logits ``(B, K, N)``."""

    parameters: np.ndarray
    logits: np.ndarray
    steps: int


def minimise(
    problems: LogisticProblems,
    penalty: float,
    start: np.ndarray,
    *,
    tolerance: float,
    flat: float = 0.0,
    close: float = 0.0,
    towards: np.ndarray | None = None,
    limit: int = 500,
) -> Minimum:
    """Minimise every problem from ``start`` until it can fall by no more than ``tolerance`` per example.

    One that can fall by no more than ``close`` is done too if its gradient, per example, has a root mean
    square of at most ``flat``. ``towards`` is a direction that may lead far: it is searched first.
    """
    parameters = start.copy()
    logits = problems.logits(parameters)
    probabilities = problems.probabilities(logits)
    gradient = problems.gradient(probabilities, parameters, penalty)
    learned = np.maximum(problems.learns.sum(axis=1), 1)
    level = (flat * learned) ** 2 * gradient[0].size
    curvature = Curvature(gradient)
    for step in range(limit):
        if step == 0 and towards is not None:
            direction = towards
            descent = -problems.dot(gradient, direction)
            going = descent > 0
        else:
            scale = problems.preconditioner(probabilities, penalty)
            direction = -curvature.solve(gradient, partial(problems.scaled, scale))
            descent = -problems.dot(gradient, direction)
            steep = problems.dot(gradient, gradient) > level
            going = (descent > tolerance * learned) & (steep | (descent > close * learned))
            if not going.any():
                return Minimum(parameters, logits, step)
        direction = direction * going[:, None, None]
        along = problems.logits(direction)
        length, probabilities = _search(
            problems, penalty, parameters, direction, logits, along, -descent * going
        )
        change = length[:, None, None] * direction
        parameters = parameters + change
        logits = logits + length[:, None, None] * along
        turned = problems.gradient(probabilities, parameters, penalty)
        curvature.remember(change, turned - gradient)
        gradient = turned
    return Minimum(parameters, logits, limit)


def _search(
    problems: LogisticProblems,
    penalty: float,
    parameters: np.ndarray,
    direction: np.ndarray,
    logits: np.ndarray,
    along: np.ndarray,
    slope: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Step lengths ``(B,)`` by safeguarded Newton on the slope, and the probabilities there."""
    shrunk = problems.penalised * problems.examples.dtype.type(penalty) * direction
    drag, stiffness = problems.dot(parameters, shrunk), problems.dot(direction, shrunk)
    length = np.ones_like(slope)
    low, high = np.zeros_like(slope), np.full_like(slope, np.inf)
    probabilities = problems.probabilities(logits + along)
    for _ in range(_SEARCH_STEPS):
        first, second = problems.slopes(probabilities, along, drag + length * stiffness, stiffness)
        open_ones = np.abs(first) > _SLOPE * np.abs(slope)
        if not open_ones.any():
            break
        low, high = np.where(first < 0, length, low), np.where(first > 0, length, high)
        newton = length - np.divide(first, second, out=np.zeros_like(first), where=second > 0)
        inside = (newton > low) & (newton < high) & (second > 0)
        middle = np.where(np.isinf(high), 2 * length, 0.5 * (low + np.where(np.isinf(high), 0, high)))
        length = np.where(open_ones, np.where(inside, np.minimum(newton, 10 * length), middle), length)
        probabilities = problems.probabilities(logits + length[:, None, None] * along)
    return length, probabilities
