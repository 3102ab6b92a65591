"""The sections on the source, on what carried over, and on the plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from regraft.report._charts import Bar, bars
from regraft.report._folder import RunFolder
from regraft.report._words import count, counted, figure, is_number, joined, share, shortened

_INDEX = re.compile(r"(?<![^.])\d+(?![^.])")
_MOST_ROWS = 150
_MOST_UNUSED = 40
_MOST_YAML = 40_000
ACTIONS = ("copied", "adapted", "fresh")


@dataclass(frozen=True)
class FoldedRow:
    """Rows of a link that differ only in the numbers inside their names."""

    target: str
    source: str
    tensors: int
    action: str
    role: str
    rule: str
    transform: str
    shape: str
    confidence: str


@dataclass(frozen=True)
class LinkView:
    """One model's link."""

    name: str
    source: str
    coverage: tuple[Bar, ...]
    actions: tuple[tuple[str, int, float], ...]
    rows: tuple[FoldedRow, ...]
    untold: int
    unused: tuple[str, ...]
    unused_count: int


@dataclass(frozen=True)
class PlanView:
    """The plan: stages in words and the YAML as it was executed."""

    stages: tuple[tuple[str, str], ...]
    yaml: str


def source_facts(folder: RunFolder) -> tuple[tuple[str, str], ...]:
    """Name, size, licence and what to cite, as far as they are known."""
    source = folder.run.get("source") or {}
    facts = [
        ("name", source.get("name")),
        ("network", (folder.run.get("network") or {}).get("name")),
        ("reads", source.get("modality")),
        ("parameters", count(source["parameters"]) if is_number(source.get("parameters")) else None),
        ("licence", source.get("licence")),
        ("cite", source.get("cite")),
    ]
    return tuple((name, str(value)) for name, value in facts if value)


def link_views(folder: RunFolder) -> tuple[LinkView, ...]:
    """The link of each model."""
    return tuple(_link(str(name), model) for name, model in (folder.link.get("models") or {}).items())


def _link(name: str, model: dict[str, Any]) -> LinkView:
    rows = [row for row in model.get("rows") or [] if isinstance(row, dict)]
    unused = [shortened(key, 120) for key in model.get("unused") or []]
    folded = fold(rows)
    numbers = {action: sum(row.get("action") == action for row in rows) for action in ACTIONS}
    whole = sum(numbers.values()) or 1
    return LinkView(
        name=name,
        source=str(model.get("source", "")),
        coverage=_coverage(model.get("coverage") or {}),
        actions=tuple((action, n, round(100 * n / whole, 2)) for action, n in numbers.items()),
        rows=folded[:_MOST_ROWS],
        untold=max(0, len(folded) - _MOST_ROWS),
        unused=tuple(unused[:_MOST_UNUSED]),
        unused_count=len(unused),
    )


def _coverage(coverage: dict[str, Any]) -> tuple[Bar, ...]:
    words = {"tensors": "shared tensors", "parameters": "shared parameters", "depth": "depth"}
    known = [(words[key], coverage[key]) for key in words if is_number(coverage.get(key))]
    return bars([(label, value, share(value, 1)) for label, value in known], whole=1.0)


