"""The end of a run: the model, its final figures through evidence, the report."""

from __future__ import annotations

import shutil
import time
from typing import Any

import numpy as np
import torch

from regraft.api.beginning import BEGUN
from regraft.api.temperatures import temperatures_of
from regraft.core.files import write_json
from regraft.engine import Checkpoints, Opened, Run, Workspace, write_model
from regraft.evidence import Closer, Ledger, Temperature, figures_and_values
from regraft.evidence.kept_values import KeptValues, write_values
from regraft.report import write_card, write_report
from regraft.targets.aside import columns_aside
from regraft.targets.near_duplicates import NearDuplicates


def finish(
    run: Run, work: Workspace, opened: Opened, start: float, doubles: NearDuplicates | None = None
) -> None:
    """Write the model, its final figures through evidence, the report; then the run is done.

    ``doubles`` are the near-duplicates among the examples, where they were looked for.
    """
    logits, temperatures = work.logits(work.target.test), temperatures_of(work)
    if not run.writes:
        return
    model = work.models["student"]
    source, network = opened.weights, opened.network
    whole = work.target.origin.get("whole")
    write_model(run.folder, model, network, work.tasks, weights=source, whole=whole)
    ledger = Ledger.from_json(run.facts.get("ledger", []))
    metrics, kept = _final_metrics(run, work, ledger, logits, temperatures, doubles)
    write_values(run.folder, kept)
    write_json(run.folder / "metrics.json", metrics)
    work.spend("total", time.monotonic() - start)
    run.note(
        status="done",
        outcome=outcome(metrics),
        backend=", ".join(work.backends) or "eager",
        activations=work.kept_as,
        device=str(work.device),
        threads=torch.get_num_threads(),
        source=source.summary(),
        **({"network": network.summary()} if opened.differ else {}),
        hashes={**run.facts["hashes"], "weights": source.weights.sha256 if source.weights else ""},
        seconds=_seconds(work),
        trained_parameters=work.trained_parameters,
        total_parameters=sum(parameter.numel() for parameter in model.parameters()),
        ledger=ledger.to_json(),
        test_label_reads=ledger.count,
        notes=[*work.target.notes, *work.notes],
    )
    close(run)


def close(run: Run) -> None:
    """Write what is made from the rest. Checkpoints go last: where some are left, this has to be done."""
    write_report(run.folder)
    write_card(run.folder)
    shutil.rmtree(run.folder / BEGUN, ignore_errors=True)
    Checkpoints(run.folder / "checkpoints").clear()


def _final_metrics(
    run: Run,
    work: Workspace,
    ledger: Ledger,
    logits: dict[str, np.ndarray],
    temperatures: dict[str, Temperature],
    doubles: NearDuplicates | None,
) -> tuple[dict[str, Any], dict[str, KeptValues]]:
    target = work.target
    scores = {name: task.scores(logits[name]) for name, task in work.tasks.items()}
    columns = columns_aside(target.select(target.test), run.facts.get("slices", []))
    closer = Closer(
        temperatures=temperatures,
        columns=columns,
        doubles=None if doubles is None else doubles.across(target),
    )
    return figures_and_values(target, scores, ledger, closer=closer)


def _seconds(work: Workspace) -> dict[str, Any]:
    stages = {stage.name for stage in work.plan.stages}
    rounded = {name: round(value, 3) for name, value in work.seconds.items()}
    return {
        **{name: value for name, value in rounded.items() if name not in stages},
        "stages": {name: value for name, value in rounded.items() if name in stages},
    }


def outcome(metrics: dict[str, Any]) -> str:
    """The final figures in a sentence."""
    parts = []
    for name, figures in metrics["outputs"].items():
        deciding = figures["metrics"][figures["deciding"]]
        unit, digits = (100, 1) if deciding["percent"] else (1, 4)
        value, low, high = (deciding[key] for key in ("value", "low", "high"))
        if value is None:
            parts.append(f"{name}: {figures['deciding']} is not defined on the test part")
            continue
        sign = "%" if deciding["percent"] else ""
        parts.append(
            f"{name}: {figures['deciding']} {value * unit:.{digits}f}{sign} "
            f"(95% interval {low * unit:.{digits}f} to {high * unit:.{digits}f})"
        )
    return f"Test part, {metrics['count']} examples: " + "; ".join(parts)
