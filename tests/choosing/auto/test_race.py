"""The race and its clock, with trials whose values and seconds are made up: no network is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from regraft.choosing.auto import (
    Choice,
    Entrant,
    Forecast,
    FromPortfolio,
    FromSearch,
    Left,
    Race,
    Variants,
    choice_table,
    decide,
)
from regraft.choosing.auto.folds import SHARE, Fold
from regraft.choosing.auto.judging import Measure
from regraft.choosing.auto.lengths import steps_of
from regraft.choosing.auto.trial import Trial
from regraft.core.deadline import Deadline
from regraft.core.errors import TrainingError
from regraft.core.executors import Executor, Here, Outcome
from regraft.engine.price import Price
from regraft.plans import (
    GroupSpec,
    ModelSpec,
    Plan,
    SolveStage,
    StopSpec,
    StreamSpec,
    TermSpec,
    TrainStage,
)
from regraft.targets import Draw

LABELS, TEST = 200, 50
ACCURACY = Measure("accuracy", percent=True)


class Clock:
    """Seconds that pass only where somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plan_of(name: str, trains: bool) -> Plan:
    head = SolveStage(name="head", solver="ridge")
    tune = TrainStage(
        name="tune",
        terms=(TermSpec(computes="supervised", streams=("target",)),),
        frozen_prefix="blocks.1",
        groups=(GroupSpec(match=("*",), rate=1e-3),),
        stop=StopSpec(epochs=10),
    )
    return Plan(
        strategy=name,
        models={"student": ModelSpec(source="packaged:efficientnet-lite0")},
        streams={"target": StreamSpec(batch=16)},
        stages=(head, tune) if trains else (head,),
    )


def entrant(name: str, seconds: float = 0.0) -> Entrant:
    """One whose training is priced at so many seconds; running all blocks takes 10 ms for an example."""
    stages = {"tune": seconds} if seconds else {}
    price = Price(0.01 * (LABELS + TEST), stages, LABELS + TEST, 0, {}, 0)
    return Entrant(name, plan_of(name, bool(seconds)), price)


@dataclass
class Carrier:
    """Trials that take what they are priced at, times ``slower``, and hit with the given probabilities."""

    clock: Clock
    hits: dict[str, float]
    slower: float = 1.0
    judged: int = 40
    fails: str = ""
    others: float = 0.0  # what is not named hits with this
    ran: list[tuple[str, int]] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)

    def fold(self, number: int) -> Fold:
        places = np.arange(LABELS).reshape(-1, 5)[:, number % 5][: self.judged]
        rest = np.setdiff1d(np.arange(LABELS), places)
        return Fold(Draw(number, rest[:-32], rest[-32:]), places)

    def run(self, entrant: Entrant, fold: Fold) -> Trial:
        if entrant.name == self.fails:
            raise TrainingError("a loss was not finite")
        frozen = 1.0 if entrant.name not in self.plans else 0.0
        seconds = 0.5 + frozen + self.slower * entrant.training * SHARE
        self.clock.now += seconds
        self.ran.append((entrant.name, fold.draw.seed))
        self.plans[entrant.name] = entrant.plan
        # The same examples are hard for all.
        hard = np.random.default_rng(fold.draw.seed).random(len(fold.judged))
        return Trial(
            {"label": (hard < self.hits.get(entrant.name, self.others)).astype(float)}, seconds, frozen
        )


def raced(
    entrants: list[Entrant],
    hits: dict[str, float],
    budget: float | None,
    *,
    variants: Variants | None = None,
    executor: Executor | None = None,
    **options: object,
) -> tuple[Race, Carrier, Clock]:
    clock = Clock()
    if isinstance(executor, Pairs):
        executor.clock = clock
    deadline = Deadline(budget, clock=clock)
    carrier = Carrier(clock, hits, **options)  # type: ignore[arg-type]
    forecast = Forecast(opening=1.0, test=TEST, pool=LABELS)
    race = Race(entrants, carrier, forecast, deadline, ACCURACY, 0, train=160, variants=variants)
    race.executor = executor or Here()
    race.run()
    return race, carrier, clock


