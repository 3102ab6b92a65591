"""Weights of terms: constant, moving by a schedule, or learned."""

from __future__ import annotations

import math
from dataclasses import dataclass

from regraft.engine.learned import LearnedWeight
from regraft.plans.schema import Schedule
from regraft.terms import Term


@dataclass(frozen=True)
class WeightedTerm:
    """A term with the weight that the plan gives it."""

    term: Term
    weight: float | Schedule | LearnedWeight

    def weight_at(self, done: float) -> float:
        """The weight when the share ``done`` of the stage's steps is done; a learned one as it is now."""
        if isinstance(self.weight, LearnedWeight):
            return self.weight.value
        if isinstance(self.weight, float | int):
            return float(self.weight)
        span = max(self.weight.finish - self.weight.begin, 1e-12)
        x = min(max((done - self.weight.begin) / span, 0.0), 1.0)
        shapes = {
            "linear": x,
            "cosine": 0.5 * (1 - math.cos(math.pi * x)),
            # From 0 to 1 with slope 10, as domain-adversarial training ramps its weight (Ganin et al. 2016).
            "sigmoid": 2 / (1 + math.exp(-10 * x)) - 1,
        }
        return self.weight.start + (self.weight.end - self.weight.start) * shapes[self.weight.schedule]
