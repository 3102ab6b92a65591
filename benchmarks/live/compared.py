"""What fine-tuning gave and what was said before, target by target; means over targets with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RANK, ORDERED, FACTS = "rank", ", the board's order", "facts alone"
ORDER = RANK + ORDERED
RACE, REFIT, RACELESS = "a race of all", "rank, mended", "rank, without its race"
RESAMPLES = 10_000
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Compared:
    """One target: what fine-tuning gave, and what was said before.

    Attributes
    ----------
    accuracies
        ``float64 (K,)`` of the fine-tuned sources, the mean over seeds.
    by_seed
        ``float64 (S, K)``.
    tests
        Examples of the test part.
    seconds
        ``float64 (K,)``: processor seconds of fine-tuning each once.
    said
        By ranking, ``float64 (K,)``: higher is better.
    look
        The record of the ranking.
    """

    name: str
    sources: tuple[str, ...]
    accuracies: np.ndarray
    by_seed: np.ndarray
    tests: int
    seconds: np.ndarray
    said: dict[str, np.ndarray]
    look: Record

    @property
    def rows(self) -> dict[str, Record]:
        """The board's rows by source."""
        return {row["name"]: row for row in self.look["board"]["rows"]}


def compared(truth: Sequence[Record], looks: Sequence[Record], *more: Sequence[Record]) -> list[Compared]:
    """Targets all of whose sources were fine-tuned and ranked.

    Records of ``more``, such as races, are added to those of the rankings of the same target.
    """
    seeds = common_seeds(truth, {look["target"] for look in looks})
    found = []
    for ranking in looks:
        look = dict(ranking)
        for records in more:
            look |= next((one for one in records if one["target"] == look["target"]), {})
        name, sources = look["target"], tuple(look["scores"]["parameters"])
        there = [one for one in truth if one["target"] == name and "accuracy" in one]
        held = {(one["seed"], one["source"]): one for one in there}
        whole = [seed for seed in seeds if all((seed, source) in held for source in sources)]
        if not whole:
            continue
        by_seed = np.array([[held[seed, source]["accuracy"] for source in sources] for seed in whole])
        seconds = np.array([held[whole[0], source]["processor seconds"] for source in sources])
        tests = held[whole[0], sources[0]]["tests"]
        said = _said(look, sources)
        found.append(Compared(name, sources, by_seed.mean(axis=0), by_seed, tests, seconds, said, look))
    return found


def common_seeds(truth: Sequence[Record], targets: set[str]) -> list[int]:
    """Seeds with which as many pairs of every target were fine-tuned as with the first one."""
    count = Counter((one["target"], one["seed"]) for one in truth)
    seeds = sorted({one["seed"] for one in truth})
    return [seed for seed in seeds if all(count[name, seed] == count[name, seeds[0]] for name in targets)]


def _said(look: Record, sources: Sequence[str]) -> dict[str, np.ndarray]:
    expected = {row["name"]: row["expected"] or 0.0 for row in look["board"]["rows"]}
    every = {**_of(look["board"], RANK), FACTS: expected, **look["scores"]}
    if "raced" in look:
        every[RACE] = dict(zip(sources, look["raced"], strict=True))
    for name, key in ((REFIT, "refit raced"), (RACELESS, "refit raceless")):
        if key in look:
            every |= _of(look[key]["board"], name)
    return {name: np.array([rounded(values[source]) for source in sources]) for name, values in every.items()}


def _of(board: Record, name: str) -> dict[str, dict[str, float]]:
    """What a board says of its sources: predicted accuracies, and places."""
    rows = board["rows"]
    predicted = {row["name"]: -1.0 if row["predicted"] is None else row["predicted"] for row in rows}
    places = {row["name"]: -float(number) for number, row in enumerate(rows)}
    return {name: predicted, f"{name}{ORDERED}": places}


def rounded(score: float) -> float:
    """Without the rounding errors by which scores differ that are equal: H of more features than examples."""
    return float(f"{round(score, 7):.7g}")


def over_targets(values: Sequence[float]) -> list[float]:
    """The mean and the ends of its 95% percentile bootstrap interval over targets."""
    random, wide = np.random.default_rng(0), np.asarray(values)
    means = random.choice(wide, (RESAMPLES, len(wide))).mean(axis=1)
    return [float(wide.mean()), *(float(end) for end in np.quantile(means, (0.025, 0.975)))]


def interval(values: Sequence[float], digits: int) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in values)
    return middle if low == middle == high else f"{middle} ({low} to {high})"
