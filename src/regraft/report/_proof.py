"""The sections on the arms, their contrasts, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regraft.report._charts import Dot, DotPlot
from regraft.report._contrasts import VERDICTS, Contrast, SeedTable, contrast_plot, contrast_row, seed_table
from regraft.report._figures import axis_writer
from regraft.report._folder import RunFolder
from regraft.report._scale import Scale, scale_of
from regraft.report._words import count, difference, interval, is_number, numbers, seconds

NOT_PROVEN = ("NOT PROVEN YET", "unknown", "○")


@dataclass(frozen=True)
class Arm:
    """A line of the table of arms."""

    name: str
    kind: str
    source: str
    text: str
    seconds: str
    trained: str
    note: str
    part: str


@dataclass(frozen=True)
class Proof:
    """What `prove` found out."""

    verdict: str
    tone: str
    symbol: str
    sentence: str
    metric: str
    facts: tuple[tuple[str, str], ...]
    cut: tuple[str, ...]
    arms: tuple[Arm, ...]
    arm_plot: DotPlot | None
    strategy: str
    null: str
    contrasts: tuple[Contrast, ...]
    contrast_plot: DotPlot | None
    seeds: SeedTable | None


def proof_of(folder: RunFolder) -> Proof | None:
    """The evidence, or None where nothing has been proven yet."""
    evidence = folder.evidence
    if not evidence:
        return None
    metric = evidence.get("metric") or {}
    percent = bool(metric.get("percent"))
    arms = _sorted(evidence.get("arms") or [], bool(metric.get("higher_is_better", True)))
    contrasts = [row for row in evidence.get("contrasts") or [] if isinstance(row, dict)]
    word, tone, symbol = badge(evidence)
    return Proof(
        verdict=word,
        tone=tone,
        symbol=symbol,
        sentence=str(evidence.get("sentence", "")),
        metric=str(metric.get("name", "")),
        facts=_facts(evidence, percent),
        cut=tuple(str(item) for item in evidence.get("cut") or []),
        arms=tuple(_arm(arm, evidence, percent) for arm in arms),
        arm_plot=_arm_plot(arms, evidence, percent),
        strategy=str(evidence.get("strategy_arm") or "The strategy"),
        null=str(evidence.get("null") or ""),
        contrasts=tuple(contrast_row(row, percent) for row in contrasts),
        contrast_plot=contrast_plot(contrasts, evidence, percent),
        seeds=seed_table(contrasts, evidence, percent),
    )


def badge(evidence: dict[str, Any]) -> tuple[str, str, str]:
    """The verdict's word, the name of its tone and its symbol."""
    word = str(evidence.get("verdict", ""))
    return (word, *VERDICTS[word]) if word in VERDICTS else NOT_PROVEN


def _sorted(arms: Sequence[dict[str, Any]], higher: bool) -> list[dict[str, Any]]:
    known = [arm for arm in arms if is_number(arm.get("mean"))]
    unknown = [arm for arm in arms if not is_number(arm.get("mean"))]
    return sorted(known, key=lambda arm: float(arm["mean"]), reverse=higher) + unknown


def _facts(evidence: dict[str, Any], percent: bool) -> tuple[tuple[str, str], ...]:
    metric = evidence.get("metric") or {}
    delta = difference(evidence.get("delta"), percent=percent).lstrip("+")
    better = "higher" if metric.get("higher_is_better", True) else "lower"
    facts = [
        ("metric", f"{metric['name']}, {better} is better" if "name" in metric else ""),
        ("output", str(evidence.get("output") or "")),
        ("compared", _pair(evidence.get("strategy_arm"), evidence.get("reference"))),
        ("paired seeds", ", ".join(str(seed) for seed in evidence.get("seeds") or [])),
        ("counts as a difference", f"more than {delta}" if is_number(evidence.get("delta")) else ""),
        ("labels used", count(evidence["labels"]) if is_number(evidence.get("labels")) else ""),
        ("label equivalence", str((evidence.get("curve") or {}).get("sentence") or "")),
        ("cost", _cost(evidence)),
    ]
    return tuple((name, text) for name, text in facts if text)


def _pair(arm: Any, against: Any) -> str:
    return f"{arm} against {against}" if arm and against else ""


def _cost(evidence: dict[str, Any]) -> str:
    words = (("spent_seconds", "spent"), ("predicted_seconds", "foretold"), ("budget_seconds", "allowed"))
    told = [f"{seconds(evidence[key])} {word}" for key, word in words if is_number(evidence.get(key))]
    return ", ".join(told)


def _part(arm: dict[str, Any], evidence: dict[str, Any]) -> str:
    name = arm.get("name")
    parts = ((evidence.get("strategy_arm"), "this run"), (evidence.get("reference"), "reference"))
    return next((word for wanted, word in parts if name is not None and name == wanted), "")


def _arm(arm: dict[str, Any], evidence: dict[str, Any], percent: bool) -> Arm:
    return Arm(
        name=str(arm.get("name", "")),
        kind=str(arm.get("kind", "")),
        source="with source" if arm.get("uses_source") else "no source",
        text=_arm_text(arm, percent),
        seconds=seconds(arm.get("seconds")),
        trained=count(arm.get("trained_parameters")),
        note=str(arm.get("note") or ""),
        part=_part(arm, evidence),
    )


def _arm_text(arm: dict[str, Any], percent: bool) -> str:
    return interval(arm.get("mean"), arm.get("low"), arm.get("high"), percent=percent)


def _arm_plot(arms: Sequence[dict[str, Any]], evidence: dict[str, Any], percent: bool) -> DotPlot | None:
    known = [arm for arm in arms if is_number(arm.get("mean"))]
    if not known:
        return None
    values = [value for arm in known for value in _values(arm, "test")]
    limits = {"least": 0.0, "most": 1.0} if percent else {}
    scale = scale_of(values, narrowest=0.02 if percent else 0.0, **limits)
    rows = tuple(
        _dot(
            arm,
            scale,
            "test",
            label=str(arm.get("name", "")),
            text=_arm_text(arm, percent),
            hollow=not arm.get("uses_source"),
            tag=", ".join(
                filter(None, ("with source" if arm.get("uses_source") else "no source", _part(arm, evidence)))
            ),
            strong=bool(_part(arm, evidence)),
        )
        for arm in known
    )
    name = str((evidence.get("metric") or {}).get("name", "metric"))
    title = f"Arms by {name} on the test part"
    return DotPlot(title, rows, scale.ticks(axis_writer(percent)), f"{name} on the test part")


def _values(row: dict[str, Any], points: str) -> list[float]:
    return numbers([row.get("mean"), row.get("low"), row.get("high"), *(row.get(points) or [])])


def _dot(row: dict[str, Any], scale: Scale, points: str, **rest: Any) -> Dot:
    low, high = row.get("low"), row.get("high")
    return Dot(
        at=scale.at(row["mean"]),
        low=scale.at(low) if low is not None and is_number(low) else None,
        high=scale.at(high) if high is not None and is_number(high) else None,
        points=tuple(scale.at(value) for value in numbers(row.get(points))),
        **rest,
    )
