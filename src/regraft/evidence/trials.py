"""Trials: every arm on every seed's draw, at a price said first and kept within the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.core.console import progress
from regraft.core.errors import UsageError
from regraft.evidence.arms import Arm, ArmResult
from regraft.evidence.schedule import FEWEST_SEEDS, Schedule
from regraft.targets import Draw


@dataclass(frozen=True)
class Trials:
    """What was run.

    Attributes
    ----------
    draws
        One for each seed.
    arms
        Those that went through all seeds, the strategy first.
    results
        By the arm's name one result for each draw.
    cut
        Sentences: what the budget left out.
    budget_seconds, predicted_seconds, spent_seconds
        Allowed (None: no limit), foretold after the first trials, and used.
    """

    draws: tuple[Draw, ...]
    arms: tuple[Arm, ...]
    results: dict[str, tuple[ArmResult, ...]]
    cut: tuple[str, ...] = ()
    budget_seconds: float | None = None
    predicted_seconds: float = 0.0
    spent_seconds: float = 0.0

    @property
    def overlap(self) -> float:
        """The fraction of its labelled examples, validation included, that a draw shares with another."""
        return draws_overlap(self.draws)


def draws_overlap(draws: Sequence[Draw]) -> float:
    """The fraction of its labelled examples, validation included, that a draw shares with another."""
    used = [np.union1d(draw.train, draw.validation) for draw in draws]
    pairs = [
        len(np.intersect1d(one, other)) / max(1, min(len(one), len(other)))
        for at, one in enumerate(used)
        for other in used[:at]
    ]
    return float(np.mean(pairs)) if pairs else 0.0


def run_trials(
    arms: Sequence[Arm],
    draw: Callable[[int], Draw],
    *,
    seeds: Sequence[int],
    budget: float | None = None,
    higher_is_better: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Trials:
    """Run every arm on every seed's draw, as far as the budget goes.

    The price is foretold from one trial of each arm and said. What does not fit is cut as
    :mod:`regraft.evidence.schedule` states, and what was cut is written down.

    Parameters
    ----------
    arms
        The strategy to be proven first.
    draw
        From a seed to its draw; all arms see the same draws.
    seeds
        In this order; at least three.
    budget
        In seconds; None for no limit.
    higher_is_better
        How the validation metric is read, to know which arms the verdict rests on.

    Raises
    ------
    BudgetError
        Where three seeds of the strategy and one arm without a source do not fit; it says what would.
    UsageError
        Where there is nothing to compare.
    """
    _check(arms, seeds)
    schedule = Schedule(list(arms), len(seeds), budget, higher_is_better, clock)
    draws = [draw(seeds[0])]
    schedule.measure(draws[0])
    schedule.plan()
    with progress("Trials", len(schedule.arms) * (schedule.count - 1), unit="trials") as advance:
        for seed in seeds[1:]:
            if len(draws) >= schedule.count:
                break
            draws.append(draw(seed))
            schedule.round(draws[-1], advance)
            schedule.adjust()
    return Trials(
        draws=tuple(draws),
        arms=tuple(schedule.arms),
        results={arm.name: tuple(schedule.results[arm.name]) for arm in schedule.arms},
        cut=schedule.left_out(),
        budget_seconds=budget,
        predicted_seconds=schedule.predicted,
        spent_seconds=schedule.spent,
    )


def _check(arms: Sequence[Arm], seeds: Sequence[int]) -> None:
    names = [arm.name for arm in arms]
    if len(set(names)) != len(names):
        raise UsageError(f"arms need different names, found {', '.join(names)}")
    if not any(not arm.uses_source for arm in arms[1:]):
        raise UsageError(
            f"there is no arm without a source to compare with among {', '.join(names[1:]) or 'no others'}; "
            "add the plain baseline"
        )
    if len(set(seeds)) < FEWEST_SEEDS or len(set(seeds)) != len(seeds):
        raise UsageError(
            f"at least {FEWEST_SEEDS} different seeds are needed, found {list(seeds)}: --seeds 8"
        )