class Pairs(Here):
    """Two trials at once, as far as the clock is concerned; the second one ends first."""

    clock: Clock

    @property
    def workers(self) -> int:
        return 2

    def run(
        self, work: object, items: Iterable[object], shared: object, **_: object
    ) -> Iterator[tuple[int, Outcome]]:
        numbered = enumerate(items)
        while pair := list(itertools.islice(numbered, 2)):
            start, ends, outcomes = self.clock.now, [], []
            for place, item in pair:
                self.clock.now = start
                outcomes += [(place, outcome) for _, outcome in super().run(work, [item], shared)]
                ends.append(self.clock.now)
            for end, outcome in sorted(zip(ends, reversed(outcomes), strict=True)):
                self.clock.now = end
                yield outcome


def three() -> list[Entrant]:
    return [entrant("probe"), entrant("lpft", 10.0), entrant("full", 500.0)]


HITS = {"probe": 0.6, "lpft": 0.9, "full": 0.95}


def test_the_best_of_those_that_fit_wins_and_the_rest_is_named() -> None:
    race, carrier, clock = raced(three(), HITS, 120.0)
    winner, choice = decide(race, labels=LABELS)
    assert winner.name == choice.winner == "lpft"
    assert carrier.ran[0] == ("probe", 0)
    assert "full" not in {name for name, _ in carrier.ran}
    assert any(line.startswith("full: about") for line in choice.skipped)
    assert {row.name: row.decision for row in choice.rows} == {
        "lpft": "chosen",
        "probe": "dropped",
        "full": "skipped",
    }
    assert clock.now + choice.final_seconds <= 120.0


@pytest.mark.parametrize("executor", [Here, Pairs])
@pytest.mark.parametrize("budget", [8.0, 20.0, 40.0, 90.0, 300.0])
@pytest.mark.parametrize("slower", [0.3, 1.0, 1.15])
def test_the_budget_holds_race_and_final_fit(budget: float, slower: float, executor: type[Executor]) -> None:
    race, carrier, clock = raced(three(), HITS, budget, executor=executor(), slower=slower)
    winner, _ = decide(race, labels=LABELS)
    final = 1.0 + 0.5 + slower * winner.training + 0.01 * TEST
    assert clock.now + final <= 1.15 * budget
    assert carrier.ran


def test_two_at_once_take_less_time_and_choose_the_same() -> None:
    def entrants() -> list[Entrant]:
        return [entrant("probe"), *(entrant(name, 10.0) for name in ("lpft", "partial", "l2sp"))]

    hits = {"probe": 0.5, "lpft": 0.7, "partial": 0.93, "l2sp": 0.9}
    one, _, alone = raced(entrants(), hits, 1000.0)
    two, _, both = raced(entrants(), hits, 1000.0, executor=Pairs())
    first, second = (decide(race, labels=LABELS)[1] for race in (one, two))
    assert [replace(row, seconds=0.0) for row in first.rows] == [
        replace(row, seconds=0.0) for row in second.rows
    ]
    assert first.sentence == second.sentence
    assert both.now < 0.8 * alone.now
    assert two.predicted < one.predicted


def test_what_is_slower_than_its_price_is_foretold_better_the_next_time() -> None:
    entrants = [entrant("probe"), entrant("lpft", 10.0), entrant("l2sp", 10.0)]
    race, _, _ = raced(entrants, {"probe": 0.6, "lpft": 0.8, "l2sp": 0.8}, 1000.0, slower=3.0)
    assert race.forecast.ratio == pytest.approx(3.0)
    assert race.forecast.final(entrants[1]) == pytest.approx(1.0 + 0.5 + 30.0 + 0.01 * TEST + 2.0)


