"""Which strategy: who raced in ``--strategy auto``, what each reached, and what there was no time for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regraft.report._charts import Dot, DotPlot
from regraft.report._figures import axis_writer
from regraft.report._folder import RunFolder
from regraft.report._ranking import chance
from regraft.report._scale import Scale, scale_of
from regraft.report._words import (
    MISSING,
    count,
    counted,
    figure,
    interval,
    is_number,
    numbers,
    seconds,
    shortened,
)

_LONGEST = 300
_MOST_ROWS = 100

Json = dict[str, Any]

TONES = {"chosen": "helped", "as good": "equal", "behind": "unknown", "dropped": "unknown"}
_CONTEND = ("chosen", "as good")


@dataclass(frozen=True)
class RaceRow:
    """A line of the table of strategies."""

    name: str
    decision: str
    tone: str
    why: str
    text: str
    by_fold: str
    chance: str
    seconds: str


@dataclass(frozen=True)
class RaceView:
    """The decision, who raced and how, and what was left out."""

    sentence: str
    facts: tuple[tuple[str, str], ...]
    measure: str
    plot: DotPlot | None
    rows: tuple[RaceRow, ...]
    skipped: tuple[str, ...]


def race_view(folder: RunFolder) -> RaceView | None:
    """The race that chose the run's strategy; None where none did."""
    choice = folder.run.get("choice") or {}
    rows = [row for row in choice.get("rows") or [] if isinstance(row, dict)]
    if not rows:
        return None
    measure = choice.get("measure") or {}
    percent = bool(measure.get("percent"))
    return RaceView(
        sentence=str(choice.get("sentence") or ""),
        facts=_facts(choice, folder.run.get("selection") or {}),
        measure=str(measure.get("name") or "figure"),
        plot=_plot(rows, measure, percent),
        rows=tuple(_row(row, percent) for row in rows[:_MOST_ROWS]),
        skipped=tuple(shortened(one, _LONGEST) for one in choice.get("skipped") or []),
    )


def _facts(choice: Json, selection: Json) -> tuple[tuple[str, str], ...]:
    measure = choice.get("measure") or {}
    lower = ", lower is better" if not measure.get("higher_is_better", True) else ""
    facts = [
        ("judged by", f"{measure.get('name', 'figure')}{lower}, on labels that no trial trained on"),
        ("labels", count(choice["labels"]) if is_number(choice.get("labels")) else ""),
        ("settings", ", ".join(map(str, choice.get("settings") or []))),
        ("whole call", _whole(choice)),
        ("final fit", _final(choice)),
        ("chosen", _selection(selection)),
    ]
    return tuple((name, text) for name, text in facts if text)


def _whole(choice: Json) -> str:
    """Spent against foretold and allowed."""
    words = (
        ("spent_seconds", "spent"),
        ("predicted_seconds", "foretold after the probe"),
        ("budget_seconds", "allowed"),
    )
    return ", ".join(f"{seconds(choice[key])} {word}" for key, word in words if is_number(choice.get(key)))


def _final(choice: Json) -> str:
    spent, race, foretold = (choice.get(key) for key in ("spent_seconds", "race_seconds", "final_seconds"))
    told = [f"{seconds(spent - race)} spent" if is_number(spent) and is_number(race) else ""]
    told.append(f"{seconds(foretold)} foretold" if is_number(foretold) else "")
    return ", ".join(filter(None, told))


def _selection(selection: Json) -> str:
    """What choosing had seen and cost, as the verdict counts it."""
    if not selection:
        return ""
    told = [f"among {count(selection['candidates'])}" if is_number(selection.get("candidates")) else ""]
    told.append(f"by {selection['how']}" if selection.get("how") else "")
    told.append(f"in {seconds(selection['seconds'])}" if is_number(selection.get("seconds")) else "")
    seeds = selection.get("seeds") or []
    told.append(f"on {counted(len(seeds), 'seed')} that a verdict will not use" if seeds else "")
    return " ".join(filter(None, told))


def _plot(rows: Sequence[Json], measure: Json, percent: bool) -> DotPlot | None:
    known = [row for row in rows if is_number(row.get("figure"))]
    if not known:
        return None
    limits = {"least": 0.0, "most": 1.0} if percent else {}
    ends = [value for row in known for value in (*_ends(row), *numbers(row.get("by_fold")))]
    scale = scale_of(ends, narrowest=0.02 if percent else 0.0, **limits)
    name = str(measure.get("name") or "figure")
    better = "higher" if measure.get("higher_is_better", True) else "lower"
    return DotPlot(
        title=f"Strategies by {name}",
        rows=tuple(_dot(row, scale, percent) for row in known),
        ticks=scale.ticks(axis_writer(percent)),
        axis=f"{name} on judged examples, 95% interval; {better} is better",
    )


def _ends(row: Json) -> list[float]:
    return numbers(row.get(key) for key in ("figure", "low", "high"))


def _dot(row: Json, scale: Scale, percent: bool) -> Dot:
    low, high, decision = row.get("low"), row.get("high"), str(row.get("decision") or "")
    steps = row.get("steps")
    cut = f", {100 * steps:.0f}% of its steps" if is_number(steps) and steps < 1 else ""
    folds = row.get("by_fold") or []
    return Dot(
        label=shortened(row.get("name", ""), 60),
        text=interval(row["figure"], low, high, percent=percent),
        at=scale.at(row["figure"]),
        low=scale.at(low) if is_number(low) else None,
        high=scale.at(high) if is_number(high) else None,
        points=tuple(scale.at(value) for value in numbers(folds)) if len(folds) > 1 else (),
        hollow=decision not in _CONTEND,
        tag=f"{decision}{cut}",
        strong=decision == "chosen",
        tone="accent" if decision in _CONTEND else "faint",
    )


def _row(row: Json, percent: bool) -> RaceRow:
    decision = str(row.get("decision") or "")
    folds = row.get("by_fold") or []
    told = [figure(value, percent=percent) for value in folds]
    return RaceRow(
        name=shortened(row.get("name", ""), 60),
        decision=decision,
        tone=TONES.get(decision, "unknown"),
        why=shortened(row.get("why") or "", _LONGEST),
        text=interval(row.get("figure"), row.get("low"), row.get("high"), percent=percent),
        by_fold=", ".join(told) or (counted(int(row["folds"]), "fold") if row.get("folds") else MISSING),
        chance=chance(row.get("chance")),
        seconds=seconds(row["seconds"]) if row.get("seconds") else MISSING,
    )
