"""Trials of a learning curve: what the verdict's trials left of the budget, spent on other numbers of labels.

What does not fit is cut in this order: seeds, down to four; arms other than the strategy and the reference,
the dearest first; the largest numbers of labels, down to one beside the run's own; then the curve. A point
that turns out dearer than was foretold ends the curve before the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.core.console import duration, progress, say
from regraft.core.errors import RegraftError, UsageError
from regraft.evidence.arms import Arm, ArmResult
from regraft.evidence.trials import Trials
from regraft.targets import Draw

_FEWEST = 4  # seeds
_CHEAPEST = 0.3  # of a trial's time, however few its labels


@dataclass(frozen=True)
class PointTrials:
    """All arms on every seed's draw of one size.

    ``per_class`` is None where the size is the run's ``own`` and not among those asked for.
    """

    per_class: int | None
    draws: tuple[Draw, ...]
    results: dict[str, tuple[ArmResult, ...]]
    own: bool = False

    @property
    def labels(self) -> float:
        """Labelled examples of a draw, validation included, on average."""
        return _labels(self.draws)


@dataclass(frozen=True)
class CurveTrials:
    """What was run, fewest labels first, for these arms; sentences on what was left out, seconds."""

    arms: tuple[Arm, ...]
    points: tuple[PointTrials, ...]
    cut: tuple[str, ...]
    predicted_seconds: float = 0.0
    spent_seconds: float = 0.0


def check_points(points: Sequence[int]) -> tuple[int, ...]:
    """Ascending labels per class. Raises :class:`UsageError` for what makes no curve."""
    found = tuple(sorted(set(points)))
    if len(found) < 2 or found[0] < 2:
        raise UsageError(
            f"a curve needs at least two different numbers of labels per class, each 2 or more; got "
            f"{', '.join(map(str, points)) or 'none'}. For example: --curve 10,25,50"
        )
    return found


def run_curve(
    trials: Trials,
    reference: Arm,
    points: Sequence[int],
    draw: Callable[[int, int], Draw],
    *,
    budget: float | None,
    clock: Callable[[], float] = time.monotonic,
) -> CurveTrials:
    """Run the strategy and the arms without a source on draws of other sizes.

    Parameters
    ----------
    trials
        Those of the verdict, whose results are the curve's point at the run's own number of labels.
    reference
        The arm that the verdict compares with.
    points
        Labels per class, ascending.
    draw
        From a seed and labels per class to its draw.
    budget
        Seconds that are left, None for no limit.
    """
    return _Curve(trials, reference, points, draw, budget, clock).run()


class _Curve:
    def __init__(
        self,
        trials: Trials,
        reference: Arm,
        points: Sequence[int],
        draw: Callable[[int, int], Draw],
        budget: float | None,
        clock: Callable[[], float],
    ):
        self.trials, self.reference, self.budget, self.clock = trials, reference, budget, clock
        others = [arm for arm in trials.arms[1:] if not arm.uses_source and arm is not reference]
        self.arms = [trials.arms[0], reference, *sorted(others, key=self._price)]
        self.seeds, self.cut, self.start = len(trials.draws), list[str](), clock()
        self.own = _labels(trials.draws)
        self.own_point: int | None = None
        self.draws = self._draws(points, draw)

    def _draws(self, points: Sequence[int], draw: Callable[[int, int], Draw]) -> dict[int, tuple[Draw, ...]]:
        """Those that have more labels than the one before, and others than the run's own."""
        made: dict[int, tuple[Draw, ...]] = {}
        before = 0.0
        for point in points:
            draws = tuple(draw(one.seed, point) for one in self.trials.draws)
            if _labels(draws) <= before:
                self.cut.append(f"{point} labels per class: the pool has no more than {before:.0f} labels")
                continue
            before = _labels(draws)
            if all(_same(one, own) for one, own in zip(draws, self.trials.draws, strict=True)):
                self.own_point = point
            else:
                made[point] = draws
        return made

    def run(self) -> CurveTrials:
        predicted = self._plan()
        own = self.trials.draws[: self.seeds]
        done = [PointTrials(self.own_point, own, self._own_results(), own=True)]
        total = len(self.draws) * len(self.arms) * self.seeds
        with progress("Learning curve", total, unit="trials") as advance:
            for point, draws in list(self.draws.items()):
                if not self._still_fits(done, point):
                    break
                results = self._point(draws[: self.seeds], point, advance)
                if results is not None:
                    done.append(PointTrials(point, draws[: self.seeds], results))
        kept = [arm for arm in self.arms if all(arm.name in point.results for point in done)]
        ordered = tuple(sorted(done, key=lambda point: point.labels))
        return CurveTrials(tuple(kept), ordered, tuple(self.cut), predicted, self.clock() - self.start)

    def _point(
        self, draws: Sequence[Draw], point: int, advance: Callable[..., None]
    ) -> dict[str, tuple[ArmResult, ...]] | None:
        """Results by arm; None where strategy or reference failed: the verdict stands without them."""
        results = {}
        for arm in list(self.arms):
            try:
                found = []
                for draw in draws:
                    found.append(arm.run(draw))
                    advance(note=f"{arm.name}, {point} per class")
                results[arm.name] = tuple(found)
            except RegraftError as error:
                if arm.name in (self.arms[0].name, self.reference.name):
                    self.cut.append(f"{point} labels per class: {arm.name} failed: {error}")
                    say(f"Left out: {self.cut[-1]}")
                    return None
                self.arms = [one for one in self.arms if one is not arm]
                self.cut.append(f"{arm.name}: it failed at {point} labels per class: {error}")
        return results

    def _own_results(self) -> dict[str, tuple[ArmResult, ...]]:
        return {name: results[: self.seeds] for name, results in self.trials.results.items()}

    def _price(self, arm: Arm) -> float:
        paid = [result.seconds - result.once_seconds for result in self.trials.results[arm.name]]
        return float(np.mean(paid))

    def _cost(self, points: Sequence[int], arms: Sequence[Arm], seeds: int) -> float:
        """Seconds, if a trial takes as long as it has labels; choosing among plans is paid at every point."""
        shares = [max(_CHEAPEST, _labels(self.draws[point]) / self.own) for point in points]
        trials = [self._price(arm) * (seeds + len(getattr(arm, "offered", ())[1:])) for arm in arms]
        return sum(shares) * sum(trials)

    def _plan(self) -> float:
        """Cut what does not fit, in the stated order, and say the price before it is paid."""
        points, all_arms, wanted = list(self.draws), list(self.arms), self.seeds
        options = [(points, all_arms, n) for n in range(wanted, min(_FEWEST, wanted) - 1, -1)]
        few = options[-1][2]
        options += [(points, all_arms[:n], few) for n in range(len(all_arms) - 1, 1, -1)]
        options += [(points[:n], all_arms[:2], few) for n in range(len(points) - 1, 0, -1)]
        fitting = [one for one in options if self.budget is None or self._cost(*one) <= self.budget]
        if not fitting or not points:
            return self._none(self._cost(*options[-1]) if points else 0.0)
        points, self.arms, self.seeds = fitting[0]
        self._write_down(points, all_arms, wanted)
        self.draws = {point: self.draws[point] for point in points}
        cost = self._cost(points, self.arms, self.seeds)
        left = "" if self.budget is None else f", of {duration(self.budget)} left in the budget"
        listed = ", ".join(map(str, points))
        say(
            f"Learning curve: {len(self.arms)} arms at {listed} labels per class on {self.seeds} seeds: "
            f"about {duration(cost)}{left}"
        )
        return cost

    def _none(self, needed: float) -> float:
        if needed:
            self.cut.append(
                f"the learning curve: its least takes about {duration(needed)} more, and "
                f"{duration(self.budget or 0)} of the budget are left; give a larger --budget"
            )
            say(f"Left out: {self.cut[-1]}")
        self.draws = {}
        return 0.0

    def _write_down(self, points: Sequence[int], arms: Sequence[Arm], wanted: int) -> None:
        why = "the budget allows no more"
        if self.seeds < wanted:
            self.cut.append(f"seeds of the curve: {self.seeds} of {wanted}, {why}")
        self.cut += [f"{arm.name} in the curve: {why}" for arm in arms[len(self.arms) :]]
        dropped = [str(point) for point in self.draws if point not in points]
        if dropped:
            self.cut.append(f"{', '.join(dropped)} labels per class: {why}")

    def _still_fits(self, done: Sequence[PointTrials], point: int) -> bool:
        """Whether the next point fits if it costs what the last one did, and more as it has more labels."""
        if self.budget is None or len(done) < 2:
            return True
        last = done[-1]
        paid = sum(result.seconds for results in last.results.values() for result in results)
        next_one = paid * _labels(self.draws[point]) / last.labels
        if self.clock() - self.start + next_one <= self.budget:
            return True
        rest = [str(each) for each in self.draws if each >= point]
        self.cut.append(f"{', '.join(rest)} labels per class: they take longer than was foretold")
        say(f"Left out: {self.cut[-1]}")
        return False


def _same(one: Draw, other: Draw) -> bool:
    """Whether two draws hold the same examples."""
    pairs = ((one.train, other.train), (one.validation, other.validation))
    return all(np.array_equal(np.sort(mine), np.sort(theirs)) for mine, theirs in pairs)


def _labels(draws: Sequence[Draw]) -> float:
    return float(np.mean([len(draw.train) + len(draw.validation) for draw in draws]))
