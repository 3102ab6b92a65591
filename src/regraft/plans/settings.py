"""Changing a plan from the command line: ``--set KEY=VALUE``."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator
from typing import Any

import yaml

from regraft.core.errors import PlanError
from regraft.plans.files import plan_from_data
from regraft.plans.schema import Plan

_PATTERN = re.compile(r"\*|\{\d+\.\.")
"""What a pattern over names of layers may begin with."""


def change_plan(plan: Plan, settings: list[str]) -> Plan:
    """The plan with ``KEY=VALUE`` settings applied, in order.

    A key is a path, ``stages.train.stop.epochs=5`` (stages by name or number), and the value is YAML. A key
    that starts inside a stage (``stop.epochs=5``) changes every stage that has it. Lists may be written with
    commas: ``trainable=blocks.{9..11},head``.
    """
    data = plan.model_dump(mode="json")
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not key:
            raise PlanError(f"--set wants KEY=VALUE, as in stop.epochs=5; got {setting!r}")
        if not _apply(data, key.strip().split("."), _value(text, setting)):
            near = _near(data, key.strip())
            raise PlanError(
                f"--set {key}: the plan has no such key{near}. `regraft plan DATA` prints its keys"
            )
    return plan_from_data(data, origin="the plan with its --set values")


def has_setting(plan: Plan, setting: str) -> bool:
    """Whether the plan has the key of a ``KEY=VALUE`` setting."""
    key = setting.partition("=")[0].strip()
    return _apply(plan.model_dump(mode="json"), key.split("."), None)


def _value(text: str, setting: str) -> Any:
    if _PATTERN.match(text):
        return text  # YAML would take it for an alias or a mapping
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanError(f"--set {setting}: the value is no YAML") from error
    # YAML 1.1 reads 1e-3 as a word; people mean the number.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _apply(data: dict[str, Any], path: list[str], value: Any) -> bool:
    if path[0] in data:
        return _set(data, path, value)
    found = [_set(stage, path, value) for stage in data["stages"]]
    return any(found)


def _near(data: dict[str, Any], key: str) -> str:
    """``; did you mean stop.epochs?`` where a key that is there differs from what was typed in one part."""
    names = set(_keys(data))
    parts = key.split(".")
    for place, part in enumerate(parts):
        for near in difflib.get_close_matches(part, names - {part}, n=3):
            path = [*parts[:place], near, *parts[place + 1 :]]
            if _apply(copy.deepcopy(data), path, None):
                return f"; did you mean {'.'.join(path)}?"
    return ""


def _keys(node: Any) -> Iterator[str]:
    """Names of keys, stages and terms anywhere in a plan."""
    if isinstance(node, list):
        for item in node:
            yield from _keys(item)
    elif isinstance(node, dict):
        yield from (str(node[name]) for name in ("name", "computes") if name in node)
        for key, value in node.items():
            yield key
            yield from _keys(value)


def _set(node: Any, path: list[str], value: Any) -> bool:
    """Set a value where the whole path exists (options may gain a key); says whether it did."""
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(node, list):
            index = _index(node, part)
            if index is None:
                return False
            if last:
                node[index] = value
                return True
            node = node[index]
        elif isinstance(node, dict):
            open_ended = depth > 0 and path[depth - 1].endswith("options")
            if part not in node and not open_ended:
                return False
            if last:
                listed = isinstance(node.get(part), list) and _single(value)
                node[part] = _items(part, value) if listed else value
                return True
            node = node[part]
        else:
            return False
    return False


def _single(value: Any) -> bool:
    return not isinstance(value, list)


def _items(key: str, value: Any) -> list[Any]:
    """What a list that is written as one value holds; a regular expression may have commas of its own."""
    if not isinstance(value, str) or key == "map":
        return [value]
    parts = [part.strip() for part in value.split(",")]
    return [_value(part, f"{key}={value}") for part in parts if part]


def _index(items: list[Any], part: str) -> int | None:
    if part.isdigit():
        return int(part) if int(part) < len(items) else None
    names = [item.get("name", item.get("computes")) if isinstance(item, dict) else None for item in items]
    return names.index(part) if part in names else None
