"""What differs between runs, and what is the same in all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from regraft.core.memory import in_bytes
from regraft.report._overview import title_of
from regraft.report._words import MISSING, count, is_number, seconds, shortened
from regraft.report.comparison._runs import ComparedRun

_MOST_KEYS = 60
_HASH = 12  # letters of a hash that are shown


@dataclass(frozen=True)
class Aspect:
    """One thing about every run, in words; ``differs`` where they do not all say the same."""

    name: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether two of the runs say different things."""
        return len(set(self.values)) > 1


def aspects_of(runs: Sequence[ComparedRun]) -> tuple[Aspect, ...]:
    """How the runs were made, on what, and what they took."""
    told = [_told(run) for run in runs]
    return tuple(Aspect(name, tuple(one[name] for one in told)) for name in told[0])


def _told(run: ComparedRun) -> dict[str, str]:
    facts, source = run.folder.run, run.folder.run.get("source") or {}
    hashes = facts.get("hashes") or {}
    return {
        "source": _text(source.get("name")),
        "source's weights": _hash(source.get("sha256")),
        "network": _text((facts.get("network") or {}).get("name") or source.get("name")),
        "strategy": _text(facts.get("strategy")),
        "plan": _hash(hashes.get("plan")),
        "labels": count(run.labels),
        "seed": _text(facts.get("seed")),
        "data": title_of(run.folder),
        "data's fingerprint": _hash(run.data),
        "test part": _hash(run.test_part),
        "precision": _text((facts.get("settings") or {}).get("precision")),
        "device": _text(facts.get("device")),
        "threads": _text(facts.get("threads")),
        "regraft": _text(facts.get("regraft")),
        "torch": _text((facts.get("versions") or {}).get("torch")),
    }


def costs_of_runs(runs: Sequence[ComparedRun]) -> tuple[Aspect, ...]:
    """What the runs took and what came of it in size."""
    told = [_cost(run) for run in runs]
    return tuple(Aspect(name, tuple(one[name] for one in told)) for name in told[0])


def _cost(run: ComparedRun) -> dict[str, str]:
    facts = run.folder.run
    spent = facts.get("seconds") or {}
    stages = [value for value in (spent.get("stages") or {}).values() if is_number(value)]
    return {
        "time of the run": seconds(spent.get("total")),
        "of it in stages": seconds(sum(stages)) if stages else MISSING,
        "trained parameters": count(facts.get("trained_parameters")),
        "parameters": count(facts.get("total_parameters")),
        "weights on disk": MISSING if run.model_bytes is None else in_bytes(run.model_bytes),
        "test labels read": count(facts.get("test_label_reads")),
    }


def plan_differences(runs: Sequence[ComparedRun]) -> tuple[Aspect, ...]:
    """Keys of the plans whose values differ; a dash where a plan has no such key.

    A stage that some plans lack is one line, which says of what kind it is.
    """
    plans = [_plan(run) for run in runs]
    lonely = _lonely_stages(plans)
    flat = [dict(_flattened(_shortened(plan, lonely))) for plan in plans]
    names = list(dict.fromkeys(key for one in flat for key in one))
    found = (Aspect(key, tuple(_text(one.get(key)) for one in flat)) for key in names)
    return tuple(aspect for aspect in found if aspect.differs)[:_MOST_KEYS]


def _plan(run: ComparedRun) -> dict[str, Any]:
    """The plan without what the table of aspects says already; nothing of one that no regraft wrote.

    Plans have no aliases, and those of a stranger may hold themselves, or more than memory does.
    """
    try:
        alias = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(run.folder.plan))
        found = None if alias else yaml.safe_load(run.folder.plan)
    except (yaml.YAMLError, RecursionError):
        found = None
    plan = found if isinstance(found, dict) else {}
    return {key: value for key, value in plan.items() if key not in ("strategy", "version", "seed")}


def _stages(plan: dict[str, Any]) -> list[dict[str, Any]]:
    stages = plan.get("stages")
    return [one for one in stages if isinstance(one, dict)] if isinstance(stages, list) else []


def _lonely_stages(plans: Sequence[dict[str, Any]]) -> set[str]:
    """Names of stages that not every plan has."""
    names = [{str(stage.get("name")) for stage in _stages(plan)} for plan in plans]
    return names[0].union(*names) - names[0].intersection(*names)


def _shortened(plan: dict[str, Any], lonely: set[str]) -> dict[str, Any]:
    stages = {
        str(stage.get("name")): stage.get("kind") if str(stage.get("name")) in lonely else stage
        for stage in _stages(plan)
    }
    return {**plan, "stages": stages}


def _flattened(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """``stages.tune.stop.epochs`` and its value; of a list what it matches, else where it stands."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            if not (name == "name" and key):
                yield from _flattened(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for at, inner in enumerate(value):
            match = inner.get("match")
            yield from _flattened(inner, f"{key}.{' '.join(map(str, match)) if match else at}")
    else:
        yield key, value


def _text(value: Any) -> str:
    if value is None or value == "":
        return MISSING
    return shortened(", ".join(map(str, value)) if isinstance(value, list) else value, 120)


def _hash(value: Any) -> str:
    return str(value)[:_HASH] if value else MISSING