def test_one_that_would_take_too_much_is_shortened_and_wins_so() -> None:
    race, carrier, _ = raced([entrant("probe"), entrant("lpft", 60.0)], {"probe": 0.5, "lpft": 0.9}, 80.0)
    winner, choice = decide(race, labels=LABELS)
    share = race.shorter["lpft"]
    assert 0.2 <= share < 1
    whole = plan_of("lpft", True)
    stage = whole.stages[1]
    assert isinstance(stage, TrainStage)
    total = steps_of(whole, stage, 160)
    assert total == 100
    assert winner.plan.stages[1].stop.steps == int(total * share)  # type: ignore[union-attr]
    assert carrier.plans["lpft"] == winner.plan
    assert any("lpft: all but" in line for line in choice.skipped)


def test_where_two_cannot_be_told_apart_the_cheaper_one_is_taken() -> None:
    hits = {"probe": 0.8, "lpft": 0.801, "l2sp": 0.4}
    entrants = [entrant("probe"), entrant("lpft", 10.0), entrant("l2sp", 10.0)]
    race, carrier, _ = raced(entrants, hits, 1000.0)
    winner, choice = decide(race, labels=LABELS)
    assert winner.name == "probe"
    assert len([name for name, _ in carrier.ran if name == "l2sp"]) == 1, "it dropped out after a round"
    by_fold = {row.name: row.by_fold for row in choice.rows}
    assert len(by_fold["probe"]) == len(by_fold["l2sp"]) == len(race.scores.folds)
    assert by_fold["l2sp"][1:] == (None,) * (len(race.scores.folds) - 1)
    figures = [figure for figure in by_fold["probe"] if figure is not None]
    told = next(row.figure for row in choice.rows if row.name == "probe")
    assert sum(figures) / len(figures) == pytest.approx(told)  # folds judge equally many
    assert "the best in" in race.out["l2sp"]


def test_of_equals_the_cheaper_one_is_taken() -> None:
    race, _, _ = raced([entrant("probe"), entrant("lpft", 10.0)], {"probe": 0.8, "lpft": 0.8}, 1000.0)
    winner, choice = decide(race, labels=LABELS)
    assert winner.name == "probe"
    assert {row.name: row.decision for row in choice.rows} == {"probe": "chosen", "lpft": "as good"}
    assert choice.sentence == "probe: the best over 5 folds, and in 100% of the resamples."


def test_of_two_that_are_about_as_cheap_the_better_one_is_taken() -> None:
    entrants = [entrant("probe"), entrant("lpft", 10.0), entrant("l2sp", 11.0)]
    race, _, _ = raced(entrants, {"probe": 0.5, "lpft": 0.88, "l2sp": 0.9}, 1000.0)
    assert decide(race, labels=LABELS)[0].name == "l2sp"


def test_with_few_examples_to_judge_by_a_probe_is_taken_without_a_race() -> None:
    race, carrier, _ = raced(three(), HITS, 1000.0, judged=2)
    winner, choice = decide(race, labels=LABELS)
    assert winner.name == "probe"
    assert carrier.ran == []
    assert "2 labelled examples to judge by" in choice.sentence


def test_one_that_fails_is_left_out_but_the_probe_may_not_fail() -> None:
    race, _, _ = raced(three()[:2], HITS, 1000.0, fails="lpft")
    assert race.left == [Left("lpft", "failed: a loss was not finite")]
    assert decide(race, labels=LABELS)[0].name == "probe"
    with pytest.raises(TrainingError, match="not finite"):
        raced(three()[:2], HITS, 1000.0, fails="probe")


SLOW = "lpft, rate x 0.1"


