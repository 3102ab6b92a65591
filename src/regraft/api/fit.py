"""``rg.fit`` and ``rg.resume``: carry a plan out, into a folder that holds everything."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from regraft.api.plan import as_plan
from regraft.core.console import say
from regraft.core.errors import PlanError, ResumeError, UsageError
from regraft.core.files import write_csv, write_json
from regraft.engine import (
    Checkpoints,
    History,
    Run,
    Settings,
    Workspace,
    execute,
    open_workspace,
    write_model,
)
from regraft.engine.open import draw_examples, fitted_tasks
from regraft.evidence import Ledger, final_figures
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import Plan, plan_hash, write_plan
from regraft.sources import Source, find
from regraft.targets import Draw, Prepared, Target, load_target, prepare, reload
from regraft.tasks import Task


def fit(
    plan: Plan | str | Path,
    target: Target | str | Path,
    *,
    out: str | Path,
    sources: Mapping[str, Source] | None = None,
    builder: Any = None,
    settings: Settings | None = None,
    max_unreadable: float = 0.05,
    command: Sequence[str] = (),
) -> Run:
    """Carry out a plan on a target and write the bundle.

    Example::

        run = rg.fit(plan, target, out="runs/leaves")
        run.predict(["new.jpg"])

    Parameters
    ----------
    plan
        A Plan, or a YAML file.
    target
        A Target, or where one can be loaded from.
    out
        A folder that does not exist yet or is empty.
    sources
        Opened sources by their names in the plan; others are found by name.
    builder
        What builds a network of your own, ``module:function`` or a callable. A plan never names it.
    settings
        Device, threads, backend.
    max_unreadable
        The share of examples that may turn out unreadable.

    Raises
    ------
    UsageError
        Where ``out`` holds something already.
    UnreadableError, LinkError, PlanError, TrainingError
        Where the work cannot be done; the run's folder says how far it came.
    """
    written = as_plan(plan)
    folder = Path(out)
    check_folder(folder)
    data = target if isinstance(target, Target) else load_target(target)
    kept = data.save(folder / "data")
    settings = settings or Settings()
    write_plan(written, folder / "plan.yaml")  # before run.json: what has a run.json can be resumed
    run = Run.begin(
        folder,
        {
            "command": list(command) or [Path(sys.argv[0]).name, *sys.argv[1:]],
            "seed": written.seed,
            "strategy": written.strategy,
            "origin": kept.origin,
            "max_unreadable": max_unreadable,
            "settings": asdict(settings),
            "hashes": {"plan": plan_hash(written), "data": kept.fingerprint},
        },
        builder=builder,
    )
    return _carry_out(run, written, kept, settings, open_sources(written, sources or {}, builder))


def resume(
    folder: str | Path,
    *,
    sources: Mapping[str, Source] | None = None,
    builder: Any = None,
    settings: Settings | None = None,
) -> Run:
    """Go on with a run that was interrupted or killed; the result is what it would have been, to the bit.

    Raises :class:`ResumeError` where the data or the plan are no longer those of the run.
    """
    run = Run.load(folder, builder=builder)
    if run.status == "done":
        if (run.folder / "checkpoints").is_dir():  # killed between its last figures and its report
            _close(run)
        say(f"{folder} is done already; there is nothing to go on with.")
        return run
    plan = run.plan
    target = reload(run.facts["origin"])
    found = {"plan": plan_hash(plan), "data": target.fingerprint}
    for what, expected in run.facts["hashes"].items():
        if what in found and found[what] != expected:
            raise ResumeError(
                f"the {what} of {folder} changed since the run began ({what} hash {expected[:12]} then, "
                f"{found[what][:12]} now). Put it back as it was, or fit into a new folder."
            )
    settings = settings or Settings(**run.facts["settings"])
    return _carry_out(run, plan, target, settings, open_sources(plan, sources or {}, builder))


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
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if (folder / "run.json").is_file():
        status = Run.load(folder).status
        hint = "" if status == "done" else f", or go on with it: regraft resume {folder}"
        raise UsageError(f"{folder} holds a run already ({status}). Give another --out{hint}")
    raise UsageError(f"--out {folder} is not empty and holds no run; give a new folder")


@contextmanager
def _status(run: Run) -> Iterator[None]:
    """Leave the run's folder saying how it ended."""
    try:
        yield
    except KeyboardInterrupt:
        run.note(status="interrupted", outcome=f"Interrupted; go on with: regraft resume {run.folder}")
        raise
    except Exception as error:
        run.note(status="failed", outcome=str(error))
        raise


