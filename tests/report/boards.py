"""Boards and learning curves as the commands write them."""

from __future__ import annotations

from typing import Any

import numpy as np

from regraft.choosing.ranking import Board
from regraft.choosing.ranking.row import Row

Json = dict[str, Any]


def board_json(count: int = 4, **changes: Any) -> Json:
    """A board of so many candidates: one best, two as good, one failed at the end, the rest dropped."""
    rng = np.random.default_rng(count)
    rows = []
    for at in range(count):
        figure = 0.91 - 0.3 * at / max(count, 8) + 0.004 * rng.normal()
        contends = at < 3
        row = Row(
            name=f"timm:family{at % 7}_{'tiny' if at % 2 else 'large'}_patch16.v{at}",
            decision="best" if at == 0 else "as good as best" if contends else "dropped",
            reason="leads" if at == 0 else "cannot be told apart" if contends else "0.4% to be the best",
            stage="race" if contends else "first look",
            predicted=figure,
            low=figure - 0.03,
            high=min(1.0, figure + 0.02),
            measured=figure - 0.05,
            examples=1024,
            chance=0.5 / (at + 1) if contends else 0.004,
            expected=0.5,
            seconds=float(20 * 2 ** rng.uniform(0, 6)),
            memory=200_000_000 + at,
            licence="Apache-2.0",
            parameters=5_000_000 * (at + 1),
            top1=80.0 - at,
            naive=at == min(1, count - 1),
        )
        rows.append(row)
    if count > 3:
        rows[-1] = Row(rows[-1].name, "failed", "its weights could not be read")
    board = Board(
        rows=tuple(rows),
        sentence=f"{rows[0].name} leads, but cannot be told apart from others.",
        naive=rows[min(1, count - 1)].name,
        naive_by="highest ImageNet accuracy",
        output="label",
        metric="accuracy",
        higher_is_better=True,
        percent=True,
        labels=2100,
        strategy="lpft",
        skipped=("a race between 3 sources: it takes up to 27 s, 23 s of the budget are left",),
        budget_seconds=120.0,
        predicted_seconds=50.0,
        spent_seconds=98.3,
    )
    return board.to_json() | changes


def curve_json(labels: tuple[float, ...] = (40, 100, 300, 1000), arms: int = 3) -> Json:
    """Learning curves of a strategy and arms without a source."""
    drawn = []
    for at in range(arms):
        points = []
        for count in labels:
            mean = 0.9 - 0.04 * at - (0.5 + 0.3 * at) / count**0.5
            point = {"per_class": None if count == 300 else int(count) // 2, "labels": count, "mean": mean}
            half = 0.3 / count**0.5
            points.append(
                point | {"test": [mean] * 4, "low": mean - half, "high": mean + half, "seconds": 2.0}
            )
        name = "lpft" if at == 0 else f"arm {at} without a source"
        drawn.append({"name": name, "kind": "scratch", "uses_source": at == 0, "points": points})
    equal = {"arm": "arm 1 without a source", "strategy": "lpft", "per_class": 20, "labels": 40.0}
    equal |= {"ratio": 6.3, "low": 4.1, "high": 9.8, "least": 1.0, "most": 25.0, "found": "measured"}
    other = equal | {"labels": 100.0, "per_class": 50, "ratio": None, "high": None, "found": "beyond"}
    return {
        "seeds": [1, 2, 3, 4],
        "arms": drawn,
        "equivalences": [equal, other | {"least": 0.4, "most": 10.0, "low": 10.0}],
        "sentence": "arm 1 without a source needs 6.3 times the labels (95% interval 4.1 to 9.8) to match "
        "lpft at 40 labels (20 per class).",
        "cut": ["seeds of the curve: 4 of 8, the budget allows no more"],
        "predicted_seconds": 30.0,
        "spent_seconds": 33.0,
    }
