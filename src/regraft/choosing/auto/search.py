"""A search for settings, where one is asked for: a tree-structured Parzen estimator (Bergstra et al. 2011,
"Algorithms for hyper-parameter optimization"), as Optuna has it.

It looks at few trials on the same folds again and again, so what it finds is flattered more than what a
portfolio offers: a run whose settings were searched is proven on seeds that the search has not seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from regraft.choosing.auto.entrants import Entrant
from regraft.choosing.auto.variants import Variants, scaled, set_by_hand, variant, without
from regraft.choosing.portfolio import changes_of, portfolio
from regraft.choosing.portfolio.changing import middle
from regraft.core.optional import require

RATES = (1 / 30, 30.0)
"""Factors of the plan's own rates between which is searched."""
BATCHES = (0.5, 1.0, 2.0)


class FromSearch(Variants):
    """Variants that a search suggests.

    Parameters
    ----------
    count
        How many at the most.
    seed
        Of the search.
    held
        What a person set, ``KEY=VALUE``.

    Raises
    ------
    MissingPackageError
        Where Optuna is not installed.
    """

    def __init__(self, count: int, *, seed: int, held: Iterable[str] = ()):
        self.count, self.held = count, set_by_hand(held)
        self._optuna = require("optuna", "Searching settings", "regraft[search]")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._study = self._optuna.create_study(
            direction="maximize", sampler=self._optuna.samplers.TPESampler(seed=seed)
        )
        self._asked: dict[str, Any] = {}
        self._seen: set[tuple[str, ...]] = {()}
        self._tries = 0

    def ask(self, leader: Entrant) -> Entrant | None:
        if not self._tries:
            self._begin()
        while self._tries < self.count:
            self._tries += 1
            trial = self._study.ask(self._space)
            changes = tuple(self._changes(leader, trial.params))
            if changes not in self._seen:
                self._seen.add(changes)
                one = variant(leader, changes)
                self._asked[one.name] = trial
                return one
            # The same plan would give the same figures.
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return None

    def tell(self, variant: Entrant, gain: float) -> None:
        self._study.tell(self._asked[variant.name], gain)

    @property
    def _space(self) -> dict[str, Any]:
        kinds = self._optuna.distributions
        return {
            "rate": kinds.FloatDistribution(*RATES, log=True),
            "batch": kinds.CategoricalDistribution(BATCHES),
        }

    def _begin(self) -> None:
        """What is known before: the leader's own settings gain nothing."""
        own = {"rate": 1.0, "batch": 1.0}
        self._study.add_trial(
            self._optuna.trial.create_trial(params=own, distributions=self._space, value=0.0)
        )

    def _changes(self, leader: Entrant, found: dict[str, float]) -> list[str]:
        usual = middle(portfolio())
        wanted = scaled(usual, rate=float(f"{found['rate']:.3g}"), batch=found["batch"])
        return without(changes_of(wanted, leader.plan, usual=usual), self.held)