def fold(rows: Sequence[dict[str, Any]]) -> tuple[FoldedRow, ...]:
    """Rows in one where name pattern, action, role, rule and transform are equal, in their order."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        sides = [_INDEX.sub("#", str(row.get(side) or "")) for side in ("target", "source")]
        others = [str(row.get(field) or "") for field in ("action", "role", "rule", "transform")]
        groups.setdefault((*sides, *others), []).append(row)
    return tuple(_folded(key, group) for key, group in groups.items())


def _folded(key: tuple[str, ...], group: list[dict[str, Any]]) -> FoldedRow:
    _, _, action, role, rule, transform = key
    shapes = {_shape(row.get("target_shape")) for row in group}
    known = [row["confidence"] for row in group if is_number(row.get("confidence"))]
    return FoldedRow(
        target=_range([str(row.get("target") or "") for row in group]),
        source=_range([str(row.get("source") or "") for row in group]),
        tensors=len(group),
        action=action,
        role=role,
        rule=rule,
        transform="" if transform == "identity" else transform,
        shape=shapes.pop() if len(shapes) == 1 else f"{len(shapes)} shapes",
        confidence=figure(min(known), decimals=2) if known and min(known) < 1 else "",
    )


def _shape(shape: Any) -> str:
    return (
        " \N{MULTIPLICATION SIGN} ".join(str(size) for size in shape) or "scalar"
        if isinstance(shape, list)
        else ""
    )


def _range(names: list[str]) -> str:
    """Names that differ in their numbers as one: ``blocks.{0…15}.weight``."""
    pattern = _INDEX.split(names[0])
    numbers = zip(*([int(found) for found in _INDEX.findall(name)] for name in names), strict=True)
    text = pattern[0]
    for values, rest in zip(numbers, pattern[1:], strict=True):
        low, high = min(values), max(values)
        text += (str(low) if low == high else f"{{{low}…{high}}}") + rest
    return text


def plan_view(folder: RunFolder) -> PlanView | None:
    """The plan in words, or None where there is none."""
    if not folder.plan.strip():
        return None
    text = folder.plan
    if len(text) > _MOST_YAML:
        text = f"{text[:_MOST_YAML]}\n# cut here; the whole plan is in plan.yaml"
    try:
        plan = yaml.safe_load(folder.plan)
    except yaml.YAMLError:
        plan = None
    stages = plan.get("stages") if isinstance(plan, dict) else None
    told = [(str(stage.get("name", "")), _stage(stage)) for stage in stages or [] if isinstance(stage, dict)]
    return PlanView(tuple(told), text)


def _stage(stage: dict[str, Any]) -> str:
    words = {"solve": _solve, "train": _train, "average": _average}
    describe = words.get(str(stage.get("kind")))
    return describe(stage) if describe else f"A stage of the kind {stage.get('kind')!r}."


def _solve(stage: dict[str, Any]) -> str:
    heads = _names(stage.get("outputs")) or "every output"
    options = [f"{key} {value}" for key, value in (stage.get("options") or {}).items()]
    text = f"Solve for {heads} with {stage.get('solver', 'a solver')}, on features of the frozen layers"
    text += f" ({joined(options)})" if options else ""
    refit = ", then once more on train and validation together" if stage.get("refit") else ""
    return shortened(f"{text}{refit}.", 600)


def _train(stage: dict[str, Any]) -> str:
    trainable = _names(stage.get("trainable"))
    what = "all layers" if trainable in ("", "*") else trainable
    terms = [str(term.get("computes")) for term in stage.get("terms") or [] if isinstance(term, dict)]
    rates = [group.get("rate") for group in stage.get("groups") or [] if isinstance(group, dict)]
    told = sorted({rate for rate in rates if is_number(rate)})
    sentences = [f"Train {what} by gradient steps" + (f" on {joined(terms)}" if terms else "")]
    optimiser = stage.get("optimiser") or {}
    name = {"adamw": "AdamW", "sgd": "SGD"}.get(str(optimiser.get("name", "adamw")), optimiser.get("name"))
    if told:
        span = f"{told[0]:g}" if len(told) == 1 else f"{told[0]:g} to {told[-1]:g}"
        sentences.append(
            f"{name}, rate {span}, {(stage.get('schedule') or {}).get('name', 'cosine')} schedule"
        )
    if stage.get("frozen_prefix"):
        sentences.append(f"Everything up to {stage['frozen_prefix']} is frozen and computed once")
    if stop := _stop(stage.get("stop") or {}):
        sentences.append(f"Ends after {stop}")
    return shortened(". ".join(sentences) + ".", 600)


def _stop(stop: dict[str, Any]) -> str:
    limits = [
        counted(int(stop[key]), noun)
        for key, noun in (("epochs", "epoch"), ("steps", "step"), ("seconds", "second"))
        if is_number(stop.get(key))
    ]
    if is_number(stop.get("patience")):
        limits.append(f"{counted(int(stop['patience']), 'epoch')} without a better validation loss")
    return joined(limits, "or")


def _average(stage: dict[str, Any]) -> str:
    return f"Average the weights of {_names(stage.get('of'))} ({stage.get('rule', 'mean')})."


def _names(values: Any) -> str:
    return joined([str(value) for value in values]) if isinstance(values, list) else ""
