"""From a race that is over to its Choice: the winner, a row for everybody, the decision in words."""

from __future__ import annotations

from collections.abc import Sequence

from regraft.choosing.auto.chances import Chances
from regraft.choosing.auto.choice import Choice, Row
from regraft.choosing.auto.entrants import Entrant
from regraft.choosing.auto.folds import fold_seed
from regraft.choosing.auto.race import Race


def decide(race: Race, *, labels: int) -> tuple[Entrant, Choice]:
    """The entrant that won a race that was run, with its plan as it raced, and why it did."""
    probe = race.entrants[0]
    winner, found = race.winner() if race.tried else (probe, None)
    rows = [*_tried(race, winner, found), *_skipped(race)]
    measure = race.measure
    choice = Choice(
        winner=winner.plan.strategy,
        settings=winner.settings,
        sentence=_sentence(race, winner, found),
        measure={
            "name": measure.name,
            "percent": measure.percent,
            "higher_is_better": measure.higher_is_better,
        },
        rows=tuple(rows),
        seeds=tuple(fold_seed(winner.plan.seed, number) for number in range(len(race.scores.folds))),
        labels=labels,
        budget_seconds=race.deadline.seconds,
        predicted_seconds=round(race.predicted, 3),
        race_seconds=round(race.deadline.spent, 3),
        final_seconds=round(race.forecast.final(winner), 3),
        skipped=_said(race),
    )
    return winner, choice


def _said(race: Race) -> tuple[str, ...]:
    cut = {name: f"{name}: all but {share:.0%} of its steps" for name, share in race.shorter.items()}
    untried = {one.name for one in race.left}
    return (*map(str, race.left), *(cut[name] for name in cut if name not in untried), *race.ended)


def _tried(race: Race, winner: Entrant, found: Chances | None) -> list[Row]:
    """Those that were tried, the best figure first."""
    alive = [one.name for one in race.alive]
    rows = []
    for one in race.tried:
        own = race.chances([one])
        figure, *ends = (race.measure.figure(float(v[0])) for v in (own.mean, own.low, own.high))
        chance = None if found is None or one.name not in alive else float(found.best[alive.index(one.name)])
        decision, why = _verdict(race, one, winner, found)
        rows.append(
            Row(
                name=one.name,
                figure=figure,
                low=min(ends),
                high=max(ends),
                chance=chance,
                folds=race.scores.count(one.name),
                seconds=round(race.seconds[one.name], 3),
                steps=race.shorter.get(one.name, 1.0),
                decision=decision,
                why=why,
                by_fold=_by_fold(race, one.name),
            )
        )
    sign = -1 if race.measure.higher_is_better else 1
    return sorted(rows, key=lambda row: sign * (row.figure or 0.0))


def _by_fold(race: Race, name: str) -> tuple[float | None, ...]:
    """Its figure in each fold of the race."""
    table = race.scores.table([name])
    rows = [table.values[0, table.folds == number] for number in range(len(race.scores.folds))]
    return tuple(race.measure.figure(float(row.mean())) if len(row) else None for row in rows)


def _verdict(race: Race, one: Entrant, winner: Entrant, found: Chances | None) -> tuple[str, str]:
    if one.name == winner.name:
        return "chosen", ""
    if one.name in race.out:
        return "dropped", race.out[one.name]
    assert found is not None
    place = [other.name for other in race.alive].index(one.name)
    if found.as_good[place]:
        return "as good", f"cannot be told from the best; {winner.name} is cheaper or promises more"
    return "behind", "more than a standard error behind the best"


def _skipped(race: Race) -> list[Row]:
    names = {one.name for one in race.tried}
    return [
        Row(one.name, None, None, None, None, 0, 0.0, 1.0, "skipped", one.why)
        for one in race.left
        if one.name not in names
    ]


def _sentence(race: Race, winner: Entrant, found: Chances | None) -> str:
    if found is None or len(race.tried) == 1:
        return f"{winner.name}, without a race: {_reason(race.left)}."
    alive = race.alive
    leader = alive[found.leader]
    folds = _counted(race.scores.count(winner.name))
    if len(alive) == 1:
        return f"{winner.name}: all others dropped out within {folds}."
    if leader.name == winner.name:
        best = found.best[found.leader]
        return f"{winner.name}: the best over {folds}, and in {best:.0%} of the resamples."
    figure = race.measure.shown(race.measure.figure(float(found.mean[found.leader])))
    alike = f"{winner.name}: over {folds} it cannot be told from {leader.name} ({race.measure.name} {figure})"
    if race.promise(winner) > race.promise(leader):
        usual = race.usual(winner).mean > race.usual(leader).mean
        why = "with so many labels it usually gains more" if usual else "beside the probe it promises more"
        return f"{alike}; {why}."
    return f"{alike}, which would take longer."


def _reason(left: Sequence[object]) -> str:
    return str(left[0]).rstrip(".") if left else "nothing else entered"


def _counted(folds: int) -> str:
    return "1 fold" if folds == 1 else f"{folds} folds"
