"""Several penalised logistic regressions on one set of examples, minimised together.

The examples come in their principal axes. There the Hessian of the loss at an undecided model is diagonal,
known beforehand, and a good preconditioner everywhere; L-BFGS with it needs few steps (Nocedal and Wright
2006, algorithm 7.4). Logits are linear in the parameters, so a line search costs no product with the
examples: each step needs one for its direction and one for its gradient, and all problems share both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MEMORY = 10  # pairs that L-BFGS remembers
_SEARCH_STEPS = 12
_SLOPE = 0.1  # the line search ends when the slope has fallen to this share


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
        ``(K, 1, N)`` of 0 and 1.
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
        """Parameters ``(K, B, R+1)`` of zero."""
        return np.zeros((len(self.truth), len(self.learns), self.examples.shape[1]), self.examples.dtype)

    def logits(self, parameters: np.ndarray) -> np.ndarray:
        """``(K, B, N)``, of all examples."""
        classes, problems, axes = parameters.shape
        flat = parameters.reshape(classes * problems, axes) @ self.examples.T
        return np.asarray(flat.reshape(classes, problems, -1))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """``(K, B, N)``."""
        if not self.exclusive:
            return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))
        powers = np.exp(logits - logits.max(axis=0))
        return np.asarray(powers / powers.sum(axis=0))

    def gradient(self, probabilities: np.ndarray, parameters: np.ndarray, penalty: float) -> np.ndarray:
        """Of the summed log-loss and half the penalty times the squared parameters."""
        classes, problems, count = probabilities.shape
        residual = ((probabilities - self.truth) * self.learns).reshape(classes * problems, count)
        flat = residual @ self.examples
        return np.asarray(flat.reshape(parameters.shape) + self._shrink(penalty) * parameters)

    def preconditioner(self, probabilities: np.ndarray, penalty: float) -> np.ndarray:
        """Inverse of the approximate diagonal of the Hessian, ``(K, B, R+1)``."""
        spread = (probabilities * (1 - probabilities) * self.learns).mean(axis=2)
        diagonal = np.maximum(spread, 1e-6)[:, :, None] * self.curvature + self._shrink(penalty)
        return np.asarray(1 / diagonal)

    def within(self, direction: np.ndarray) -> np.ndarray:
        """The direction without what softmax cannot see: the same change to all classes."""
        return direction - direction.mean(axis=0) if self.exclusive else direction

    def slopes(
        self, probabilities: np.ndarray, along: np.ndarray, drag: np.ndarray, stiffness: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative ``(B,)`` of each objective along its direction.

        ``along`` holds the direction's logits; ``drag`` and ``stiffness`` the penalty's own derivatives.
        """
        pulled = probabilities * along
        first = ((pulled - self.truth * along).sum(axis=0) * self.learns).sum(axis=1)
        second = (pulled * along).sum(axis=0)
        second = second - pulled.sum(axis=0) ** 2 if self.exclusive else second - (pulled**2).sum(axis=0)
        return first + drag, (second * self.learns).sum(axis=1) + stiffness

    def dot(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Inner product of each problem's parameters, ``(B,)``."""
        return np.asarray(np.einsum("kbr,kbr->b", left, right))

    def _shrink(self, penalty: float) -> np.ndarray:
        return np.asarray(self.penalised * self.examples.dtype.type(penalty))


@dataclass(frozen=True)
class Minimum:
    """Where the minimiser ended, after how many steps: parameters ``(K, B, R+1)``, logits ``(K, B, N)``."""

    parameters: np.ndarray
    logits: np.ndarray
    steps: int


def minimise(
    problems: LogisticProblems, penalty: float, start: np.ndarray, *, tolerance: float, limit: int = 500
) -> Minimum:
    """Minimise every problem from ``start`` until it can fall by no more than ``tolerance`` per example."""
    parameters = start.copy()
    logits = problems.logits(parameters)
    probabilities = problems.probabilities(logits)
    gradient = problems.gradient(probabilities, parameters, penalty)
    enough = tolerance * np.maximum(problems.learns.sum(axis=1), 1)
    memory: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for step in range(limit):
        scale = problems.preconditioner(probabilities, penalty)
        direction = -_inverse_product(problems, memory, scale, gradient)
        descent = -problems.dot(gradient, direction)
        going = descent > enough
        if not going.any():
            return Minimum(parameters, logits, step)
        direction *= going[:, None]
        along = problems.logits(direction)
        length, probabilities = _search(
            problems, penalty, parameters, direction, logits, along, -descent * going
        )
        change = length[:, None] * direction
        parameters = parameters + change
        logits = logits + length[:, None] * along
        turned = problems.gradient(probabilities, parameters, penalty)
        memory = _remember(problems, memory, change, turned - gradient)
        gradient = turned
    return Minimum(parameters, logits, limit)


def _remember(
    problems: LogisticProblems,
    memory: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    change: np.ndarray,
    turn: np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    bend = problems.dot(change, turn)
    # A problem that stood still has no curvature to remember: its pair counts for nothing.
    inverse = np.divide(1, bend, out=np.zeros_like(bend), where=bend > 0)
    return [*memory, (change, turn, inverse)][-MEMORY:]


def _inverse_product(
    problems: LogisticProblems,
    memory: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    scale: np.ndarray,
    gradient: np.ndarray,
) -> np.ndarray:
    """The approximate inverse Hessian times the gradient, by the two-loop recursion."""
    left = gradient.copy()
    shares = []
    for change, turn, inverse in reversed(memory):
        share = inverse * problems.dot(change, left)
        left -= share[:, None] * turn
        shares.append(share)
    left = problems.within(scale * left)
    if memory:
        _, turn, inverse = memory[-1]
        stretch = problems.dot(turn, problems.within(scale * turn)) * inverse
        left /= np.where(stretch > 0, stretch, 1)[:, None]
    for (change, turn, inverse), share in zip(memory, reversed(shares), strict=True):
        left += (share - inverse * problems.dot(turn, left))[:, None] * change
    return left


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
        probabilities = problems.probabilities(logits + length[:, None] * along)
    return length, probabilities