def test_the_best_strategy_wins_with_other_settings_where_they_are_better() -> None:
    entrants = [entrant("probe"), entrant("lpft", 10.0)]
    hits = {"probe": 0.4, "lpft": 0.7, SLOW: 0.95}
    race, carrier, _ = raced(entrants, hits, 1000.0, variants=FromPortfolio(), others=0.1)
    winner, choice = decide(race, labels=LABELS)
    assert winner.name == SLOW
    assert choice.winner == winner.plan.strategy == "lpft"
    assert choice.settings == winner.settings == ("stages.1.groups.0.rate=0.0001",)
    tried = {name for name, _ in carrier.ran}
    assert len(tried) == 6, "four variants beside the two strategies"
    worse = [name for name, fold in carrier.ran if name not in hits and fold]
    assert worse == [], "what is plainly worse on the first fold is not tried on the second"
    assert Choice.from_json(choice.to_json()) == choice
    assert SLOW in choice_table(choice)


def test_settings_are_varied_only_where_there_is_time_and_something_is_trained() -> None:
    entrants = [entrant("probe"), entrant("lpft", 10.0)]
    race, carrier, clock = raced(
        entrants, {"probe": 0.4, "lpft": 0.9}, 45.0, variants=FromPortfolio(), others=0.9
    )
    _, choice = decide(race, labels=LABELS)
    assert any(line.startswith("lpft, rate x ") for line in choice.skipped)
    assert clock.now + choice.final_seconds <= 45.0
    hits = {"probe": 0.95, "lpft": 0.3}
    race, carrier, _ = raced([*entrants], hits, 1000.0, variants=FromPortfolio(), others=0.9)
    assert {name for name, _ in carrier.ran} == {"probe", "lpft"}


def test_what_was_set_by_hand_is_not_varied() -> None:
    leader = entrant("lpft", 10.0)
    variants = FromPortfolio(["stages.1.groups.0.rate=0.01", "stop.epochs=3"])
    found = []
    while (one := variants.ask(leader)) is not None:
        found.append(one)
    assert [one.name for one in found] == ["lpft, batch x 2"]
    assert all("rate" not in change for one in found for change in one.settings)


class Peak(Carrier):
    """The nearer the rate is to a thirtieth of the plan's own, the better."""

    def run(self, entrant: Entrant, fold: Fold) -> Trial:
        stage = entrant.plan.stages[-1]
        if isinstance(stage, TrainStage):
            away = abs(np.log10(float(stage.groups[0].rate)) - np.log10(1e-3 / 30))
            self.hits[entrant.name] = 0.95 - 0.2 * away
        return super().run(entrant, fold)


def test_a_search_finds_better_settings_and_is_the_same_again() -> None:
    found = []
    for _ in range(2):
        clock = Clock()
        carrier = Peak(clock, {"probe": 0.3}, judged=40)
        forecast = Forecast(opening=1.0, test=TEST, pool=LABELS)
        variants = FromSearch(12, seed=0)
        race = Race(
            [entrant("probe"), entrant("lpft", 10.0)],
            carrier,
            forecast,
            Deadline(None, clock=clock),
            ACCURACY,
            0,
            train=160,
            variants=variants,
        )
        race.run()
        winner, _ = decide(race, labels=LABELS)
        stage = winner.plan.stages[-1]
        assert isinstance(stage, TrainStage)
        assert float(stage.groups[0].rate) < 3e-4
        assert 5 <= len({name for name, _ in carrier.ran}) <= 14
        found.append(carrier.ran)
    assert found[0] == found[1]


def test_a_choice_goes_through_json_and_is_shown() -> None:
    race, _, _ = raced(three(), HITS, 120.0)
    _, choice = decide(race, labels=LABELS)
    assert Choice.from_json(choice.to_json()) == choice
    shown = choice_table(choice).splitlines()
    assert shown[0].split()[:2] == ["strategy", "accuracy"]
    assert shown[-1] == f"Strategy: {choice.sentence}"
    assert len(set(choice.seeds)) == len(choice.seeds)
    assert not set(choice.seeds) & set(range(1, 9)), "a proof takes those"
