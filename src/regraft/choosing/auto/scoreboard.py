"""Scoreboard: the values of all trials, as one table of entrants by (fold, example)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from regraft.choosing.auto.folds import Fold
from regraft.choosing.auto.judging import Values


@dataclass(frozen=True)
class Table:
    """What entrants can be compared by: the same rows for all.

    Attributes
    ----------
    values
        ``float64 (entrants, rows)``, higher is better.
    folds, examples
        ``int64 (rows,)``: of which fold, and which example of the target.
    """

    values: np.ndarray
    folds: np.ndarray
    examples: np.ndarray


@dataclass
class Scoreboard:
    """Values by entrant and fold.

    Attributes
    ----------
    anchor
        The entrant in whose standard deviations several outputs are put together: the probe.
    """

    anchor: str
    folds: list[Fold] = field(default_factory=list)
    found: dict[str, dict[int, Values]] = field(default_factory=dict)

    def add(self, name: str, number: int, values: Values) -> None:
        """Keep what an entrant did in a fold."""
        self.found.setdefault(name, {})[number] = values

    def count(self, name: str) -> int:
        """In how many folds an entrant was tried."""
        return len(self.found.get(name, {}))

    def table(self, names: Sequence[str]) -> Table:
        """The folds that all of these entrants were tried in."""
        numbers = sorted(set.intersection(*(set(self.found[name]) for name in names)))
        spread = {output: self._spread(output) for output in self._outputs}
        columns = [np.concatenate([self._combined(name, k, spread) for k in numbers]) for name in names]
        folds = np.concatenate([np.full(len(self.folds[k].judged), k) for k in numbers])
        examples = np.concatenate([self.folds[k].judged for k in numbers])
        values = np.stack(columns)
        there = ~np.isnan(values).any(axis=0)
        return Table(values[:, there], folds[there], examples[there])

    @property
    def _outputs(self) -> tuple[str, ...]:
        return tuple(next(iter(self.found[self.anchor].values())))

    def _spread(self, output: str) -> tuple[float, float]:
        """Mean and standard deviation of the anchor's values for an output; 0 and 1 where it is the only
        one, so that they stay as they are.
        """
        if len(self._outputs) == 1:
            return 0.0, 1.0
        known = np.concatenate([values[output] for values in self.found[self.anchor].values()])
        known = known[~np.isnan(known)]
        return (float(known.mean()), float(known.std()) or 1.0) if len(known) else (0.0, 1.0)

    def _combined(self, name: str, number: int, spread: dict[str, tuple[float, float]]) -> np.ndarray:
        """One number for each judged example: the mean over the outputs that it has a label of."""
        values = self.found[name][number]
        rows = np.stack([(values[output] - mean) / scale for output, (mean, scale) in spread.items()])
        known = ~np.isnan(rows)
        total, count = np.where(known, rows, 0.0).sum(0), known.sum(0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)
