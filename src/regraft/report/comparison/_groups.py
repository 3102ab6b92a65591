"""Final figures of runs on one axis: of one output, metric and test part, paired where they can be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regraft.evidence.kept_values import PairedDifference, paired_difference
from regraft.report._words import difference, is_number, joined
from regraft.report.comparison._runs import ComparedRun


@dataclass(frozen=True)
class Entry:
    """A run's figure; ``difference`` is its lead over the group's first run, paired over test examples."""

    run: ComparedRun
    value: float | None
    low: float | None
    high: float | None
    difference: PairedDifference | None


@dataclass(frozen=True)
class Group:
    """Runs whose figures of an output may stand on one axis.

    Attributes
    ----------
    output, task, metric, higher_is_better, percent
        What is compared.
    entries
        In the order in which the runs were named; the first is what the others are compared with.
    paired
        Whether differences are paired over test examples.
    why
        Why they are not, or what has to be kept in mind.
    """

    output: str
    task: str
    metric: str
    higher_is_better: bool
    percent: bool
    entries: tuple[Entry, ...]
    paired: bool
    why: str

    @property
    def sentence(self) -> str:
        """Who has the best figure, and from whom that can be told apart."""
        known = [entry for entry in self.entries if entry.value is not None]
        if not known:
            return f"{self.metric} of {self.output} is not defined for any of the runs."
        if len(self.entries) == 1:
            one = known[0]
            return f"{one.run.name} has {self._figure(one.value)} {self.metric} of {self.output}."
        best = _best(known, self.higher_is_better)
        word = "highest" if self.higher_is_better else "lowest"
        first = [entry.run.name for entry in known if entry.value == best.value]
        have = "share" if len(first) > 1 else "has"
        told = (
            f"{joined(first)} {have} the {word} {self.metric} of {self.output}, {self._figure(best.value)}."
        )
        return " ".join([told, *self._differences()])

    def _figure(self, value: float | None) -> str:
        return f"{100 * value:.1f}%" if self.percent and value is not None else f"{value:.4g}"

    def _differences(self) -> list[str]:
        first = self.entries[0].run.name
        told = [entry for entry in self.entries[1:] if entry.difference is not None]
        apart = [entry for entry in told if _apart(entry.difference)]
        same = [entry.run.name for entry in told if not _apart(entry.difference)]
        said = [f"{entry.run.name} is {self._gap(entry)} than {first}." for entry in apart]
        return [*said, f"{joined(same)} cannot be told apart from {first}."] if same else said

    def _gap(self, entry: Entry) -> str:
        found = entry.difference
        assert found is not None
        size, sign = abs(found.value), 1 if found.value > 0 else -1
        ends = sorted((sign * found.low, sign * found.high))
        text = difference(size, *ends, percent=self.percent).replace("+", "")
        return f"{text} {'better' if found.value > 0 else 'worse'}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "output": self.output,
            "task": self.task,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "percent": self.percent,
            "paired": self.paired,
            "why": self.why,
            "sentence": self.sentence,
            "runs": [_entry_json(entry) for entry in self.entries],
        }


def _best(known: Sequence[Entry], higher: bool) -> Entry:
    return max(known, key=lambda entry: (entry.value or 0.0) * (1 if higher else -1))


def _apart(found: PairedDifference | None) -> bool:
    return found is not None and (found.low > 0 or found.high < 0)


def _entry_json(entry: Entry) -> dict[str, Any]:
    found = entry.difference
    gap = None if found is None else {"against_first": _plain(found.value), "count": found.count}
    if found is not None and gap is not None:
        gap |= {"low": _plain(found.low), "high": _plain(found.high)}
    value = {"value": entry.value, "low": entry.low, "high": entry.high}
    return {"run": entry.run.name, **value, "difference": gap}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def groups_of(runs: Sequence[ComparedRun]) -> tuple[Group, ...]:
    """Every output of every run, on an axis with those that it may be compared with."""
    found: dict[tuple[str, ...], list[ComparedRun]] = {}
    for run in runs:
        for name, output in run.outputs.items():
            found.setdefault(_key(run, name, output), []).append(run)
    return tuple(_group(key[0], members) for key, members in found.items())


def _key(run: ComparedRun, name: str, output: dict[str, Any]) -> tuple[str, ...]:
    classes = [str(one) for one in output.get("classes") or []]
    return (name, str(output.get("task")), str(output.get("deciding")), run.test_part, *classes)


def _group(name: str, runs: Sequence[ComparedRun]) -> Group:
    output = runs[0].outputs[name]
    deciding = str(output.get("deciding") or "")
    metric = (output.get("metrics") or {}).get(deciding) or {}
    why = _why_not(name, runs)
    paired = not why and len(runs) > 1
    return Group(
        output=name,
        task=str(output.get("task") or ""),
        metric=deciding,
        higher_is_better=bool(metric.get("higher_is_better", True)),
        percent=bool(metric.get("percent")),
        entries=tuple(_entry(run, name, deciding, runs[0] if paired else None) for run in runs),
        paired=paired,
        why=why or (_caution(runs) if paired else ""),
    )


def _why_not(name: str, runs: Sequence[ComparedRun]) -> str:
    if len(runs) < 2:
        return ""
    without = [run.name for run in runs if name not in run.values]
    if len(without) == len(runs):
        return (
            "The figures are not paired: the runs kept no value for each test example, because the metric is "
            "no mean over examples or an earlier regraft wrote them."
        )
    if without:
        return f"The figures are not paired: {joined(without)} kept no value for each test example."
    if len({len(run.values[name].values) for run in runs}) > 1:
        return "The figures are not paired: the runs kept values for different numbers of test examples."
    if len({(run.values[name].metric, run.values[name].root) for run in runs}) > 1:
        return "The figures are not paired: the runs kept values of different metrics."
    return ""


def _caution(runs: Sequence[ComparedRun]) -> str:
    said = (
        "Differences are paired over test examples; their 95% intervals do not hold what other training "
        "draws or seeds would change; regraft prove does."
    )
    if len({run.data for run in runs}) > 1:
        said += " The data differ outside of the test examples, or in their labels: see the fingerprints."
    return said


def _entry(run: ComparedRun, name: str, deciding: str, first: ComparedRun | None) -> Entry:
    figure = (run.outputs[name].get("metrics") or {}).get(deciding) or {}
    value, low, high = (
        float(figure[key]) if is_number(figure.get(key)) else None for key in ("value", "low", "high")
    )
    against = None if first is None or first is run else first.values[name]
    gap = None if against is None else paired_difference(run.values[name], against)
    return Entry(run, value, low, high, gap)
