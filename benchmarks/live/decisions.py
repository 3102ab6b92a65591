"""What a ranking decided, and what its choice lacks."""

from __future__ import annotations

from collections.abc import Sequence

from common import print_markdown
from compared import Compared, Record, interval, over_targets
from gains import KEYS


def show_decisions(every: Sequence[Compared]) -> dict[str, list[Record]]:
    """What was decided, and what would have been with a constant fitted on the other targets."""
    found = {"as it was": [decided(one, one.look) for one in every]}
    for constant in (*KEYS, "raceless"):
        again = [decided(one, one.look[key]) for one in every if (key := f"refit {constant}") in one.look]
        if again:
            found[f"{constant} fitted on the others" if constant in KEYS else "no race"] = again
    for name, decisions in found.items():
        print(f"With {name}:\n")
        lines = [
            [
                one["target"],
                f"{one['steps']['apart']:.2f}, {one['steps'].get('raced', 0.0):.2f}",
                one["chosen"],
                ", ".join(one["as good"]),
                one["truly best"],
                f"{one['regret']:.1f}",
                f"{one['regret of the best contender']:.1f}",
                f"{one['naive']}, {one['regret of the naive choice']:.1f}",
                f"{one['seconds']:.0f}",
            ]
            for one in decisions
        ]
        columns = ["target", "apart, raced", "chosen", "as good as it", "best after fine-tuning", "regret"]
        print_markdown([*columns, "of the best contender", "naive choice, its regret", "seconds"], lines)
        for key in ("regret", "regret of the best contender", "regret of the naive choice", "seconds"):
            print(f"mean {key}: {interval(over_targets([one[key] for one in decisions]), 1)}")
        print()
    return found


def decided(one: Compared, look: Record) -> Record:
    """What a ranking decided on a target, and what its choice and the naive one lack in points."""
    board, best = look["board"], float(one.accuracies.max())
    accuracy = dict(zip(one.sources, one.accuracies.tolist(), strict=True))
    contenders = [row["name"] for row in board["rows"] if row["decision"] in ("best", "as good as best")]
    return {
        "target": one.name,
        "steps": look["steps"],
        "seconds": look["processor seconds"],
        "chosen": board["best"],
        "as good": contenders[1:],
        "truly best": max(accuracy, key=lambda name: accuracy[name]),
        "regret": 100 * (best - accuracy[board["best"]]),
        "regret of the best contender": 100 * (best - max(accuracy[name] for name in contenders)),
        "naive": board["naive"]["name"],
        "regret of the naive choice": 100 * (best - accuracy[board["naive"]["name"]]),
        "raced": sum(row["stage"] == "race" for row in board["rows"]),
    }
