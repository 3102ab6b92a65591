"""Paired differences between arms, seed by seed: points, means with intervals, p-values, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from regraft.report._charts import Dot, DotPlot
from regraft.report._scale import Scale, scale_of
from regraft.report._words import MISSING, difference, is_number, numbers, probability, tick

VERDICTS = {
    "HELPED": ("helped", "▲"),
    "HARMED": ("harmed", "▼"),
    "EQUIVALENT": ("equal", "="),
    "INCONCLUSIVE": ("open", "?"),
}

Json = dict[str, Any]


@dataclass(frozen=True)
class Contrast:
    """A line of the table of paired differences."""

    against: str
    text: str
    p: str
    p_holm: str
    p_equivalence: str
    detectable: str
    verdict: str
    tone: str


@dataclass(frozen=True)
class SeedTable:
    """The differences of each seed: a column for each contrast."""

    against: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def deciding_contrast(evidence: Json) -> Json | None:
    """The run's strategy against the reference."""
    wanted = (evidence.get("strategy_arm"), evidence.get("reference"))
    rows = evidence.get("contrasts") or []
    return next((row for row in rows if (row.get("arm"), row.get("against")) == wanted), None)


def contrast_row(row: Json, percent: bool) -> Contrast:
    """One contrast in words."""
    verdict = str(row.get("verdict") or "")
    power = row.get("detectable")
    return Contrast(
        against=str(row.get("against", "")),
        text=difference(row.get("mean"), row.get("low"), row.get("high"), percent=percent),
        p=probability(row.get("p")),
        p_holm=probability(row.get("p_holm")),
        p_equivalence=probability(row.get("p_equivalence")),
        detectable=difference(power, percent=percent).lstrip("+") if is_number(power) else MISSING,
        verdict=verdict,
        tone=VERDICTS.get(verdict, ("unknown", ""))[0],
    )


def contrast_plot(contrasts: Sequence[Json], evidence: Json, percent: bool) -> DotPlot | None:
    """Differences of seeds as points, means with intervals, and the band of what is too small to count."""
    known = [row for row in contrasts if is_number(row.get("mean"))]
    if not known:
        return None
    delta = float(evidence["delta"]) if is_number(evidence.get("delta")) else 0.0
    values = [value for row in known for value in _values(row)]
    scale = scale_of([0.0, delta, -delta, *values])
    rows = tuple(_dot(row, scale, evidence, percent) for row in known)
    unit = "points" if percent else "in the metric's unit"
    return DotPlot(
        title="Paired differences between arms",
        rows=rows,
        ticks=scale.ticks(partial(tick, percent=percent, signed=True)),
        axis=f"difference, {unit}" + (", shaded: too small to count" if delta else ""),
        zero=scale.at(0.0),
        band=(scale.at(-delta), scale.at(delta)) if delta else None,
    )


def _dot(row: Json, scale: Scale, evidence: Json, percent: bool) -> Dot:
    low, high, verdict = row.get("low"), row.get("high"), str(row.get("verdict") or "")
    p = f"p after Holm {probability(row.get('p_holm'))}" if is_number(row.get("p_holm")) else ""
    return Dot(
        label=f"against {row.get('against', '')}",
        text=_without_unit(row, percent),
        at=scale.at(row["mean"]),
        low=scale.at(low) if is_number(low) else None,
        high=scale.at(high) if is_number(high) else None,
        points=tuple(scale.at(value) for value in numbers(row.get("differences"))),
        tag=", ".join(filter(None, (verdict, p))),
        strong=row is deciding_contrast(evidence),
    )


def _values(row: Json) -> list[float]:
    return numbers([row.get("mean"), row.get("low"), row.get("high"), *(row.get("differences") or [])])


def _without_unit(row: Json, percent: bool) -> str:
    """The difference as it stands beside an axis that names its unit."""
    text = difference(row.get("mean"), row.get("low"), row.get("high"), percent=percent)
    return text.replace(" points", "", 1)


def seed_table(contrasts: Sequence[Json], evidence: Json, percent: bool) -> SeedTable | None:
    """What each seed said; None where no contrast has a difference for each seed."""
    seeds = evidence.get("seeds") or []
    known = [row for row in contrasts if seeds and len(row.get("differences") or []) == len(seeds)]
    if not known:
        return None
    rows = tuple(
        (str(seed), tuple(_one(row["differences"][at], percent) for row in known))
        for at, seed in enumerate(seeds)
    )
    return SeedTable(tuple(str(row.get("against", "")) for row in known), rows)


def _one(value: Any, percent: bool) -> str:
    return difference(value, percent=percent).replace(" points", "")
