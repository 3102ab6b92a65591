"""Tables of what trials gave, as Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from regraft.core.statistics import estimate

Record = dict[str, Any]


def show_screening(records: Sequence[Record], targets: Sequence[str]) -> None:
    """A row for each strategy, the best mean first; those that do not apply everywhere below."""
    rows = defaultdict[str, dict[str, Record]](dict)
    for record in records:
        if "accuracy" in record:
            rows[record["strategy"]][record["target"]] = record
    whole = {name: found for name, found in rows.items() if len(found) == len(targets)}
    ranked = sorted(whole, key=lambda name: -mean_of(whole[name].values(), "accuracy"))
    partly = [name for name in rows if name not in whole]
    lines = [screened(name, rows[name], targets) for name in (*ranked, *partly)]
    table(["strategy", *targets, "mean", "seconds", "trained parameters", "kept its start"], lines)
    refused = {(r["strategy"], r["target"]): r["refused"] for r in records if "refused" in r}
    for (name, target), why in refused.items():
        print(f"{name} on {target}: {why.splitlines()[0]}")


def screened(name: str, found: dict[str, Record], targets: Sequence[str]) -> list[str]:
    """One row of the screening."""
    each = [f"{100 * found[target]['accuracy']:.1f}" if target in found else "" for target in targets]
    whole = f"{100 * mean_of(found.values(), 'accuracy'):.1f}" if "" not in each else ""
    trained = sorted(record["trained"] for record in found.values())
    kept = sum(record["kept start"] for record in found.values())
    seconds = mean_of(found.values(), "processor seconds")
    return [name, *each, whole, f"{seconds:.0f}", spanned(trained), f"{kept} of {len(found)}" if kept else ""]


def show_full(records: Sequence[Record], targets: Sequence[str], default: str) -> None:
    """By number of labels and strategy: accuracy, and what it is ahead of the default, paired."""
    found = {(r["labels"], r["strategy"], r["target"], r["seed"]): r for r in records if "accuracy" in r}
    labels = sorted({key[0] for key in found})
    names = list(dict.fromkeys(key[1] for key in found))
    lines = [
        summed(found, count, name, targets, default)
        for count in labels
        for name in names
        if any(key[:2] == (count, name) for key in found)
    ]
    columns = ["labels per class", "strategy", "accuracy", f"minus {default}", "better on", "seconds"]
    table([*columns, "trained parameters"], lines)
    print()
    each = [
        [str(count), target, *(by_seed(found, count, name, target) for name in names)]
        for count in labels
        for target in targets
    ]
    table(["labels per class", "target", *names], each)


def summed(
    found: dict[tuple[Any, ...], Record], count: int, name: str, targets: Sequence[str], default: str
) -> list[str]:
    """A strategy at one number of labels: means over targets, differences paired by target and seed."""
    own = {key[2:]: r for key, r in found.items() if key[:2] == (count, name)}
    ahead: dict[str, list[float]] = defaultdict(list)
    for (target, seed), record in own.items():
        if other := found.get((count, default, target, seed)):
            ahead[target].append(record["accuracy"] - other["accuracy"])
    each = [mean(values) for values in ahead.values()]
    there = len({target for target, _ in own})
    wide = estimate(each) if len(each) > 1 and name != default else None
    return [
        str(count),
        name,
        f"{100 * mean_of(own.values(), 'accuracy'):.1f}"
        + ("" if there == len(targets) else f" ({there} targets)"),
        f"{100 * wide.mean:+.1f} ({100 * wide.low:+.1f} to {100 * wide.high:+.1f})" if wide else "",
        f"{sum(value > 0 for value in each)} of {len(each)}" if wide else "",
        f"{mean_of(own.values(), 'processor seconds'):.0f}",
        spanned(sorted(record["trained"] for record in own.values())),
    ]


def by_seed(found: dict[tuple[Any, ...], Record], count: int, name: str, target: str) -> str:
    """Mean and 95% t interval over seeds."""
    values = [r["accuracy"] for key, r in found.items() if key[:3] == (count, name, target)]
    if len(values) < 2:
        return f"{100 * values[0]:.1f}" if values else ""
    wide = estimate(values)
    return f"{100 * wide.mean:.1f} ± {50 * (wide.high - wide.low):.1f}"


def mean_of(records: Iterable[Record], key: str) -> float:
    return mean(record[key] for record in records)


def spanned(values: Sequence[int]) -> str:
    """The least and the greatest of some counts."""
    least, most = (f"{value:,}" for value in (values[0], values[-1]))
    return least if least == most else f"{least} to {most}"


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join("---" for _ in columns) + " |")
    for line in lines:
        print("| " + " | ".join(line) + " |")
