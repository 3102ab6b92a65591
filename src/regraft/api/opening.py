"""Opening what a plan names: its sources and links; and the folder that a run may be written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.core.errors import PlanError, UsageError
from regraft.engine import Run
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import Plan
from regraft.sources import Source, find
from regraft.tasks import Task


def open_sources(plan: Plan, given: Mapping[str, Source], builder: Any) -> dict[str, Source]:
    """The source of each of the plan's models: one that was handed over, or found by name.

    A plan is data that people share, so it may not say which code to run.
    """
    opened = {}
    for name, spec in plan.models.items():
        if "builder" in spec.options:
            raise PlanError(
                f"the model {name!r} of the plan names a builder; hand it over with --builder instead"
            )
        options = spec.options if builder is None else {**spec.options, "builder": builder}
        opened[name] = given.get(spec.source) or find(spec.source, **options)
    return opened


def check_folder(folder: Path) -> None:
    """Raise :class:`UsageError` where a run cannot be written into ``folder``."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; give a folder")
    if not folder.is_dir():
        return
    if (folder / "run.json").is_file():
        run = Run.load(folder)
        why = f": {run.facts['outcome']}" if run.status == "failed" else ""
        hint = "" if run.status == "done" else f", or go on with it: regraft resume {folder}"
        raise UsageError(f"{folder} holds a run already ({run.status}{why}). Give another --out{hint}")
    # A run that was killed before its run.json was written leaves no more than these.
    if all(path.name in ("plan.yaml", "data") for path in folder.iterdir()):
        return
    raise UsageError(f"--out {folder} is not empty and holds no run; give a new folder")


def link_of(plan: Plan, name: str, source: Source, tasks: dict[str, Task]) -> Link:
    """The link of one of a plan's models."""
    spec = plan.models[name]
    blueprint = Blueprint(source, tuple(tasks.values()))
    return find_link(source, blueprint, maps=spec.map, waivers=spec.waive, seed=plan.seed)
