"""Which of the source's classes the examples of each target class belong to: p(s | t).

T target classes, S source classes, N training examples, ``q_i`` (``Float[Tensor, "S"]``) the probabilities
that the source gives example i. Source: You et al. (2020), "Co-Tuning for transfer learning", section 3.2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from regraft.tasks import Task
from regraft.terms.solvers import solve_logistic

TEMPERATURES = tuple(2.0 ** (power / 2) for power in range(-4, 7))
"""From 1/4 to 8, two to an octave."""


def direct(given: Tensor, labels: Tensor, classes: int) -> Tensor:
    """``p(s | t)`` as the mean of ``q_i`` over the examples of class t, ``Float[Tensor, "T S"]``.

    ``given`` is ``Float[Tensor, "N S"]``, ``labels`` ``int64 (N,)``, -1 where unknown. A class without an
    example has the mean over all.
    """
    known = labels >= 0
    if not bool(known.any()):
        return given.mean(0).expand(classes, -1).clone()
    rows, own = given[known], labels[known].long()
    sums, counts = _sums(rows, own, classes)
    return torch.where(counts > 0, sums / counts.clamp(min=1), rows.mean(0))


def reverse(given: Tensor, labels: Tensor, task: Task) -> Tensor:
    """``p(s | t) = p(t | s) p(s) / sum_s' p(t | s') p(s')``, ``Float[Tensor, "T S"]``.

    ``p(t | s)`` is what a multinomial logistic regression from ``q_i`` to the labels, its penalty chosen by
    cross-validation, says of an example that the source is sure to be of class s; ``p(s)`` is the mean of
    ``q_i``. A class without an example has ``p(s)``.
    """
    known = labels >= 0
    rows, own = given[known], labels[known].long()
    solved = solve_logistic(rows.cpu().double().numpy(), own.cpu().numpy(), task).calibrated()
    logits = torch.from_numpy(np.asarray(solved.weight.T + solved.bias))
    prior = rows.double().mean(0).cpu()
    joint = logits.softmax(1).T * prior
    there = torch.bincount(own.cpu(), minlength=task.outputs)[:, None] > 0
    return torch.where(there, joint / joint.sum(1, keepdim=True), prior).to(given)


def fit_temperature(logits: Tensor, labels: Tensor, classes: int) -> float:
    """The temperature T of :data:`TEMPERATURES` at which the source's answers tell most of the labels.

    With ``q_i = softmax(logits_i / T)`` it is that with the largest mean over examples i of

    ``log sum_s p(y_i | s) q_is``,  ``p(t | s)`` proportional to ``n_t p(s | t)``,

    the direct relationship without example i, which is left out of its own class. A class with a single
    example says nothing; where all are such, or no label is known, T is 1.
    """
    known = labels >= 0
    rows, own = logits[known].double(), labels[known].long()
    if not len(own) or int(torch.bincount(own, minlength=classes).max()) < 2:
        return 1.0
    scores = [_told((rows / one).softmax(1), own, classes) for one in TEMPERATURES]
    return TEMPERATURES[int(torch.stack(scores).argmax())]


def _told(given: Tensor, own: Tensor, classes: int) -> Tensor:
    """The mean log-probability of each label, by a relationship that did not see its example."""
    sums, counts = _sums(given, own, classes)
    rest = counts[own] - 1
    # n_t p(s | t) of all classes is the sum over examples; that of the own class is made of the others.
    without = (sums[own] - given) * counts[own] / rest.clamp(min=1)
    everything = sums.sum(0) - sums[own] + without
    told = (given * without / everything.clamp(min=1e-300)).sum(1)
    return told.clamp(min=1e-300).log()[rest[:, 0] > 0].mean()


def _sums(given: Tensor, own: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sums of the rows of each class, ``(T, S)``, and how many there are, ``(T, 1)``."""
    sums = given.new_zeros(classes, given.shape[1]).index_add(0, own, given)
    return sums, torch.bincount(own, minlength=classes)[:, None].to(sums)
