"""Board: which source, what was found out about each, and the decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from regraft.choosing.ranking.row import Row
from regraft.choosing.ranking.table import table
from regraft.core.errors import SourceError
from regraft.sources import Source

_SCHEMA = 1


@dataclass(frozen=True)
class Board:
    """Candidates in order, and the decision.

    Attributes
    ----------
    rows
        The one to take first, then those as good, those that were dropped, those that failed.
    sentence
        The decision: who is best, how sure that is, and how the naive choice compares.
    naive
        What one would have taken without looking at the data: the source with the highest ImageNet accuracy,
        or the largest where that is not known of every candidate; empty where none could be ranked.
    naive_by
        ``highest ImageNet accuracy`` or ``most parameters``.
    output
        The target's output that sources were compared on.
    metric, higher_is_better, percent
        Its first metric.
    labels
        How many labelled examples the predictions are for: all outside the test part.
    strategy
        What the predictions are for.
    skipped
        Sentences: what the budget left out, in the order in which it was cut.
    budget_seconds, predicted_seconds, spent_seconds
        Allowed (None: no limit), foretold before the last stage that was begun, at the most, and used.
    """

    rows: tuple[Row, ...]
    sentence: str
    naive: str
    naive_by: str
    output: str
    metric: str
    higher_is_better: bool
    percent: bool
    labels: int
    strategy: str
    skipped: tuple[str, ...] = ()
    budget_seconds: float | None = None
    predicted_seconds: float = 0.0
    spent_seconds: float = 0.0
    sources: tuple[Source, ...] = field(default=(), repr=False, compare=False)

    @property
    def best(self) -> Source | str:
        """The source to take, as it was opened; its name on a board that was read from JSON.

        Raises ``SourceError`` where no candidate could be ranked.
        """
        row = self.rows[0] if self.rows else None
        if row is None or row.decision != "best":
            raise SourceError("no candidate could be ranked; the board's rows say why")
        return next((source for source in self.sources if source.name == row.name), row.name)

    @property
    def contenders(self) -> tuple[Row, ...]:
        """The best one and those that cannot be told apart from it."""
        return tuple(row for row in self.rows if row.decision in ("best", "as good as best"))

    def table(self) -> str:
        """The rows for a terminal."""
        return table(self.rows, metric=self.metric, percent=self.percent)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "schema": _SCHEMA,
            "best": self.rows[0].name if self.contenders else None,
            "sentence": self.sentence,
            "rows": [row.to_json() for row in self.rows],
            "naive": {"name": self.naive, "by": self.naive_by},
            "output": self.output,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "percent": self.percent,
            "labels": self.labels,
            "strategy": self.strategy,
            "skipped": list(self.skipped),
            "budget_seconds": self.budget_seconds,
            "predicted_seconds": self.predicted_seconds,
            "spent_seconds": self.spent_seconds,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Board:
        """From plain JSON; ``best`` is then a name."""
        same = {
            name: data[name]
            for name in (
                "sentence",
                "output",
                "metric",
                "higher_is_better",
                "percent",
                "labels",
                "strategy",
                "budget_seconds",
                "predicted_seconds",
                "spent_seconds",
            )
        }
        return cls(
            rows=tuple(Row.from_json(row) for row in data["rows"]),
            naive=data["naive"]["name"],
            naive_by=data["naive"]["by"],
            skipped=tuple(data["skipped"]),
            **same,
        )
