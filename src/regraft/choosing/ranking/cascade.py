"""The cascade: a prior, a first look at all candidates, more examples for those that may be best, a race.

After each stage candidates are dropped that together have under 5% probability to hold the best after
fine-tuning (:mod:`regraft.choosing.ranking.belief`). Samples are nested and features are kept, so that a
stage computes only what is new in it. Only labels of the pool are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
import torch

from regraft.choosing.prior import expected
from regraft.choosing.ranking.belief import Belief, inexact, keep, prior_of, update
from regraft.choosing.ranking.budget import (
    MOST,
    Clock,
    FirstLook,
    first_count,
    fitting_count,
    plan_first_look,
)
from regraft.choosing.ranking.candidate import Candidate
from regraft.choosing.ranking.entrant import Entrant, guarded
from regraft.choosing.ranking.errand import Errand, foretold, looked, priced, raced, timed
from regraft.choosing.ranking.forecast import STEPS
from regraft.choosing.ranking.race import can_race
from regraft.choosing.ranking.reader import Reader
from regraft.choosing.ranking.sample import Sample, draw_sample
from regraft.choosing.ranking.score import Score, resample_together
from regraft.core.console import Advance, duration, progress, say
from regraft.core.executors import Executor, Here, Outcome, together
from regraft.core.executors.executor import Given, Work
from regraft.core.task_spec import TaskSpec
from regraft.engine import Settings
from regraft.targets import Target

LEAST = 0.05
"""Candidates are dropped, the least likely first, as long as the best one is among all that a stage drops
with less than this probability. (By themselves all of thirty equal ones would be below it.)"""
_PRICED = 100  # examples that a network could read in the time that measuring its price takes
_SURE = 0.8  # of what is left: the most that more examples may be foretold to take


@dataclass
class Cascade:
    """One ranking while it is made.

    Parameters
    ----------
    target, spec
        The data, and the output that sources are compared on.
    settings, device
        How networks are run.
    seed
        Decides which examples are taken.
    executor
        Carries out what a stage does with each of its candidates. What is decided after a stage does not
        depend on how many it carries out at once; what a budget cuts may.
    pace
        What the last look took beside what was foretold, where that was more.
    """

    target: Target
    spec: TaskSpec
    settings: Settings
    device: torch.device
    seed: int
    clock: Clock
    executor: Executor = field(default_factory=Here)
    entrants: list[Entrant] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    predicted: float = 0.0
    sample: Sample | None = None
    pace: float = 1.0
    _whole: int = 0  # examples that were read at their whole size
    _thought: tuple[list[Entrant], Belief] | None = None

    def run(self, candidates: Sequence[Candidate]) -> list[Entrant]:
        """All stages; what was found is in the entrants."""
        standings = expected([one.facts for one in candidates])
        self.entrants = [
            Entrant(one, standing, Reader(one.source, self.settings, self.device))
            for one, standing in zip(candidates, standings, strict=True)
        ]
        largest = self._sample(min(len(self.target.pool), MOST))
        self._time(largest)
        self._first_look(largest)
        self._price(self.alive)
        self._more(largest)
        self._race()
        self._price(sorted(self.entrants, key=lambda one: -(one.chance or 0.0)))
        unpriced = [one.name for one in self.entrants if one.score and one.price is None and not one.failed]
        if unpriced:
            self.skipped.append(f"what fine-tuning takes: {', '.join(unpriced)}")
        return self.entrants

    @property
    def alive(self) -> list[Entrant]:
        """Candidates that may still be chosen."""
        return [one for one in self.entrants if one.alive]

    def _sample(self, count: int) -> Sample:
        return draw_sample(self.target, self.spec, count, seed=self.seed)

    def _ask(
        self,
        work: Work[Errand, Given],
        entrants: Iterable[Entrant],
        sample: Sample,
        *,
        smaller: bool = False,
        advance: Advance | None = None,
    ) -> Iterator[tuple[Entrant, Outcome[Given]]]:
        """What came of an errand to each; ``entrants`` are asked for when there is a worker for them."""
        begun = list[Entrant]()

        def errands() -> Iterator[Errand]:
            for one in entrants:
                begun.append(one)
                yield Errand.to(one.name, self._reader(one, smaller), sample)

        def tick(place: int, count: int) -> None:
            if advance is not None:
                advance(count, note=begun[place].name)

        found = self.executor.run(work, errands(), self.target, title=attrgetter("name"), tick=tick)
        for place, outcome in found:
            yield begun[place], outcome

    def _time(self, sample: Sample) -> None:
        wanted = sorted(self.entrants, key=lambda one: -one.standing.mean)
        opened = list[Entrant]()
        with progress("Opening sources", len(wanted), unit="sources") as advance:
            for one, outcome in self._ask(timed, self._while_time(wanted, least=1), sample):
                opened.append(one)
                with guarded(one):
                    one.seconds = outcome.get()
                advance(note=one.name)
        for one in wanted:
            if one not in opened:
                one.left_out = "there was no time left to open it, and facts about it promise less"

    def _first_look(self, largest: Sample) -> None:
        alive = self.alive
        if not alive:
            return
        count = first_count(len(largest), len(self.spec.classes))
        look = plan_first_look(
            [one.seconds for one in alive],
            can_shrink=[one.candidate.smaller is not None for one in alive],
            expected=[one.standing.mean for one in alive],
            count=count,
            left=self.clock.left,
            workers=self.executor.workers,
        )
        self._foretell(alive, look, len(largest))
        for place, one in enumerate(alive):
            if place not in look.tried:
                one.left_out = "the budget does not allow for it, and facts about it promise less"
                one.close()
        self.skipped += look.cut
        self._look(look.count, smaller=look.smaller)
        if look.smaller and self.alive:
            self._whole_size(look.count)

    def _foretell(self, alive: Sequence[Entrant], look: FirstLook, most: int) -> None:
        each = self._together([alive[place].seconds for place in look.tried])
        rounds = len(look.tried) > 1
        self.predicted = self.clock.spent + each * (most if rounds else look.count)
        limit = "" if self.clock.budget is None else f"; the budget is {duration(self.clock.budget)}"
        further = f", {duration(each * most)} if none is dropped up to {most}" if rounds else ""
        say(
            f"Looking at {len(look.tried)} sources on {look.count} labelled examples: about "
            f"{duration(each * look.count)}{further}{limit}. What is kept already is not run again."
        )
        for sentence in look.cut:
            say(f"For the budget, {sentence}.")

    def _whole_size(self, count: int) -> None:
        """Look at those that are left at their whole input size, on as many examples as there is time for."""
        each = self._together([one.seconds for one in self.alive])
        many = fitting_count(each, count, _SURE * self.clock.left)
        if many < count:
            most = f"more than {many} examples" if many else "any example"
            left = duration(max(self.clock.left, 0.0))
            self.skipped.append(f"the whole input size on {most}: {left} of the budget are left")
            say(f"For the budget, {self.skipped[-1]}.")
        if many:
            self._look(many, smaller=False)

    def _look(self, count: int, *, smaller: bool) -> None:
        """Score all that are alive on a sample, and drop."""
        stage = "more examples" if self._whole else "first look"
        alive, sample = self.alive, self._readable(count)
        begun = self.clock.spent
        with progress(_title(stage, smaller), len(alive) * len(sample)) as advance:
            for one, outcome in self._ask(looked, alive, sample, smaller=smaller, advance=advance):
                with guarded(one):
                    look = outcome.get()
                    one.score = look.score
                    self._reader(one, smaller).backend = look.backend
                one.stage = stage
        if not smaller:
            usual = self._together([one.seconds for one in alive]) * (len(sample) - self._whole)
            # What is kept from before is faster, and says nothing of what is to come.
            self.pace = max(1.0, (self.clock.spent - begun) / usual) if usual > 0 else 1.0
            self._whole = max(self._whole, len(sample))
        self._decide(STEPS.smaller if smaller else STEPS.apart)

    def _reader(self, one: Entrant, smaller: bool) -> Reader:
        if not smaller or one.candidate.smaller is None:
            return one.reader
        if one.looker is None:
            one.looker = Reader(one.candidate.smaller, self.settings, self.device)
        return one.looker

    def _readable(self, count: int) -> Sample:
        """A sample without what cannot be read, whichever source reads it."""
        sample = self._sample(count)
        self.sample = sample.readable(self.alive[0].candidate.source.preprocessing)
        return self.sample

    def _decide(self, noise: float) -> None:
        """What is thought of those that are alive, and who is dropped."""
        alive = self.alive
        if not alive:
            return
        scores = [one.score for one in alive if one.score is not None]
        measured = resample_together(scores, seed=self.seed)
        values = np.array([score.value for score in scores])
        before = prior_of([one.standing for one in alive], values, measured.std(axis=0))
        self._settle(alive, update(before, measured, noise))

    def _settle(self, alive: Sequence[Entrant], belief: Belief) -> None:
        self._thought = (list(alive), belief)
        for one, value, error, chance in zip(alive, belief.mean, belief.spread, belief.best, strict=True):
            one.value, one.error, one.chance = float(value), float(error), float(chance)
        leader = alive[int(np.argmax(belief.mean))]
        gone = 0.0
        for one in sorted(alive, key=lambda one: one.chance or 0.0):
            gone += one.chance or 0.0
            if one is leader or gone >= LEAST:
                return
            count = one.score.count if one.score else 0
            one.dropped = (
                f"{one.stage}, {count} examples: {one.chance:.1%} probability to be the best, behind "
                f"{leader.name}"
            )
            one.close()

    def _more(self, largest: Sample) -> None:
        """Twice as many examples for those that are left, as long as there are several and there is time."""
        while len(self.alive) > 1 and self.sample is not None and len(self.sample) < len(largest):
            have = len(self.sample)
            count = min(2 * have, len(largest))
            need = self.pace * self._together([one.seconds for one in self.alive]) * (count - have + _PRICED)
            if need > _SURE * self.clock.left:
                self.skipped.append(
                    f"more than {have} examples: {count} take about {duration(need)}, "
                    f"{duration(max(self.clock.left, 0.0))} of the budget are left"
                )
                say(f"For the budget, {self.skipped[-1]}.")
                return
            self._look(count, smaller=False)
            if self.sample is not None and len(self.sample) <= have:
                return  # the others cannot be read

    def _price(self, entrants: Sequence[Entrant]) -> None:
        """What fine-tuning costs, of those that were looked at and have no price, while there is time."""
        wanted = [one for one in entrants if one.price is None and not (one.failed or one.left_out)]
        sample = self.sample
        if sample is None or not wanted:
            return
        with progress("Pricing", len(wanted), unit="sources") as advance:
            for one, outcome in self._ask(priced, self._while_time(wanted), sample):
                with guarded(one):
                    one.price = outcome.get()
                advance(note=one.name)

    def _while_time(self, wanted: Sequence[Entrant], *, least: int = 0) -> Iterator[Entrant]:
        """The first ``least``, and those after them as long as there is time."""
        for place, one in enumerate(wanted):
            if place >= least and self.clock.left <= 0:
                return
            yield one

    def _together(self, seconds: Sequence[float]) -> float:
        return together(seconds, self.executor.workers)

    def _race(self) -> None:
        alive, sample = self.alive, self.sample
        if len(alive) < 2 or sample is None:
            return
        if not can_race(sample):
            self.skipped.append(
                f"a race: {len(sample)} examples are too few to train on some and judge on others"
            )
            return
        if self.clock.left <= 0:
            self.skipped.append(f"a race between {len(alive)} sources: nothing of the budget is left")
            return
        seconds = list[float]()
        for one, outcome in self._ask(foretold, alive, sample):
            with guarded(one):
                seconds.append(outcome.get())
        alive, need = self.alive, self._together(seconds)
        if len(alive) < 2:
            return
        if need > self.clock.left:
            self.skipped.append(
                f"a race between {len(alive)} sources: it takes up to {duration(need)}, "
                f"{duration(max(self.clock.left, 0.0))} of the budget are left"
            )
            say(f"For the budget, {self.skipped[-1]}.")
            return
        self.predicted = self.clock.spent + need
        say(f"{len(alive)} sources cannot be told apart by a probe: a race of at most {duration(need)}.")
        self._run_race(alive, sample)

    def _run_race(self, alive: Sequence[Entrant], sample: Sample) -> None:
        found: dict[str, Score] = {}

        with progress("Race", len(alive), unit="sources") as advance:
            for one, outcome in self._ask(raced, alive, sample):
                with guarded(one):
                    found[one.name] = outcome.get()
                advance(note=one.name)
        left = self.alive
        if len(left) < 2 or self._thought is None:
            return
        known, thought = self._thought
        belief = keep(thought, [known.index(one) for one in left])
        level = belief.mean.mean()
        measured = resample_together([found[one.name] for one in left], seed=self.seed)
        after = update(belief, inexact(measured, STEPS.raced))
        # A race trains on few labels: it tells sources apart, how good they get is for the probe to say.
        moved = Belief(after.draws - after.mean.mean() + level, after.noise)
        for one in left:
            one.stage = "race"
        self._settle(left, moved)


def _title(stage: str, smaller: bool) -> str:
    at = " at half the size" if smaller else ""
    return f"{stage.capitalize()}{at}"
