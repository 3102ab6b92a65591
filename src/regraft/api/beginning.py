"""What a run began with: noted in its folder, and compared when somebody goes on with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from regraft.api.whereabouts import moved_from
from regraft.core.console import say
from regraft.core.errors import BundleError, PlanError, ResumeError
from regraft.core.files import read_json, write_json
from regraft.engine import Opened, Run, Settings
from regraft.engine.circumstances import circumstances, circumstances_changed
from regraft.engine.settings import find_device
from regraft.plans import Plan, TrainStage, plan_changes, plan_hash
from regraft.plans.files import plan_from_data
from regraft.targets import Target, inventory_changes, write_inventory

BEGUN = "begun"
_PLAN, _EXAMPLES = "plan.json", "examples.json.gz"
_SHOWN = 8


def note_beginning(
    folder: Path, plan: Plan, target: Target, opened: Mapping[str, Opened], settings: Settings
) -> dict[str, Any]:
    """Write what a change is found out from; returns the facts that belong into ``run.json``.

    ``settings`` have been applied.
    """
    write_json(folder / BEGUN / _PLAN, plan.model_dump(mode="json"))
    write_inventory(target, folder / BEGUN / _EXAMPLES)
    weights = {name: pair.weights.weights.sha256 for name, pair in opened.items() if pair.weights.weights}
    return {
        "folder": str(folder.resolve()),
        "begun_with": circumstances(settings, find_device(settings.device)),
        "hashes": {"plan": plan_hash(plan), "data": target.fingerprint},
        "source_hashes": weights,
    }


def tell_moved(run: Run) -> None:
    """Say it where a run goes on in another folder than the one that it was begun in."""
    before, here = moved_from(run), run.folder.resolve()
    if before is not None:
        say(
            f"The run was begun in {before} and is now in {here}; it goes on here, and that one is left "
            "alone."
        )


def check_plan_and_data(run: Run, plan: Plan, target: Target) -> None:
    """Raise :class:`ResumeError`, saying what changed, where plan or data are no longer the run's."""
    then = _plan_then(run.folder / BEGUN / _PLAN)
    expected = run.facts["hashes"]["plan"] if then is None else plan_hash(then)
    if plan_hash(plan) != expected:
        changes = [] if then is None else plan_changes(then, plan)
        raise ResumeError(
            f"the plan of {run.folder} changed since the run began{_listed(changes)}. Put it back as it was, "
            "or carry the new one out in a new folder: "
            f"regraft fit DATA --plan {run.folder / 'plan.yaml'} --out NEW"
        )
    check_data(run, target, ResumeError)


def check_data(run: Run, target: Target, error: type[BundleError] = BundleError) -> None:
    """Raise ``error`` where the data are no longer the run's.

    It says what changed, as long as the run's folder holds the inventory: until the run is done.
    """
    if target.fingerprint != run.facts["hashes"]["data"]:
        changes = inventory_changes(run.folder / BEGUN / _EXAMPLES, target)
        raise error(
            f"the data of {run.folder} changed since the run began{_listed(changes)}. Put them back as they "
            f"were, or begin again with the new ones: regraft fit DATA --plan {run.folder / 'plan.yaml'} "
            "--out NEW"
        )


def check_sources(run: Run, opened: Mapping[str, Opened]) -> None:
    """Raise :class:`ResumeError` where a source no longer has the weights that the run began with."""
    for name, sha256 in run.facts.get("source_hashes", {}).items():
        source = opened[name].weights
        now = source.weights.sha256 if source.weights else "none"
        if now != sha256:
            raise ResumeError(
                f"the weights of {source.name} changed since {run.folder} was begun (sha256 {sha256[:12]} "
                f"then, {now[:12]} now). Put them back as they were, or fit into a new folder."
            )


def compare_circumstances(run: Run, settings: Settings, plan: Plan) -> None:
    """Say aloud and note in ``run.json`` where bits are no longer promised; the run goes on.

    The number of threads is set to what the run began with, unless another one was asked for.
    """
    begun = run.facts.get("begun_with", {})
    device = settings.apply()
    threads = int(begun.get("threads", torch.get_num_threads()))
    if settings.threads is None and threads != torch.get_num_threads():
        say(f"The run began with {threads} threads and goes on with as many (--threads chooses others).")
        torch.set_num_threads(threads)
    changes = circumstances_changed(begun, circumstances(settings, device))
    timed = [
        stage.name
        for stage in plan.stages
        if isinstance(stage, TrainStage) and stage.stop.seconds is not None
    ]
    if changes:
        say(
            f"Since the run began, this has changed: {'; '.join(changes)}. The run goes on, but its bits are "
            "no longer promised to be those of an uninterrupted one."
        )
    if timed:
        say(
            f"Stage {timed[0]!r} ends by the clock, so that its bits are those of no other run, interrupted "
            "or not."
        )
    resumed = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "changed": changes}
    run.note(resumed=[*run.facts.get("resumed", []), resumed])


def _plan_then(path: Path) -> Plan | None:
    """The plan as this version of regraft understands it; a newer schema has defaults for what is new."""
    try:
        return plan_from_data(read_json(path))
    except (OSError, ValueError, PlanError):
        return None


def _listed(changes: list[str]) -> str:
    if not changes:
        return ""
    more = f"; and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    return f" ({'; '.join(changes[:_SHOWN])}{more})"
