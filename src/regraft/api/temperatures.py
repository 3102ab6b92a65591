"""Temperatures of a finished model: what it was cooled by, or what would cool it."""

from __future__ import annotations

from typing import Any

from regraft.engine import Workspace
from regraft.evidence import Temperature
from regraft.plans import SolveStage
from regraft.terms import CALIBRATIONS
from regraft.terms.solvers.calibration import solve_temperature


def temperatures_of(work: Workspace) -> dict[str, Temperature]:
    """By output with classes, the temperature that its plan ended with, or one fitted now.

    One is fitted only to validation examples that no head was fitted to: after a head that was solved once
    more with them there is none, for its own calibration came from leave-one-out.
    """
    found = {}
    unseen: list[str] = []
    for name, task in work.tasks.items():
        if task.spec.kind == "regression" or not len(work.draw.validation):
            continue
        line = _last_solved(work, name)
        if line.get("solver") in CALIBRATIONS:
            found[name] = Temperature(float(line["chosen"]), True, int(line["examples"]))
        elif not _refitted(work, str(line.get("stage", ""))):
            unseen.append(name)
    # Predictions are made by all processes together; only the leader's history is whole after a resume.
    return {**found, **_fitted(work, work.processes.share({"outputs": unseen})["outputs"])}


def _last_solved(work: Workspace, output: str) -> dict[str, Any]:
    lines = (line for line in reversed(work.history.lines) if line.get("kind") == "solve")
    return next((line for line in lines if line.get("output") == output), {})


def _refitted(work: Workspace, stage: str) -> bool:
    return any(isinstance(one, SolveStage) and one.name == stage and one.refit for one in work.plan.stages)


def _fitted(work: Workspace, outputs: list[str]) -> dict[str, Temperature]:
    if not outputs:
        return {}
    held = work.draw.validation
    logits, labels = work.logits(held), work.target.labels(held)
    solved = {name: solve_temperature(logits[name], labels[name], work.tasks[name]) for name in outputs}
    return {
        name: Temperature(1 / one.sharpness, False, int(one.history["examples"]))
        for name, one in solved.items()
        if one.history["examples"]
    }
