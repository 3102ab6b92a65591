"""What differs between two plans, by the names under which a person finds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from regraft.plans.schema import Plan

_ABSENT = "nothing"


def plan_changes(then: Plan, now: Plan) -> list[str]:
    """One phrase for each value that differs: ``stages.tune.stop.epochs: 6 then, 9 now``."""
    before, after = (dict(_leaves(plan.model_dump(mode="json"))) for plan in (then, now))
    return [
        f"{place}: {before.get(place, _ABSENT)} then, {after.get(place, _ABSENT)} now"
        for place in dict.fromkeys([*before, *after])
        if before.get(place, _ABSENT) != after.get(place, _ABSENT)
    ]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        children = [(str(key), child) for key, child in value.items()]
    elif isinstance(value, list) and any(isinstance(child, dict) for child in value):
        children = [(str(child.get("name", i)), child) for i, child in enumerate(value)]
    else:
        yield place, value
        return
    for key, child in children:
        yield from _leaves(child, f"{place}.{key}" if place else key)
