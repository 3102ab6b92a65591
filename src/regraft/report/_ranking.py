"""Which source: candidates with what was predicted of each, and what they cost, from a board's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.core.files import write_text
from regraft.core.memory import in_bytes
from regraft.report._charts import Dot, DotPlot, Plane
from regraft.report._cost import cost_plane, short_names
from regraft.report._figures import axis_writer
from regraft.report._scale import Scale, scale_of
from regraft.report._words import MISSING, count, figure, interval, is_number, numbers, seconds, shortened

_MOST_DOTS, _MOST_ROWS = 15, 200
_LONGEST_NAME, _LONGEST_REASON = 80, 300

Json = dict[str, Any]

TONES = {
    "best": "helped",
    "as good as best": "equal",
    "dropped": "unknown",
    "failed": "harmed",
    "not tried": "unknown",
}


@dataclass(frozen=True)
class CandidateRow:
    """A line of the table of candidates."""

    name: str
    decision: str
    tone: str
    naive: bool
    predicted: str
    chance: str
    measured: str
    seconds: str
    memory: str
    parameters: str
    licence: str
    reason: str


@dataclass(frozen=True)
class RankingView:
    """A board: the decision, the candidates, and the pictures of both that have figures.

    ``rest`` holds the dots of candidates beyond the first ones, on the same axis.
    """

    sentence: str
    facts: tuple[tuple[str, str], ...]
    metric: str
    plot: DotPlot | None
    rest: DotPlot | None
    costs: Plane | None
    rows: tuple[CandidateRow, ...]
    untold: int
    skipped: tuple[str, ...]


def ranking_view(board: Json, *, reached: str = "") -> RankingView | None:
    """A board as it is shown; None where there is none. ``reached`` is what a run came to in the end."""
    rows = [row for row in board.get("rows") or [] if isinstance(row, dict)]
    if not rows:
        return None
    percent = bool(board.get("percent"))
    dots = _dots(rows, board)
    return RankingView(
        sentence=str(board.get("sentence") or ""),
        facts=_facts(board, rows, reached),
        metric=str(board.get("metric") or "figure"),
        plot=_plot(dots[0][:_MOST_DOTS], dots[1], board) if dots else None,
        rest=_plot(dots[0][_MOST_DOTS:], dots[1], board) if dots and len(dots[0]) > _MOST_DOTS else None,
        costs=cost_plane(rows, board),
        rows=tuple(_row(row, percent) for row in rows[:_MOST_ROWS]),
        untold=max(0, len(rows) - _MOST_ROWS),
        skipped=tuple(shortened(one, _LONGEST_REASON) for one in board.get("skipped") or []),
    )


def _facts(board: Json, rows: Sequence[Json], reached: str) -> tuple[tuple[str, str], ...]:
    naive = board.get("naive") or {}
    labels = board.get("labels")
    lower = ", lower is better" if not board.get("higher_is_better", True) else ""
    facts = [
        ("predicted", f"{board.get('metric', 'figure')} of {board.get('output', 'the output')}{lower}"),
        ("for", f"{board.get('strategy') or 'fine-tuning'} with all {count(labels)} labels" * bool(labels)),
        ("candidates", count(len(rows))),
        ("naive choice", f"{naive.get('name')}, {naive.get('by')}" if naive.get("name") else ""),
        ("this run reached", reached),
        ("time", _time(board)),
    ]
    return tuple((name, text) for name, text in facts if text)


def _time(board: Json) -> str:
    words = (("spent_seconds", "spent"), ("budget_seconds", "allowed"))
    return ", ".join(f"{seconds(board[key])} {word}" for key, word in words if is_number(board.get(key)))


def _dots(rows: Sequence[Json], board: Json) -> tuple[list[Dot], Scale] | None:
    """Candidates that have a prediction, and the axis that all of them share."""
    known = [row for row in rows if is_number(row.get("predicted"))]
    if not known:
        return None
    percent = bool(board.get("percent"))
    limits = {"least": 0.0, "most": 1.0} if percent else {}
    ends = [value for row in known for value in numbers(row.get(key) for key in ("predicted", "low", "high"))]
    scale = scale_of(ends, narrowest=0.02 if percent else 0.0, **limits)
    return [_dot(row, scale, percent) for row in known], scale


def _dot(row: Json, scale: Scale, percent: bool) -> Dot:
    low, high, decision = row.get("low"), row.get("high"), str(row.get("decision") or "")
    late = f" after {row['stage']}" if decision == "dropped" and row.get("stage") else ""
    return Dot(
        label=shortened(row.get("name", ""), _LONGEST_NAME),
        text=interval(row["predicted"], low, high, percent=percent),
        at=scale.at(row["predicted"]),
        low=scale.at(low) if is_number(low) else None,
        high=scale.at(high) if is_number(high) else None,
        hollow=decision not in ("best", "as good as best"),
        tag=f"{decision}{late}" + (", naive choice" if row.get("naive") else ""),
        strong=decision == "best",
        tone="accent" if decision in ("best", "as good as best") else "faint",
    )


def _plot(dots: Sequence[Dot], scale: Scale, board: Json) -> DotPlot:
    metric = str(board.get("metric") or "figure")
    better = "higher" if board.get("higher_is_better", True) else "lower"
    return DotPlot(
        title=f"Candidates by predicted {metric}",
        rows=tuple(dots),
        ticks=scale.ticks(axis_writer(bool(board.get("percent")))),
        axis=f"predicted {metric} after fine-tuning, 80% interval; {better} is better",
    )


def _row(row: Json, percent: bool) -> CandidateRow:
    examples = row.get("examples")
    on = f" on {count(examples)}" if is_number(examples) and examples else ""
    measured = row.get("measured")
    parameters = row.get("parameters")
    return CandidateRow(
        name=shortened(row.get("name", ""), _LONGEST_NAME),
        decision=str(row.get("decision") or ""),
        tone=TONES.get(str(row.get("decision")), "unknown"),
        naive=bool(row.get("naive")),
        predicted=interval(row.get("predicted"), row.get("low"), row.get("high"), percent=percent),
        chance=chance(row.get("chance")),
        measured=figure(measured, percent=percent) + on if is_number(measured) else MISSING,
        seconds=seconds(row.get("seconds")),
        memory=in_bytes(row["memory"]) if is_number(row.get("memory")) else MISSING,
        parameters=f"{parameters / 1e6:,.1f} M" if is_number(parameters) and parameters else MISSING,
        licence=shortened(row.get("licence") or "", 40) or MISSING,
        reason=shortened(row.get("reason") or "", _LONGEST_REASON),
    )


def chance(value: Any) -> str:
    """A probability as a person reads it: ``62%``, never rounded to nothing or to all."""
    if not is_number(value):
        return MISSING
    return "< 1%" if value < 0.01 else "> 99%" if value > 0.99 else f"{100 * value:.0f}%"


def write_ranking_page(board: Json, path: str | Path, *, data: str = "", next_line: str = "") -> Path:
    """Write a page about a ranking, from its board's JSON; returns its path.

    One file that opens offline, runs no script and fetches nothing. ``data`` is what the candidates were
    ranked for, ``next_line`` what to type next.
    """
    from regraft.report._page import environment

    page = (
        environment()
        .get_template("ranking.html.j2")
        .render(ranking=ranking_view(board), best=_best(board), data=shortened(data, 120), next=next_line)
    )
    place = Path(path)
    write_text(place, page)
    return place


def _best(board: Json) -> tuple[str, str]:
    """What stands in the pill, and its tone."""
    contenders = [
        row for row in board.get("rows") or [] if row.get("decision") in ("best", "as good as best")
    ]
    if not contenders:
        return "NO SOURCE", "harmed"
    name = short_names([str(contenders[0].get("name", ""))])[0]
    return name, "helped" if len(contenders) == 1 else "equal"
