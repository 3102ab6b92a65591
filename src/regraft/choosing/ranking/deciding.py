"""From what the cascade found to a board: predictions, the decision, and the order of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from regraft.choosing.ranking.board import Board
from regraft.choosing.ranking.candidate import Failure
from regraft.choosing.ranking.cascade import Cascade
from regraft.choosing.ranking.entrant import Entrant
from regraft.choosing.ranking.forecast import Forecast, forecast
from regraft.choosing.ranking.race import STRATEGY
from regraft.choosing.ranking.row import DECISIONS, Decision, Row
from regraft.choosing.ranking.scale import Scale
from regraft.choosing.ranking.sentence import decide_sentence
from regraft.tasks import make_task

_CHEAPER = 0.8
"""Of the leader's time: a source that is as good has to take less than this to be preferred. Times are
measured on a few examples and are no better than that."""
_BEHIND = 0.01
"""Of a share: what a source that is preferred for its price may be predicted to lack to the leader. Of an
error it is a share of the leader's."""
BY_TOP1, BY_SIZE = "highest ImageNet accuracy", "most parameters"


def make_board(cascade: Cascade, failures: Sequence[Failure]) -> Board:
    """The board of a cascade that has run; ``failures`` are sources that never entered it."""
    task = make_task(cascade.spec)
    metric, scale = task.metrics[0], Scale.of(task.metrics[0])
    labels = int(task.present(cascade.target.labels(cascade.target.pool)[cascade.spec.name]).sum())
    alive = cascade.alive
    leader = max(alive, key=lambda one: one.chance or 0.0) if alive else None
    best = _preferred(alive, leader, scale)
    naive, by = naive_choice(cascade.entrants)
    rows = [_row(one, best, leader, labels, scale, naive) for one in cascade.entrants]
    rows += [Row(one.name, "failed", one.reason) for one in failures]
    rows.sort(key=lambda row: (DECISIONS.index(row.decision), -(row.chance or 0.0)))
    return Board(
        rows=tuple(rows),
        sentence=decide_sentence(
            rows,
            leader=leader.name if leader else "",
            naive=naive,
            naive_by=by,
            metric=metric.name,
            percent=metric.percent,
        ),
        naive=naive,
        naive_by=by,
        output=cascade.spec.name,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        percent=metric.percent,
        labels=labels,
        strategy=STRATEGY,
        skipped=tuple(cascade.skipped),
        budget_seconds=cascade.clock.budget,
        predicted_seconds=cascade.predicted,
        spent_seconds=cascade.clock.spent,
        sources=tuple(one.candidate.source for one in cascade.entrants),
    )


def naive_choice(entrants: Sequence[Entrant]) -> tuple[str, str]:
    """What one would take without looking at the data, and by which rule; empty where there is nothing."""
    there = [one for one in entrants if not one.failed]
    if not there:
        return "", BY_SIZE
    known = [one for one in there if one.candidate.facts.top1 is not None]
    if len(known) == len(there):
        return max(there, key=lambda one: one.candidate.facts.top1 or 0.0).name, BY_TOP1
    return max(there, key=lambda one: one.candidate.source.parameters).name, BY_SIZE


def _preferred(alive: Sequence[Entrant], leader: Entrant | None, scale: Scale) -> Entrant | None:
    """The cheapest of those that cannot be told apart from the leader and are predicted to be hardly worse,
    where it is clearly cheaper.

    That a source may be the best is not enough: of few examples one that is four points behind may be.
    """
    if leader is None or leader.price is None:
        return leader
    near = [one for one in alive if one.price is not None and _behind(one, leader, scale) <= _BEHIND]
    cheapest = min((leader, *near), key=lambda one: one.price.total if one.price else math.inf)
    cost = cheapest.price.total if cheapest.price else math.inf
    return cheapest if cost < _CHEAPER * leader.price.total else leader


def _behind(one: Entrant, leader: Entrant, scale: Scale) -> float:
    """What a source is thought to lack to the leader: of a share its difference, of an error the ratio's."""
    mine, best = (float(scale.back(found.value)) for found in (one, leader))
    return best - mine if scale.share else mine / best - 1


def _row(
    one: Entrant, best: Entrant | None, leader: Entrant | None, labels: int, scale: Scale, naive: str
) -> Row:
    decision = _decision(one, best)
    found = _forecast(one, labels) if one.score is not None and not one.failed else None
    ends = [] if found is None else sorted(float(scale.back(end)) for end in (found.low, found.high))
    source = one.candidate.source
    return Row(
        name=one.name,
        decision=decision,
        reason=_reason(one, decision, best, leader),
        stage=one.stage,
        predicted=None if found is None else float(scale.back(found.value)),
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        measured=None if one.score is None else one.score.figure,
        examples=0 if one.score is None else one.score.count,
        chance=one.chance,
        expected=one.standing.mean,
        seconds=None if one.price is None else one.price.total,
        memory=None if one.price is None else one.price.weights + max(one.price.memory.values(), default=0),
        licence=source.weights.licence if source.weights else "",
        parameters=source.parameters,
        top1=one.candidate.facts.top1,
        naive=one.name == naive,
    )


def _forecast(one: Entrant, labels: int) -> Forecast:
    assert one.score is not None
    return forecast(one.value, one.error, (), math.log2(max(labels, 1) / one.score.count))


def _decision(one: Entrant, best: Entrant | None) -> Decision:
    if one.failed:
        return "failed"
    if one.left_out:
        return "not tried"
    if one.dropped:
        return "dropped"
    return "best" if one is best else "as good as best"


def _reason(one: Entrant, decision: Decision, best: Entrant | None, leader: Entrant | None) -> str:
    if decision == "best":
        return "leads" if one is leader else "cannot be told apart from the leader, and is cheaper"
    if decision == "as good as best":
        return "leads, but is dearer than one as good" if one is leader else "cannot be told apart"
    return one.failed or one.left_out or one.dropped
