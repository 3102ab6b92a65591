"""knn: the training examples themselves as a head, the number of neighbours by exact leave-one-out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.errors import UsageError
from regraft.tasks import Task
from regraft.tasks.neighbours import TEMPERATURE, NeighbourHead, NeighbourSpec, opinion, vote_weights
from regraft.terms.solvers.base import best_position, history_line, labelled
from regraft.terms.solvers.temperature import fit_sharpness

NEIGHBOURS: tuple[int, ...] = (1, 3, 5, 10, 20, 50, 100, 200)
"""How many neighbours are tried, as far as there are so many examples."""
_BLOCK = 1 << 23  # numbers in the votes of the examples that are looked at together, to bound memory


@dataclass(frozen=True)
class Neighbours:
    """A head of kept examples; attributes as in :class:`regraft.terms.solvers.Solution`.

    ``examples`` is ``float32 (M, D)``, of length 1, and ``answers`` ``float32 (M, K)``.
    """

    examples: np.ndarray
    answers: np.ndarray
    neighbours: int
    temperature: float
    held_out: np.ndarray
    score: float
    history: dict[str, Any]
    sharpness: float = 1.0
    applied: float = 1.0

    def calibrated(self) -> Neighbours:
        """The same head with logits as sharp as held-out votes deserve."""
        return replace(
            self,
            held_out=self.held_out * self.sharpness,
            sharpness=1.0,
            applied=self.applied * self.sharpness,
        )

    def into(self, head: nn.Module, task: Task) -> nn.Module:
        """A head that holds the examples, where ``head`` lies."""
        count, width = self.examples.shape
        spec = NeighbourSpec(
            count, width, task.outputs, self.neighbours, task.spec.kind, temperature=self.temperature
        )
        made = NeighbourHead(spec)
        made.examples.copy_(torch.from_numpy(self.examples))
        made.answers.copy_(torch.from_numpy(self.answers))
        made.sharpness.fill_(self.applied)
        place = next((tensor for tensor in (*head.parameters(), *head.buffers())), made.sharpness)
        return made.to(place.device)


def solve_neighbours(
    features: np.ndarray,
    labels: np.ndarray,
    task: Task,
    grid: Sequence[float] | None = None,
    *,
    temperature: float = TEMPERATURE,
) -> Neighbours:
    """The neighbour head whose leave-one-out predictions have the best deciding metric; of any kind of task.

    Every example is asked of all the others: its similarity to them does not depend on itself, so this is
    exact, for all numbers of neighbours in one pass. Logits get the sharpness that suits these answers.

    Parameters
    ----------
    features
        ``Float[ndarray, "N D"]``.
    labels
        Of one output, encoded as TaskSpec says; rows without a label are left out.
    task
        The output's task.
    grid
        Numbers of neighbours; those beyond N - 1 are left out. Ties go to more neighbours.
    temperature
        How fast a vote fades with the similarity, see :class:`regraft.tasks.neighbours.NeighbourHead`.
    """
    start = time.perf_counter()
    rows = labelled(features, labels, task)
    counts = _counts(grid, len(rows.rows))
    if not temperature > 0:
        raise UsageError(f"the temperature of knn is positive, as in temperature: 0.07; found {temperature}")
    examples = functional.normalize(torch.from_numpy(rows.features).float())
    answers = torch.from_numpy(task.regressand(rows.labels)).float()
    found = _leave_one_out(examples, answers, counts, temperature, task.spec.kind)
    metric = task.metrics[0]
    scores = [metric.compute(task.scores(one), rows.labels) for one in found]
    best = best_position(scores, metric.higher_is_better)
    held_out = found[best].astype(np.float64)
    sharpness = 1.0
    if task.spec.kind != "regression":
        exclusive = task.spec.kind != "multilabel"
        sharpness, _ = fit_sharpness(held_out.T, answers.double().numpy().T, exclusive=exclusive)
    seconds = time.perf_counter() - start
    line = history_line("knn", [float(count) for count in counts], scores, best, metric.name, seconds)
    return Neighbours(
        examples=examples.numpy(),
        answers=answers.numpy(),
        neighbours=counts[best],
        temperature=temperature,
        held_out=rows.spread(held_out, len(features)),
        score=scores[best],
        history={**line, "across": "neighbours"},
        sharpness=sharpness,
    )


def _counts(grid: Sequence[float] | None, examples: int) -> list[int]:
    """Numbers of neighbours that there are, most first."""
    given = NEIGHBOURS if grid is None else grid
    if not given or not all(float(one).is_integer() and one >= 1 for one in given):
        raise UsageError(f"the grid of knn holds whole numbers of neighbours, as in [1, 5]; found {grid}")
    return sorted({min(int(one), examples - 1) for one in given}, reverse=True)


def _leave_one_out(
    examples: Tensor, answers: Tensor, counts: list[int], temperature: float, kind: str
) -> list[np.ndarray]:
    """For each number of neighbours the opinion of all others on every example, ``float32 (N, K)``."""
    together = max(1, _BLOCK // max(counts[0] * answers.shape[1], len(examples)))
    parts: list[list[np.ndarray]] = [[] for _ in counts]
    for first in range(0, len(examples), together):
        chunk = examples[first : first + together]
        similar = chunk @ examples.T
        own = torch.arange(len(chunk))
        similar[own, own + first] = -torch.inf
        nearest, where = similar.topk(counts[0])
        weights = vote_weights(nearest, temperature)
        votes = (weights[..., None] * answers[where]).cumsum(1)
        totals = weights.cumsum(1)
        for place, count in enumerate(counts):
            found = opinion(votes[:, count - 1], totals[:, count - 1 : count], kind)
            parts[place].append(found.numpy())
    return [np.concatenate(part) for part in parts]
