"""What still fits in a budget: which arms, how many seeds.

What does not fit is cut in this order:

1. seeds, down to six;
2. arms that the verdict does not rest on, the dearest first: never the strategy, nor the arm without a source
   that was best on validation in the first trials;
3. seeds, down to three, with as many of the arms as then fit.

Arms are cut after the first trials only; later ones change the number of seeds, to fewer or, where trials
became cheaper, to more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from regraft.core.console import Advance, duration, progress, say
from regraft.core.errors import BudgetError, RegraftError
from regraft.evidence.arms import Arm, ArmResult
from regraft.targets import Draw

FEWEST_SEEDS = 3
_GOOD_SEEDS = 6


@dataclass
class Schedule:
    """Arms (the strategy first), seeds and what they cost; it changes as trials are run.

    Attributes
    ----------
    arms
        Those still in.
    wanted
        How many seeds were asked for.
    budget
        In seconds, None for no limit.
    higher_is_better
        How the validation metric is read.
    clock
        Seconds that only grow.
    results
        By the arm's name one result for each seed so far.
    cut
        Sentences on what was left out.
    count
        How many seeds are planned.
    predicted
        Seconds in all, as foretold after the first trials.
    """

    arms: list[Arm]
    wanted: int
    budget: float | None
    higher_is_better: bool
    clock: Callable[[], float]
    results: dict[str, list[ArmResult]] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    count: int = 0
    predicted: float = 0.0

    def __post_init__(self) -> None:
        self._start = self.clock()
        self._strategy = self.arms[0]

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self.clock() - self._start

    def measure(self, draw: Draw) -> None:
        """Run the first trial of every arm that is not already known to be too dear."""
        with progress("First trials", len(self.arms), unit="arms") as advance:
            for arm in list(self.arms):
                if not self._known_too_dear(arm):
                    self._trial(arm, draw)
                advance(note=arm.name)
        if not self._without_source():
            raise BudgetError(
                f"no arm without a source fits in the budget of {duration(self.budget or 0)} "
                f"({'; '.join(self.cut)}). Give a larger --budget"
            )

    def _known_too_dear(self, arm: Arm) -> bool:
        expected = arm.expected_seconds
        if self.budget is None or expected is None or self.spent + FEWEST_SEEDS * expected <= self.budget:
            return False
        if arm is self._strategy:
            raise BudgetError(self._refusal(self.spent + FEWEST_SEEDS * expected))
        self._drop(arm, f"{FEWEST_SEEDS} trials of about {duration(expected)} do not fit in the budget")
        return True

    def plan(self) -> None:
        """Cut what does not fit, in the stated order, and say the price before it is paid."""
        expendable = self._expendable()
        goals = (min(_GOOD_SEEDS, self.wanted), FEWEST_SEEDS)
        options = [(goal, expendable[:cut]) for goal in goals for cut in range(len(expendable) + 1)]
        for goal, dropped in options:
            if self._fits(goal, [arm for arm in self.arms if arm not in dropped]):
                break
        else:
            rest = [arm for arm in self.arms if arm not in expendable]
            raise BudgetError(self._refusal(self.spent + self._cost(FEWEST_SEEDS, rest)))
        for arm in dropped:
            self._drop(arm, f"a trial takes {duration(self._price(arm))}, too long for the budget")
        self.adjust()
        self.predicted = self.spent + self._cost(self.count, self.arms)
        limit = "" if self.budget is None else f", within the budget of {duration(self.budget)}"
        say(
            f"{len(self.arms)} arms on {self.count} seeds: about {duration(self.predicted)} in all{limit} "
            f"({duration(self.spent)} of it went into the first trials)"
        )

    def round(self, draw: Draw, advance: Advance) -> None:
        """One more seed for all arms that are left."""
        for arm in list(self.arms):
            self._trial(arm, draw)
            left = duration(self._cost(self.count, self.arms))
            advance(note=f"{arm.name}, seed {draw.seed}; about {left} left")

    def adjust(self) -> None:
        """As many seeds as fit, at least three: what was planned to fit is not given up half-way."""
        done = max(FEWEST_SEEDS, *(len(self.results[arm.name]) for arm in self.arms))
        self.count = next((n for n in range(self.wanted, done, -1) if self._fits(n, self.arms)), done)

    def left_out(self) -> tuple[str, ...]:
        """What was cut, in sentences."""
        if self.count >= self.wanted:
            return tuple(self.cut)
        return (*self.cut, f"seeds: {self.count} of {self.wanted}, the budget allows no more")

    def _trial(self, arm: Arm, draw: Draw) -> None:
        try:
            result = arm.run(draw)
        except RegraftError as error:
            if arm is self._strategy or self._without_source() == [arm]:
                raise
            self._drop(arm, f"it failed on seed {draw.seed}: {error}")
        else:
            self.results.setdefault(arm.name, []).append(result)

    def _drop(self, arm: Arm, reason: str) -> None:
        self.arms.remove(arm)
        self.results.pop(arm.name, None)
        self.cut.append(f"{arm.name}: {reason}")
        say(f"Left out: {self.cut[-1]}")

    def _without_source(self) -> list[Arm]:
        return [arm for arm in self.arms[1:] if not arm.uses_source]

    def _price(self, arm: Arm) -> float:
        """Seconds of one more trial, without what is paid only once: the mean, or the last if higher."""
        paid = [result.seconds - result.once_seconds for result in self.results[arm.name]]
        return max(float(np.mean(paid)), paid[-1])

    def _cost(self, count: int, arms: Sequence[Arm]) -> float:
        """Seconds still needed to bring the arms to ``count`` seeds."""
        return sum(self._price(arm) * max(0, count - len(self.results[arm.name])) for arm in arms)

    def _fits(self, count: int, arms: Sequence[Arm]) -> bool:
        return self.budget is None or self.spent + self._cost(count, arms) <= self.budget

    def _expendable(self) -> list[Arm]:
        """Arms that the verdict does not rest on, the dearest first."""
        best = max(self._without_source(), key=self._validation)
        others = [arm for arm in self.arms[1:] if arm is not best]
        return sorted(others, key=self._price, reverse=True)

    def _validation(self, arm: Arm) -> float:
        figure = self.results[arm.name][0].validation
        if math.isnan(figure):
            return -math.inf
        return figure if self.higher_is_better else -figure

    def _refusal(self, needed: float) -> str:
        return (
            f"{FEWEST_SEEDS} seeds of {self._strategy.name} and an arm without a source do not fit in the "
            f"budget of {duration(self.budget or 0)}: they need about {duration(needed)}. "
            f"Give --budget {math.ceil(1.2 * needed)}s or more, or fewer labels"
        )
