"""Race: rounds over shared folds; who is unlikely to be the best drops out, and time ends it.

1. The probe is tried first. It measures what everything else rests on.
2. The others follow, in their order, on the same fold: each only where its trial and, should it win, its
   final fit still fit into the time that is left. One that would take more than its part of the time is
   shortened, to a fifth of its steps at least.
3. After each round a bootstrap drops who is the best in under 5% of the resamples. A round on another fold
   follows where it fits for all who are left.
4. After the second round variants of the best one's plan, with other settings, are tried on the same folds,
   as long as one more and the final fit still fit; they take part in the rounds that follow.
5. The winner is who promises most, by what strategies usually gain and what the folds say beside it
   (:mod:`regraft.choosing.auto.expected`): the cheapest of those that promise about as much, and where
   several are about as cheap, the best of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from regraft.choosing.auto.chances import UNLIKELY, Chances, chances_of
from regraft.choosing.auto.entrants import Entrant, Left, too_long
from regraft.choosing.auto.expected import INDIFFERENT, Gain, expected_gain, weighed
from regraft.choosing.auto.folds import Fold
from regraft.choosing.auto.forecast import Forecast
from regraft.choosing.auto.judging import Measure
from regraft.choosing.auto.lengths import SHORTEST
from regraft.choosing.auto.scoreboard import Scoreboard
from regraft.choosing.auto.trial import Carrier, Heat, Trial, run_heat
from regraft.choosing.auto.variants import Variants
from regraft.core.console import duration, say
from regraft.core.deadline import Deadline
from regraft.core.errors import RegraftError
from regraft.core.executors import Executor, Here, Outcome, together

MOST_FOLDS = 5
BEFORE_SETTINGS = 2
"""Folds in which strategies race before the settings of the best one are varied."""
FEWEST_JUDGED = 10
"""Labelled examples in a fold that judge; fewer cannot tell strategies apart."""
TRIAL_SHARE = 0.25
"""Of the time that the probe leaves: the most that a first trial takes before it is shortened."""
AS_CHEAP = 2.0
"""Times the seconds of the cheapest final fit that trains, up to which another one counts as cheap: times
differ from run to run, and the winner should not."""


@dataclass
class Race:
    """A race while it is run.

    Attributes
    ----------
    entrants
        In their order, the probe first.
    carrier
        Carries the trials out.
    forecast, deadline
        What trials will take, and what there is for them.
    measure
        How figures are called and read.
    seed
        Of the bootstrap.
    train
        How many examples the final fit trains on.
    per_class
        Labels for each class, by which is known before what strategies gain.
    variants
        Suggests other settings for the best strategy's plan; None for none.
    left
        Who did not enter, or was not tried, and why.
    out
        Who dropped out, and why.
    ended
        Sentences on rounds that there was no time for.
    shorter
        The share of its steps that an entrant was cut to.
    predicted
        Seconds in all, as foretold once the probe was tried.
    executor
        Has the carrier carry trials out, several at once where it has several workers: each of them is begun
        only where it ends in time, and the final fit after it.
    """

    entrants: list[Entrant]
    carrier: Carrier
    forecast: Forecast
    deadline: Deadline
    measure: Measure
    seed: int
    train: int
    per_class: float = 0.0
    variants: Variants | None = None
    left: list[Left] = field(default_factory=list)
    out: dict[str, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    shorter: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    predicted: float = 0.0
    executor: Executor = field(default_factory=Here)

    def __post_init__(self) -> None:
        self.tried: list[Entrant] = []
        self.racing: list[Entrant] = []
        self._turns: dict[str, int] = {}
        self.scores = Scoreboard(self.entrants[0].name)

    def run(self) -> None:
        """All rounds; afterwards :attr:`alive` may win."""
        if not self._first_round():
            return
        self._rounds(min(BEFORE_SETTINGS, MOST_FOLDS))
        self._drop()
        self._vary()
        self._rounds(MOST_FOLDS)
        self._drop()

    @property
    def alive(self) -> list[Entrant]:
        """Who was tried and has not dropped out."""
        return [one for one in self.tried if one.name not in self.out]

    def chances(self, entrants: Sequence[Entrant]) -> Chances:
        """What the folds that all of these were tried in say of them."""
        return chances_of(self.scores.table([one.name for one in entrants]), seed=self.seed)

    def winner(self) -> tuple[Entrant, Chances]:
        """The cheapest of those that promise about the most, and what is known of all alive.

        Of several that are about as cheap the one that promises most.
        """
        alive = self.alive
        promised = [self.promise(one) for one in alive]
        able = [one for one, gain in zip(alive, promised, strict=True) if gain >= max(promised) - INDIFFERENT]
        if self.entrants[0] in able:
            return self.entrants[0], self.chances(alive)  # nothing is cheaper than what trains nothing
        least = AS_CHEAP * min(map(self.forecast.final, able))
        cheap = [one for one in able if self.forecast.final(one) <= least]
        return max(cheap, key=self.promise), self.chances(alive)

    def promise(self, entrant: Entrant) -> float:
        """The gain over the probe to expect of an entrant that was tried."""
        probe = self.entrants[0]
        if entrant is probe:
            return 0.0
        of_probe, own = self.scores.table([probe.name, entrant.name]).values
        return weighed(of_probe, own, self.usual(entrant))

    def usual(self, entrant: Entrant) -> Gain:
        """What its strategy usually gains over a probe, with so many labels; nothing for the probe."""
        if entrant is self.entrants[0]:
            return Gain(0.0, 0.0)
        return expected_gain(entrant.plan.strategy, self.per_class, changed=bool(entrant.settings))

    def _first_round(self) -> bool:
        """Try all that fit on the first fold; False where the probe alone was tried."""
        probe, *others = self.entrants
        fold = self._fold(0)
        if len(fold.judged) < FEWEST_JUDGED:
            reason = (
                f"{len(fold.judged)} labelled examples to judge by in a fold cannot tell strategies apart"
            )
            self.left += [Left(one.name, reason) for one in others]
            return False
        self._try_all([probe], 0)
        room = max(self.deadline.left - self.forecast.final(probe), 0.0)
        chosen = [self._shaped(one, TRIAL_SHARE * room) for one in others]
        self._foretell(chosen)
        self._try_all(self._able(chosen), 0)
        return len(self.tried) > 1

    def _able(self, chosen: Sequence[Entrant]) -> Iterator[Entrant]:
        """Those that still fit when it is their turn."""
        for one in chosen:
            needed = self.forecast.trial(one) + self.forecast.dearest([*self.tried, *self.racing, one])
            if not self.deadline.fits(needed):
                self.left.append(Left(one.name, too_long(needed)))
                say(f"Left out: {self.left[-1]}.")
                continue
            yield one

    def _foretell(self, chosen: list[Entrant]) -> None:
        """Say what the race will take, before it is spent."""
        spent, wanted = self.deadline.spent, list[Entrant]()
        total = self.forecast.dearest(self.tried)
        for one in chosen:
            more = self._together([*wanted, one])
            last = self.forecast.dearest([*self.tried, *wanted, one])
            if spent + more + last <= spent + self.deadline.left:
                wanted.append(one)
                total = more + last
        self.predicted = spent + total
        limit = "" if self.deadline.seconds is None else f" of {duration(self.deadline.seconds)}"
        say(
            f"The probe took {duration(self.seconds[self.tried[0].name])}. A first round of "
            f"{1 + len(wanted)} strategies and the final fit: about {duration(self.predicted)}{limit} in "
            "all; more rounds follow where there is time."
        )

    def _shaped(self, entrant: Entrant, most: float) -> Entrant:
        """The entrant with as many of its steps as its part of the time allows, a fifth at least."""
        training = self.forecast.trial(entrant) - self.forecast.trial(entrant, share=0.0)
        if training <= most:
            return entrant
        share = max(SHORTEST, round(most / training, 2))
        self.shorter[entrant.name] = share
        return entrant.shorter(share, self.train)

    def _rounds(self, folds: int) -> None:
        """More rounds, up to this number of folds, where there are several left and time."""
        while len(self.scores.folds) < folds and not self.ended:
            self._drop()
            if len(self.alive) < 2 or not self._fits_round():
                return
            self._round(len(self.scores.folds))

    def _vary(self) -> None:
        """Try other settings of the best strategy's plan, as long as there is time."""
        leader = max(self.alive, key=self.promise)
        if self.variants is None or not leader.training:
            return
        while (one := self.variants.ask(leader)) is not None:
            self.forecast.like(one, leader)
            needed = self._with(one)
            if not self.deadline.fits(needed):
                self.left.append(Left(one.name, too_long(needed)))
                return
            if leader.name in self.shorter:
                self.shorter[one.name] = self.shorter[leader.name]
            self._try_variant(one, leader)
            if one in self.tried:
                table = self.scores.table([leader.name, one.name]).values.mean(axis=1)
                self.variants.tell(one, float(table[1] - table[0]))

    def _try_variant(self, one: Entrant, leader: Entrant) -> None:
        """On the leader's folds, until it is unlikely to be the better of the two."""
        for number in range(self.scores.count(leader.name)):
            needed = self._with(one)
            if number and not self.deadline.fits(needed):
                self.out[one.name] = f"fold {number + 1}: {too_long(needed)}"
                return
            self._try_all([one], number)
            if one not in self.alive:
                return
            better = self.chances([leader, one]).best[1]
            if better < UNLIKELY:
                self.out[one.name] = f"better than {leader.name} in {better:.1%} of the resamples"
                return

    def _with(self, one: Entrant) -> float:
        """Seconds of one more trial, and of the dearest final fit after it."""
        return self.forecast.trial(one) + self.forecast.dearest([*self.alive, one])

    def _fits_round(self) -> bool:
        alive = self.alive
        needed = self._together(alive) + self.forecast.dearest(alive)
        if self.deadline.fits(needed):
            return True
        self.ended.append(f"fold {len(self.scores.folds) + 1}: {too_long(needed)}")
        return False

    def _together(self, entrants: Sequence[Entrant]) -> float:
        """Seconds of all their next trials, at the most."""
        return together([self.forecast.trial(one) for one in entrants], self.executor.workers)

    def _round(self, number: int) -> None:
        self._fold(number)
        self._try_all(self._in_time(self.alive, number), number)

    def _in_time(self, alive: Sequence[Entrant], number: int) -> Iterator[Entrant]:
        """All, as long as each fits when it is its turn."""
        for one in alive:
            needed = self.forecast.trial(one) + self.forecast.dearest(self.alive)
            if not self.deadline.fits(needed):
                self.ended.append(f"{one.name} in fold {number + 1}: {too_long(needed)}")
                return
            yield one

    def _fold(self, number: int) -> Fold:
        self.scores.folds.append(self.carrier.fold(number))
        return self.scores.folds[-1]

    def _try_all(self, entrants: Iterable[Entrant], number: int) -> None:
        """Try all in a fold; who is next is asked for when there is a worker for it."""
        fold, begun = self.scores.folds[number], list[Entrant]()

        def heats() -> Iterator[Heat]:
            for one in entrants:
                begun.append(one)
                self.racing.append(one)
                self._turns.setdefault(one.name, len(self._turns))
                yield Heat(one, fold)

        for place, outcome in self.executor.run(run_heat, heats(), self.carrier, title=attrgetter("name")):
            self.racing.remove(begun[place])
            self._try_or_leave(begun[place], number, outcome)
        self.tried.sort(key=lambda one: self._turns[one.name])  # several at once may end in any order

    def _try_or_leave(self, entrant: Entrant, number: int, outcome: Outcome[Trial]) -> None:
        """A strategy that fails drops out; the probe's failure is everybody's."""
        try:
            self._learn(entrant, number, outcome.get())
        except RegraftError as error:
            if entrant is self.entrants[0]:
                raise
            if entrant in self.tried:
                self.out[entrant.name] = f"failed in fold {number + 1}: {error}"
            else:
                self.left.append(Left(entrant.name, f"failed: {error}"))
            say(f"Left out: {entrant.name}, which failed: {error}")

    def _learn(self, entrant: Entrant, number: int, trial: Trial) -> None:
        self.scores.add(entrant.name, number, trial.values)
        self.seconds[entrant.name] = self.seconds.get(entrant.name, 0.0) + trial.seconds
        if entrant.training:
            self.forecast.learn(entrant, trial)
        elif not number:
            self.forecast.anchor(entrant, trial)
        if not number:
            self.tried.append(entrant)
        self._tell(entrant, number, trial.seconds)

    def _tell(self, entrant: Entrant, number: int, seconds: float) -> None:
        values = self.scores.table([entrant.name])
        here = values.values[0, values.folds == number]
        figure = self.measure.shown(self.measure.figure(float(here.mean()))) if len(here) else "no figure"
        left = "" if self.deadline.seconds is None else f"; {duration(max(self.deadline.left, 0))} left"
        cut = self.shorter.get(entrant.name)
        short = f" ({cut:.0%} of its steps)" if cut else ""
        say(
            f"Fold {number + 1}, {entrant.name}{short}: {self.measure.name} {figure}, "
            f"{duration(seconds)}{left}"
        )

    def _drop(self) -> None:
        """Drop who is unlikely to be the best."""
        alive = self.alive
        if len(alive) < 2:
            return
        found = self.chances(alive)
        for one, best in zip(alive, found.best, strict=True):
            if best < UNLIKELY:
                self.out[one.name] = f"the best in {best:.1%} of the resamples"
