"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from regraft.core.files import write_text
from regraft.report._charts import Bar, Dot, DotPlot, bars
from regraft.report._contrasts import VERDICTS
from regraft.report._figures import axis_writer
from regraft.report._overview import title_of
from regraft.report._page import environment
from regraft.report._scale import Scale, scale_of
from regraft.report._words import ending, is_number, numbers, seconds, shortened, tick
from regraft.report.comparison._comparison import Comparison
from regraft.report.comparison._groups import Entry, Group
from regraft.report.comparison._runs import ComparedRun
from regraft.report.comparison._table import figure_of, gap_of

_LONGEST_NAME, _LONGEST_HEAD = 80, 40


@dataclass(frozen=True)
class GroupView:
    """Figures that share an axis: dots with intervals, paired differences, and both as a table."""

    title: str
    sentence: str
    why: str
    plot: DotPlot | None
    gaps: DotPlot | None
    paired: bool
    first: str
    metric: str
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class VerdictRow:
    """What was proven of a run."""

    run: str
    word: str
    tone: str
    symbol: str
    sentence: str


def write_comparison_page(comparison: Comparison, path: str | Path) -> Path:
    """Write a page about runs side by side; returns its path.

    One file that opens offline, runs no script and fetches nothing.
    """
    page = (
        environment()
        .get_template("comparison.html.j2")
        .render(
            names=[ending(run.name, _LONGEST_HEAD) for run in comparison.runs],
            sentence=comparison.sentence,
            groups=[_group(group, several=len(comparison.groups) > 1) for group in comparison.groups],
            different=[one for one in comparison.aspects if one.differs],
            same=[(one.name, one.values[0]) for one in comparison.aspects if not one.differs],
            plan=comparison.plan,
            costs=comparison.costs,
            times=_times(comparison.runs),
            verdicts=[_verdict(*told) for told in comparison.verdicts],
        )
    )
    place = Path(path)
    write_text(place, page)
    return place


def _group(group: Group, *, several: bool) -> GroupView:
    on = f", {title_of(group.entries[0].run.folder)}" if several else ""
    return GroupView(
        title=f"{group.metric} of {shortened(group.output, _LONGEST_NAME)}{on}",
        sentence=group.sentence,
        why=group.why,
        plot=_plot(group),
        gaps=_gaps(group) if group.paired else None,
        paired=group.paired,
        first=ending(group.entries[0].run.name, _LONGEST_HEAD),
        metric=group.metric,
        rows=tuple(
            (ending(entry.run.name, _LONGEST_NAME), figure_of(entry, group), gap_of(entry, group))
            for entry in group.entries
        ),
    )


def _plot(group: Group) -> DotPlot | None:
    known = [entry for entry in group.entries if entry.value is not None]
    if not known:
        return None
    limits = {"least": 0.0, "most": 1.0} if group.percent else {}
    ends = [value for one in known for value in numbers((one.value, one.low, one.high))]
    scale = scale_of(ends, narrowest=0.02 if group.percent else 0.0, **limits)
    better = "higher" if group.higher_is_better else "lower"
    rows = tuple(
        Dot(
            label=ending(entry.run.name, _LONGEST_NAME),
            text=figure_of(entry, group),
            at=scale.at(float(entry.value or 0.0)),
            low=None if entry.low is None else scale.at(entry.low),
            high=None if entry.high is None else scale.at(entry.high),
            tag=_made(entry.run),
        )
        for entry in known
    )
    axis = f"{group.metric} on the test part, 95% interval; {better} is better"
    return DotPlot(f"Runs by {group.metric}", rows, scale.ticks(axis_writer(group.percent)), axis)


def _made(run: ComparedRun) -> str:
    """How a run was made, in a few words."""
    facts = run.folder.run
    labels = f"{run.labels:,} labels" if run.labels is not None else ""
    source = str((facts.get("source") or {}).get("name") or "")
    return shortened(", ".join(filter(None, (str(facts.get("strategy") or ""), source, labels))), 90)


def _gaps(group: Group) -> DotPlot | None:
    known = [entry for entry in group.entries if entry.difference and is_number(entry.difference.value)]
    if not known:
        return None
    ends = [value for entry in known for value in _ends(entry)]
    scale = scale_of([0.0, *ends], narrowest=0.01 if group.percent else 0.0)
    rows = tuple(_gap(entry, group, scale) for entry in known)
    unit = "points" if group.percent else "in the metric's unit"
    first = ending(group.entries[0].run.name, _LONGEST_HEAD)
    return DotPlot(
        title=f"Paired differences to {first}",
        rows=rows,
        ticks=scale.ticks(partial(tick, percent=group.percent, signed=True)),
        axis=f"better than {first} by, {unit}, 95% interval over test examples",
        zero=scale.at(0.0),
    )


def _ends(entry: Entry) -> list[float]:
    found = entry.difference
    return numbers((found.value, found.low, found.high)) if found else []


def _gap(entry: Entry, group: Group, scale: Scale) -> Dot:
    found = entry.difference
    assert found is not None
    return Dot(
        label=ending(entry.run.name, _LONGEST_NAME),
        text=gap_of(entry, group).replace(" points", "", 1),
        at=scale.at(found.value),
        low=scale.at(found.low) if is_number(found.low) else None,
        high=scale.at(found.high) if is_number(found.high) else None,
        tag=f"{found.count:,} test examples",
    )


def _times(runs: Sequence[ComparedRun]) -> tuple[Bar, ...]:
    told = [(run.name, (run.folder.run.get("seconds") or {}).get("total")) for run in runs]
    known = [(ending(name, _LONGEST_NAME), float(spent)) for name, spent in told if is_number(spent)]
    return bars([(name, spent, seconds(spent)) for name, spent in known])


def _verdict(run: str, word: str, sentence: str) -> VerdictRow:
    tone, symbol = VERDICTS.get(word, ("unknown", "○"))
    name = ending(run, _LONGEST_NAME)
    return VerdictRow(name, word or "NOT PROVEN YET", tone, symbol, shortened(sentence, 600))
