"""The curvature that L-BFGS remembers, of several problems at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MEMORY = 10
"""Pairs of a change and of the gradient's turn that are remembered."""

Scaling = Callable[[np.ndarray], np.ndarray]


class Curvature:
    """An approximate inverse Hessian for each of B problems, made of the last changes and turns.

    The two-loop recursion (Nocedal and Wright 2006, algorithm 7.4). Its inner products between remembered
    pairs are kept, so that a step reads the memory four times, in one product each for all pairs, and both
    loops run over numbers instead of vectors.

    Parameters
    ----------
    like
        ``(B, ..)``: parameters of the problems, of which shape and dtype are taken.
    """

    def __init__(self, like: np.ndarray):
        problems, size = len(like), like[0].size
        self._changes = np.zeros((problems, MEMORY, size), like.dtype)
        self._turns = np.zeros_like(self._changes)
        self._between = np.zeros((problems, MEMORY, MEMORY), like.dtype)  # change i by turn j
        self._inverse = np.zeros((problems, MEMORY), like.dtype)
        self._order: list[int] = []

    def remember(self, change: np.ndarray, turn: np.ndarray) -> None:
        """Take a pair in; the oldest goes when there is no room."""
        slot = len(self._order) if len(self._order) < MEMORY else self._order.pop(0)
        self._order.append(slot)
        self._changes[:, slot] = change.reshape(len(change), -1)
        self._turns[:, slot] = turn.reshape(len(turn), -1)
        self._between[:, slot] = _products(self._turns, self._changes[:, slot])
        self._between[:, :, slot] = _products(self._changes, self._turns[:, slot])
        bend = self._between[:, slot, slot]
        # A problem that stood still has no curvature to remember: its pair counts for nothing.
        self._inverse[:, slot] = np.divide(1, bend, out=np.zeros_like(bend), where=bend > 0)

    def solve(self, gradient: np.ndarray, scaling: Scaling) -> np.ndarray:
        """The approximate inverse Hessian times ``(B, ..)``; ``scaling`` is what it is without a memory."""
        if not self._order:
            return scaling(gradient)
        flat = gradient.reshape(len(gradient), -1)
        shares = self._shares(_products(self._changes, flat))
        left = scaling((flat - _sum(shares, self._turns)).reshape(gradient.shape))
        left /= self._stretch(scaling, gradient.shape).reshape(-1, *[1] * (gradient.ndim - 1))
        flat = left.reshape(flat.shape)
        weights = self._weights(shares, _products(self._turns, flat))
        return np.asarray((flat + _sum(weights, self._changes)).reshape(gradient.shape))

    def _shares(self, moved: np.ndarray) -> np.ndarray:
        """The first loop, newest pair first: how much of each turn is taken off."""
        shares = np.zeros_like(moved)
        for slot in reversed(self._order):
            rest = moved[:, slot] - (self._between[:, slot] * shares).sum(axis=1)
            shares[:, slot] = self._inverse[:, slot] * rest
        return shares

    def _weights(self, shares: np.ndarray, turned: np.ndarray) -> np.ndarray:
        """The second loop, oldest pair first: how much of each change is added."""
        weights = np.zeros_like(shares)
        for slot in self._order:
            found = turned[:, slot] + (self._between[:, :, slot] * weights).sum(axis=1)
            weights[:, slot] = shares[:, slot] - self._inverse[:, slot] * found
        return weights

    def _stretch(self, scaling: Scaling, shape: tuple[int, ...]) -> np.ndarray:
        """How much longer the scaling makes the newest turn than it should be, ``(B,)``."""
        newest = self._order[-1]
        turn = self._turns[:, newest]
        scaled = scaling(turn.reshape(shape)).reshape(turn.shape)
        stretch = np.einsum("bp,bp->b", turn, scaled) * self._inverse[:, newest]
        return np.where(stretch > 0, stretch, 1)


def _products(memory: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Inner products ``(B, MEMORY)`` of what is remembered with one vector for each problem."""
    return np.asarray((memory @ vector[:, :, None])[:, :, 0])


def _sum(weights: np.ndarray, memory: np.ndarray) -> np.ndarray:
    return np.asarray((weights[:, None, :] @ memory)[:, 0, :])
