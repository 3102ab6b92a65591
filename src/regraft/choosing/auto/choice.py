"""Choice: what a race decided, and all that it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One strategy.

    Attributes
    ----------
    name
        As typed behind ``--strategy``.
    figure, low, high
        The mean over judged examples with its 95% interval; None where it was not tried.
    chance
        The share of resamples in which no other was better; None where it was not among the last.
    folds
        In how many it was tried.
    seconds
        That its trials took.
    steps
        The share of its steps that it was cut to, 1 where it was not.
    decision
        ``chosen``, ``as good``, ``behind``, ``dropped`` or ``skipped``.
    why
        In words.
    by_fold
        The figure in each fold; None in one that it was not tried in.
    """

    name: str
    figure: float | None
    low: float | None
    high: float | None
    chance: float | None
    folds: int
    seconds: float
    steps: float
    decision: str
    why: str
    by_fold: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Which strategy, and why.

    Attributes
    ----------
    winner
        The strategy whose plan is carried out.
    sentence
        The decision in words.
    measure
        What figures are, and whether they are shares (``percent``) and higher ones better.
    rows
        One for each strategy, those that were tried first.
    seeds
        Those of the folds: a proof takes others.
    labels
        How many labelled examples the race used.
    budget_seconds
        What the whole call may take; None without a limit.
    predicted_seconds
        What the race's first round and the final fit were foretold to take, with all before them.
    race_seconds
        When the race was over, from the beginning of the call.
    final_seconds
        What the final fit was foretold to take from there.
    skipped
        Sentences on what there was no time or no use for.
    spent_seconds
        What the whole call took; None until it is over.
    settings
        What the winner changes of its strategy's plan, ``KEY=VALUE``.
    """

    winner: str
    sentence: str
    measure: dict[str, Any]
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    labels: int
    budget_seconds: float | None
    predicted_seconds: float
    race_seconds: float
    final_seconds: float
    skipped: tuple[str, ...] = ()
    spent_seconds: float | None = None
    settings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        found = asdict(self)
        found["rows"] = [{**asdict(row), "by_fold": list(row.by_fold)} for row in self.rows]
        lists = {name: list(found[name]) for name in ("seeds", "skipped", "settings")}
        return {**found, **lists}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Choice:
        """From plain JSON."""
        rows = tuple(Row(**{**row, "by_fold": tuple(row.get("by_fold", ()))}) for row in data["rows"])
        lists = {name: tuple(data.get(name, ())) for name in ("seeds", "skipped", "settings")}
        return cls(**{**data, **lists, "rows": rows})
