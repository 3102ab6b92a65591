"""Comparison: finished runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.report._words import joined
from regraft.report.comparison._aspects import Aspect, aspects_of, costs_of_runs, plan_differences
from regraft.report.comparison._groups import Group, groups_of
from regraft.report.comparison._runs import ComparedRun, open_runs
from regraft.report.comparison._table import comparison_table

_SCHEMA = 1


@dataclass(frozen=True)
class Comparison:
    """What differs between finished runs, and what of their figures can be told apart.

    Attributes
    ----------
    runs
        In the order in which they were named.
    aspects
        How they were made: source, strategy, plan, labels, seed, data.
    plan
        Keys of their plans whose values differ.
    costs
        Time, parameters, size.
    groups
        Final figures; runs on other data, outputs or metrics stand in groups of their own.
    """

    runs: tuple[ComparedRun, ...]
    aspects: tuple[Aspect, ...]
    plan: tuple[Aspect, ...]
    costs: tuple[Aspect, ...]
    groups: tuple[Group, ...]

    @property
    def sentence(self) -> str:
        """What can be said of the figures, and what cannot be compared."""
        told = [group.sentence for group in self.groups if len(group.entries) > 1]
        alone = [group for group in self.groups if len(group.entries) == 1]
        if alone:
            listed = joined([f"{one.entries[0].run.name} ({one.metric} of {one.output})" for one in alone])
            told.append(
                f"Not on one axis with others, because test part, output, classes or metric differ: {listed}."
            )
        return " ".join(told)

    @property
    def verdicts(self) -> tuple[tuple[str, str, str], ...]:
        """By run the verdict of its evidence and the sentence; empty texts where nothing was proven."""
        told = [(run.name, run.folder.evidence) for run in self.runs]
        return tuple(
            (name, str(found.get("verdict") or ""), str(found.get("sentence") or "")) for name, found in told
        )

    def table(self) -> str:
        """For a terminal."""
        return comparison_table(self.runs, self.groups, [*self.aspects, *self.costs, *self.plan])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        names = [run.name for run in self.runs]

        def by_run(aspects: Sequence[Aspect]) -> dict[str, dict[str, str]]:
            return {one.name: dict(zip(names, one.values, strict=True)) for one in aspects}

        return {
            "schema": _SCHEMA,
            "runs": [{"name": run.name, "folder": str(run.folder.path)} for run in self.runs],
            "sentence": self.sentence,
            "figures": [group.to_json() for group in self.groups],
            "different": by_run([one for one in self.aspects if one.differs]),
            "plan": by_run(self.plan),
            "same": {one.name: one.values[0] for one in self.aspects if not one.differs},
            "costs": by_run(self.costs),
            "verdicts": {
                name: {"verdict": word, "sentence": said} for name, word, said in self.verdicts if word
            },
        }


def compare_runs(folders: Sequence[str | Path]) -> Comparison:
    """Put finished runs side by side.

    Raises
    ------
    UsageError
        For fewer than two folders, or one that is named twice.
    BundleError
        For a folder that holds no run, an unfinished or a damaged one.
    """
    runs = open_runs(folders)
    return Comparison(runs, aspects_of(runs), plan_differences(runs), costs_of_runs(runs), groups_of(runs))
