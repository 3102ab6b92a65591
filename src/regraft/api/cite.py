"""``regraft cite``: what to cite for a strategy, a score, a distance, or for all that a run used."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from regraft.core.errors import UsageError
from regraft.core.spelling import did_you_mean
from regraft.engine import Run
from regraft.plans import Plan, TrainStage
from regraft.scores import SCORES
from regraft.scores.distances import DISTANCES
from regraft.strategies import STRATEGIES, find_strategy
from regraft.terms import find_term


@dataclass(frozen=True)
class Reference:
    """One thing to cite: its kind (``strategy``, ``score``, ``distance``, ..), name, and paper or page."""

    kind: str
    name: str
    cite: str

    def to_json(self) -> dict[str, str]:
        """As plain JSON."""
        return asdict(self)


def cite(what: str | Path | None = None) -> list[Reference]:
    """What to cite for a strategy, a score or a distance, for a run's folder, or for every one.

    A run's references are those of its strategy, of the terms that it minimised and of its source, each once.
    Raises :class:`UsageError` for what is none of them.
    """
    if what is None:
        return [one for one in (*_strategies(), *_scores()) if one.cite]
    if (Path(what) / "run.json").is_file():
        return _of_run(Run.load(what))
    scores = [one for one in _scores() if one.name == what]
    if scores:
        return scores
    if str(what).partition(":")[0] not in STRATEGIES:
        raise UsageError(_nothing_called(str(what)))
    found = find_strategy(str(what))
    return [Reference("strategy", found.name, found.cite)] if found.cite else []


def _strategies() -> list[Reference]:
    return [Reference("strategy", name, kind.cite) for name, kind in STRATEGIES.items()]


def _scores() -> list[Reference]:
    scores = [Reference("score", one.name, one.cite) for one in SCORES.values()]
    return scores + [Reference("distance", one.name, one.cite) for one in DISTANCES.values()]


def _nothing_called(name: str) -> str:
    there = {"strategy": list(STRATEGIES), "score": list(SCORES), "distance": list(DISTANCES)}
    listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in there.items())
    near = did_you_mean(name, [one for names in there.values() for one in names])
    return (
        f"there is no strategy {name!r}, no score and no run's folder of that name{near}. There are {listed}"
    )


def _of_run(run: Run) -> list[Reference]:
    plan = run.plan
    found = [Reference("strategy", plan.strategy, _strategy_cite(plan))]
    found += [Reference("term", name, getattr(find_term(name), "cite", "")) for name in _terms(plan)]
    source = run.facts.get("source") or {}
    found.append(Reference("source", str(source.get("name", "")), str(source.get("cite") or "")))
    said: dict[str, Reference] = {}
    for one in found:
        if one.cite:
            said.setdefault(one.cite, one)
    return list(said.values())


def _strategy_cite(plan: Plan) -> str:
    """A plan that a person wrote may name a strategy that there is none of."""
    kind = STRATEGIES.get(plan.strategy.partition(":")[0])
    return kind.cite if kind else ""


def _terms(plan: Plan) -> tuple[str, ...]:
    stages = [stage for stage in plan.stages if isinstance(stage, TrainStage)]
    return tuple(dict.fromkeys(term.computes for stage in stages for term in stage.terms))
