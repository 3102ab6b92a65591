"""``regraft cite``: what to cite for a strategy, or for all that a run used."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from regraft.engine import Run
from regraft.plans import Plan, TrainStage
from regraft.strategies import STRATEGIES, find_strategy
from regraft.terms import find_term


@dataclass(frozen=True)
class Reference:
    """One thing to cite: ``strategy``, ``term`` or ``source``, its name, and the paper or page."""

    kind: str
    name: str
    cite: str

    def to_json(self) -> dict[str, str]:
        """As plain JSON."""
        return asdict(self)


def cite(what: str | Path | None = None) -> list[Reference]:
    """What to cite for a strategy, for a run's folder, or for every strategy.

    A run's references are those of its strategy, of the terms that it minimised and of its source, each once.
    Raises :class:`UsageError` for what is neither a strategy nor the folder of a run.
    """
    if what is None:
        return [Reference("strategy", name, kind.cite) for name, kind in STRATEGIES.items() if kind.cite]
    if (Path(what) / "run.json").is_file():
        return _of_run(Run.load(what))
    found = find_strategy(str(what))
    return [Reference("strategy", found.name, found.cite)] if found.cite else []


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