def _carry_out(run: Run, plan: Plan, target: Target, settings: Settings, sources: dict[str, Source]) -> Run:
    start = time.monotonic()
    student = sources["student"]
    with _status(run):
        prepared = prepare(target, student.preprocessing, max_unreadable=run.facts["max_unreadable"])
        run.note(status="running")
        work = _open(run, plan, prepared, sources, settings)
        work.spend("read", time.monotonic() - start)
        execute(work)
        _finish(run, work, student, start)
    return run


def _open(
    run: Run, plan: Plan, prepared: Prepared, sources: dict[str, Source], settings: Settings
) -> Workspace:
    target = prepared.target
    for note in target.notes:
        say(note)
    draw = draw_examples(plan, target)
    tasks = fitted_tasks(target, draw)
    links = {name: link_of(plan, name, source, tasks) for name, source in sources.items()}
    _write_records(run, target, draw, links)
    return open_workspace(
        plan,
        target,
        prepared.inputs,
        links,
        tasks,
        draw,
        settings=settings,
        history=History(run.folder / "history.jsonl"),
        checkpoints=Checkpoints(run.folder / "checkpoints"),
    )


def link_of(plan: Plan, name: str, source: Source, tasks: dict[str, Task]) -> Link:
    """The link of one of a plan's models."""
    spec = plan.models[name]
    blueprint = Blueprint(source, tuple(tasks.values()))
    return find_link(source, blueprint, maps=spec.map, waivers=spec.waive, seed=plan.seed)


def _write_records(run: Run, target: Target, draw: Draw, links: dict[str, Link]) -> None:
    """What is known before anything is trained: data, links, what could not be read."""
    summary = target.summary()
    summary["parts"] = {
        "train": len(draw.train),
        "validation": len(draw.validation),
        "test": len(target.test),
    }
    write_json(run.folder / "target.json", summary)
    write_json(run.folder / "link.json", {"models": {name: link.to_json() for name, link in links.items()}})
    rows = [{"item": bad.item, "reason": bad.reason} for bad in target.unreadable]
    write_csv(run.folder / "unreadable.csv", ("item", "reason"), rows)
    if rows:
        say(f"{len(rows)} examples could not be read; they are named in {run.folder / 'unreadable.csv'}")


def _finish(run: Run, work: Workspace, source: Source, start: float) -> None:
    """Write the model, its final figures through evidence, the report; then the run is done."""
    model = work.models["student"]
    write_model(run.folder, model, source, work.tasks, whole=work.target.origin.get("whole"))
    ledger = Ledger.from_json(run.facts.get("ledger", []))
    metrics = _final_metrics(work, ledger)
    write_json(run.folder / "metrics.json", metrics)
    work.spend("total", time.monotonic() - start)
    run.note(
        status="done",
        outcome=outcome(metrics),
        backend=", ".join(work.backends) or "eager",
        device=str(work.device),
        threads=torch.get_num_threads(),
        source=source.summary(),
        hashes={**run.facts["hashes"], "weights": source.weights.sha256 if source.weights else ""},
        seconds=_seconds(work),
        trained_parameters=work.trained_parameters,
        total_parameters=sum(parameter.numel() for parameter in model.parameters()),
        ledger=ledger.to_json(),
        test_label_reads=ledger.count,
        notes=list(work.target.notes),
    )
    _close(run)


def _close(run: Run) -> None:
    """Write what is made from the rest. Checkpoints go last: where some are left, this has to be done."""
    from regraft.report import write_card, write_report

    write_report(run.folder)
    write_card(run.folder)
    Checkpoints(run.folder / "checkpoints").clear()


def _final_metrics(work: Workspace, ledger: Ledger) -> dict[str, Any]:
    target = work.target
    logits = work.logits(target.test)
    scores = {name: task.scores(logits[name]) for name, task in work.tasks.items()}
    return final_figures(target, scores, ledger)


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
