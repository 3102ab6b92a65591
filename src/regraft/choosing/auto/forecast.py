"""Forecast: what a trial and a final fit will take, from prices and from what was measured so far.

A price counts every forward and backward pass as eager PyTorch runs it; what a run really takes differs with
the machine's load and with what is compiled or kept. So each trial that ends corrects what is foretold: the
entrant's own next trials by its own time, those of others by the ratio of measured to priced seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

from regraft.choosing.auto.entrants import Entrant
from regraft.choosing.auto.folds import SHARE
from regraft.choosing.auto.trial import Trial

COMPILED = 6.0
"""How many times as fast as eager a compiled prefix is at best, on a CPU (OpenVINO, EfficientNet-Lite0)."""
CLOSING = 2.0
"""Seconds for figures with their intervals, the model's file and the report."""


class Forecast:
    """What things take.

    Parameters
    ----------
    opening
        Seconds that opening source, link and data took, which the final fit does once more.
    test
        How many examples the test part has.
    pool
        How many labelled examples may be used.
    """

    def __init__(self, *, opening: float, test: int, pool: int):
        self.opening, self.test, self.pool = opening, test, pool
        self.fixed = 0.0
        self._frozen = 0.0
        self._whole = 0.0
        self._kept: set[str] = set()
        self._training: dict[str, list[float]] = {}
        self._priced: list[tuple[float, float]] = []

    @property
    def ratio(self) -> float:
        """Measured to priced seconds of training."""
        priced = sum(price for price, _ in self._priced)
        return sum(measured for _, measured in self._priced) / priced if priced > 0 else 1.0

    def anchor(self, entrant: Entrant, trial: Trial) -> None:
        """Learn from the probe: the pass over all labels, and what a trial takes beside training."""
        self._whole = entrant.price.features / max(entrant.price.examples, 1)
        priced = self._whole * self.pool
        # Where everything was kept already, nothing was measured.
        self._frozen = max(trial.frozen, priced / COMPILED)
        self.fixed = trial.seconds - trial.frozen

    def learn(self, entrant: Entrant, trial: Trial) -> None:
        """Learn from a trial of one that trains."""
        training = max(trial.seconds - trial.frozen - self.fixed, 0.0)
        self._training.setdefault(entrant.name, []).append(training)
        self._priced.append((entrant.training * SHARE, training))
        self._kept.update(entrant.prefixes)

    def like(self, variant: Entrant, entrant: Entrant) -> None:
        """Foretell a variant's training by that of the entrant whose plan it changes."""
        self._training.setdefault(variant.name, list(self._training.get(entrant.name, ())))

    def trial(self, entrant: Entrant, *, share: float = 1.0) -> float:
        """Seconds of the entrant's next trial, with this share of its steps."""
        return self.fixed + self._prefix(entrant) + share * self._train(entrant)

    def final(self, entrant: Entrant, *, share: float = 1.0) -> float:
        """Seconds from the end of the race to that of the run, should the entrant win."""
        # A trained network is new to every backend; what a probe reads goes on as it was measured.
        each = self._whole if entrant.training else self._frozen / max(self.pool, 1)
        scoring = each * self.test
        return self.opening + self.fixed + share * self._train(entrant) / SHARE + scoring + CLOSING

    def dearest(self, entrants: Iterable[Entrant]) -> float:
        """The most that a final fit of any of them takes."""
        return max((self.final(one) for one in entrants), default=0.0)

    def _train(self, entrant: Entrant) -> float:
        """Seconds of its training in a fold."""
        own = self._training.get(entrant.name)
        return max(own[-1], sum(own) / len(own)) if own else self.ratio * entrant.training * SHARE

    def _prefix(self, entrant: Entrant) -> float:
        """A pass over all labels for each prefix that nobody has run yet; the whole network is no cheaper."""
        return self._frozen * len(set(entrant.prefixes) - self._kept)
