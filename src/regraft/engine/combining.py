"""Combining: how the terms of a stage become one step, where that is more than a plain sum.

A combine rule and a weight learned by alignment need each term's own gradient: one backward pass a term and
slice, added up over the slices and batches of a step before anything is decided. What they learn changes when
a step is taken, never when one is only tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.randomness import numpy_generator
from regraft.engine.alignment import Alignment, Moments
from regraft.engine.learned import LearnedWeight, Uncertainty
from regraft.engine.weights import WeightedTerm
from regraft.plans import TrainStage
from regraft.terms import Moment, make_combine_rule

Gradients = list[Tensor | None]
"""Of one term, by parameter; None where the term does not reach it."""


class Combining:
    """Learned weights and the combine rule of one train stage.

    Parameters
    ----------
    terms, names
        The stage's terms, and what the history calls them.
    parameters
        Everything that the stage's optimiser moves.
    seed
        Of the plan's draw.
    """

    def __init__(
        self,
        stage: TrainStage,
        terms: Sequence[WeightedTerm],
        names: Sequence[str],
        parameters: Sequence[nn.Parameter],
        *,
        seed: int,
    ):
        self.stage, self.terms, self.names, self.seed = stage, terms, tuple(names), seed
        self.parameters = list(parameters)
        self.rule = make_combine_rule(stage.combine.rule, stage.combine.options)
        self.state = self._later = self.rule.begin(len(terms))
        learned = {number: term.weight for number, term in enumerate(terms)}
        self.learned = {n: weight for n, weight in learned.items() if isinstance(weight, LearnedWeight)}
        self.aligned = {n: weight for n, weight in self.learned.items() if isinstance(weight, Alignment)}
        self.uncertain = {n: weight for n, weight in self.learned.items() if isinstance(weight, Uncertainty)}
        self.reference = next((number for number in learned if number not in self.aligned), -1)
        if self.aligned and self.reference < 0:
            raise PlanError(
                f"every term of stage {stage.name!r} has a weight learned by alignment, and one has to be "
                "there to which the others are compared: give it a number"
            )
        self._found: dict[int, tuple[float, Moments | None]] = {}
        self.clear()

    @property
    def separate(self) -> bool:
        """Whether each term's own gradient is needed."""
        return self.rule.separate or bool(self.aligned)

    @property
    def parts(self) -> int:
        """In how many slices at least a batch is computed: what tells signal from noise compares two."""
        return 2 if any(weight.regresses for weight in self.aligned.values()) else 1

    @property
    def copies(self) -> int:
        """How many gradients of everything that is trained are there at once, beside the step's own."""
        return len(self.terms) + 1 if self.separate else 0

    def check_alone(self, processes: int) -> None:
        """Raise :class:`PlanError` for several processes where gradients are needed term by term."""
        if self.separate and processes > 1:
            what = self.rule.name if self.rule.separate else "alignment"
            raise PlanError(
                f"stage {self.stage.name!r} combines the gradients of its terms by {what}, for which "
                f"{processes} processes would have to share each term's own: run it in one process, or with "
                "combine.rule: sum and weights that are no alignment"
            )

    def groups(self) -> list[dict[str, Any]]:
        """Optimiser groups of what is trained beside the model, numbered behind the plan's."""
        first = len(self.stage.groups)
        return [
            {"params": [one.s], "lr": one.rate, "peak": one.rate, "weight_decay": 0.0, "number": first + n}
            for n, one in self.uncertain.items()
        ]

    def clear(self) -> None:
        """Forget the gradients of the step."""
        self._gradients: list[Gradients] = [[None] * len(self.parameters) for _ in self.terms]
        self._losses = [0.0] * len(self.terms)
        # Of the gradients of slices: their squared norms by parameter, summed, and how many there were.
        self._squares = [torch.zeros(len(self.parameters), dtype=torch.float64) for _ in self.terms]
        self._slices = [0] * len(self.terms)

    def add(self, parts: Mapping[str, Tensor], scale: Callable[[Tensor], Tensor]) -> None:
        """Add the gradients of a slice's weighted terms, by name; ``scale`` is what a small type needs."""
        left = {name: part for name, part in parts.items() if part.requires_grad}
        for name, part in left.items():
            number, more = self.names.index(name), name != next(reversed(left))
            found = torch.autograd.grad(scale(part), self.parameters, retain_graph=more, allow_unused=True)
            self._gradients[number] = [
                _added(*pair) for pair in zip(self._gradients[number], found, strict=True)
            ]
            self._losses[number] += part.item()
            if self.parts > 1:
                self._squares[number] += _squared_norms(found)
                self._slices[number] += 1

    def write(self, step: int, done: float, shares: Sequence[float]) -> None:
        """Give the parameters the combined gradient of what was added.

        ``done`` is the share of the stage's steps that were taken before, ``shares``, by term, how much of
        its stream's examples the step read.
        """
        reached = [[gradient is not None for gradient in own] for own in self._gradients]
        counts = [sum(row[place] for row in reached) for place in range(len(self.parameters))]
        shared = [place for place, count in enumerate(counts) if count > 1]
        device = self.parameters[0].device
        rows = torch.stack([self._flat(own, shared) for own in self._gradients])
        generator = numpy_generator(self.seed, self.rule.name, step)
        moment = Moment(rows, torch.tensor(self._losses, device=device), generator)
        combined = self.rule(moment, self.state)
        self._later = combined.state
        compared = {number: self._compared(number, done, shares) for number in self.aligned}
        self._found = {number: one for number, one in compared.items() if one is not None}
        factors = combined.factors.tolist()
        for place, parameter in enumerate(self.parameters):
            own = [
                f * row[place]
                for f, row in zip(factors, self._gradients, strict=True)
                if row[place] is not None
            ]
            parameter.grad = own[0] if len(own) == 1 else None
        sizes = [self.parameters[place].numel() for place in shared]
        for place, part in zip(shared, combined.gradient.split(sizes), strict=True):
            self.parameters[place].grad = part.view_as(self.parameters[place]).clone()
        self.clear()

    def pull(
        self, tally: Mapping[str, Tensor], batches: int, agree: Callable[[Sequence[float]], list[float]]
    ) -> float:
        """Slopes of what is trained beside the model, from what each term added to a step's ``batches``.

        Returns what the objective has beside the terms; ``agree`` adds up what the processes have.
        """
        if not self.uncertain:
            return 0.0
        losses = agree([float(tally.get(name, 0.0)) / batches for name in self.names])
        for number, weight in self.uncertain.items():
            weight.pull(losses[number])
        return sum(weight.penalty for weight in self.uncertain.values())

    def follow(self) -> None:
        """The step was taken: learn from it."""
        self.state = self._later
        for number, (cosine, moments) in self._found.items():
            self.aligned[number].follow(cosine, moments)

    def weights(self, done: float) -> dict[str, float]:
        """By term, its weight when the share ``done`` of the stage's steps is done."""
        factors = self.rule.factors(len(self.terms), self.state).tolist()
        own = [weighted.weight_at(done) for weighted in self.terms]
        return {name: one * factor for name, one, factor in zip(self.names, own, factors, strict=True)}

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        own = {f"term.{number}": weight.state for number, weight in self.learned.items()}
        return {**own, **{f"rule.{name}": value for name, value in self.state.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave."""
        for number, weight in self.learned.items():
            weight.restore(tensors[f"term.{number}"])
        self.state = self._later = {
            name: tensors[f"rule.{name}"].to(value.dtype, copy=True) for name, value in self.state.items()
        }

    def _flat(self, own: Gradients, places: Sequence[int]) -> Tensor:
        """One term's gradient of some parameters, ``Float[Tensor, "parameters"]``; zeros without one."""
        found = ((own[place], self.parameters[place]) for place in places)
        parts = [torch.zeros_like(p) if gradient is None else gradient for gradient, p in found]
        return torch.cat([torch.zeros(0, device=self.parameters[0].device), *(p.flatten() for p in parts)])

    def _compared(
        self, number: int, done: float, shares: Sequence[float]
    ) -> tuple[float, Moments | None] | None:
        """The cosine of a term's and the reference's gradients, and their moments where there were slices.

        None where either has no gradient here.
        """
        own, other = self._gradients[number], self._gradients[self.reference]
        both = [
            place
            for place, pair in enumerate(zip(own, other, strict=True))
            if all(g is not None for g in pair)
        ]
        if not both and any(g is not None for g in own) and any(g is not None for g in other):
            raise PlanError(
                f"the weight of the term {self.names[number]!r} in stage {self.stage.name!r} is learned by "
                f"alignment, and nothing that is trained is shared with {self.names[self.reference]!r}: "
                "train some of the trunk (trainable), or give it a number"
            )
        one, two = self._flat(own, both), self._flat(other, both)
        product, norms = float(one @ two), (float(one.norm()), float(two.norm()))
        if not all(norms):
            return None
        cosine, pair = product / (norms[0] * norms[1]), (number, self.reference)
        mine, theirs = (self._side(n, norm, both, done, shares) for n, norm in zip(pair, norms, strict=True))
        if mine is None or theirs is None:
            return cosine, None
        weight, reference = (self.terms[n].weight_at(done) for n in pair)
        return cosine, Moments(product / (weight * reference), mine[0], theirs[0], mine[1], theirs[1])

    def _side(
        self, number: int, norm: float, places: Sequence[int], done: float, shares: Sequence[float]
    ) -> tuple[float, float] | None:
        """Squared norms of the signal and, for all examples together, of the noise of a term's gradient.

        Of K slices with gradients h that add up to g, K/(K - 1) (|g|^2 - sum |h|^2) is the mean product of
        unlike ones, in which noise has no part. None where there was one slice, or where the weight is 0.
        """
        count, weight = self._slices[number], self.terms[number].weight_at(done)
        if count < 2 or not weight:
            return None
        squares = float(self._squares[number][list(places)].sum())
        signal = (norm**2 - squares) * count / (count - 1)
        return signal / weight**2, (norm**2 - signal) * shares[number] / weight**2


def _squared_norms(gradients: Sequence[Tensor | None]) -> Tensor:
    """By parameter, ``Float64[Tensor, "parameters"]``; 0 where there is no gradient."""
    none = torch.zeros(())
    norms = [none if gradient is None else gradient.norm() for gradient in gradients]
    return torch.stack([norm.double().cpu() for norm in norms]) ** 2


def _added(kept: Tensor | None, new: Tensor | None) -> Tensor | None:
    return new if kept is None else kept if new is None else kept + new
