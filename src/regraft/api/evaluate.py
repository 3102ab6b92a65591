"""``rg.evaluate``: a run's model on other labelled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.api.whereabouts import find_data
from regraft.core.console import say
from regraft.core.errors import DataError, UsageError
from regraft.core.task_spec import TaskSpec
from regraft.engine import Run
from regraft.evidence import Closer, Ledger, Temperature, final_figures
from regraft.targets import Target, load_target, prepare
from regraft.targets.aside import columns_aside
from regraft.targets.known import known
from regraft.targets.loading import has_columns
from regraft.targets.together import join


def evaluate(
    run: Run | str | Path,
    data: Target | str | Path | Mapping[str, Target | str | Path],
    *,
    builder: Any = None,
    max_unreadable: float = 0.05,
    slices: Sequence[str] = (),
    **columns: Any,
) -> dict[str, Any]:
    """Score a run's model on other labelled data, all of it.

    ``columns`` are ``label``, ``image`` and ``text`` where the data are a table; those of the run's own table
    if not given. Returns figures with intervals in the shape of ``metrics.json``. Raises :class:`DataError`
    where the data have other outputs or classes than the model; a class that they lack is no error.

    A run on several targets together is scored on data of some of them, by name: ``{"cells": "new-cells/"}``;
    figures are those of their outputs.

    ``slices`` are columns of the data (``folder`` of a folder of images, ``NAME.COLUMN`` of several targets):
    figures are also given for each of their values, see :func:`regraft.targets.aside.columns_aside`.
    Calibration stands there with and without the temperature that the run ended with.
    """
    opened = run if isinstance(run, Run) else Run.load(run, builder=builder)
    predictor = opened.predictor
    specs = tuple(task.spec for task in predictor.tasks)
    target = _target(opened, data, specs, columns)
    _tell_seen(opened, target)
    aside = columns_aside(target, slices)  # before anything is run: a name may be wrong
    prepared = prepare(target, predictor.preprocessing, max_unreadable=max_unreadable)
    aside = columns_aside(prepared.target, slices) if len(prepared.target) < len(target) else aside
    test = prepared.target.test
    logits = predictor.logits_of(prepared.inputs, test, backend="auto")
    asked = {spec.name for spec in prepared.target.tasks}
    scores = {
        task.spec.name: task.scores(logits[task.spec.name])
        for task in predictor.tasks
        if task.spec.name in asked
    }
    closer = Closer(temperatures=_temperatures(opened), columns=aside)
    return final_figures(prepared.target, scores, Ledger(), closer=closer)


def _temperatures(run: Run) -> dict[str, Temperature]:
    """Those that the run's own figures tell of, where they do: other versions of regraft left none."""
    if not (run.folder / "metrics.json").is_file():
        return {}
    found = {}
    for name, figures in run.metrics["outputs"].items():
        told = (figures.get("calibration") or {}).get("temperature")
        if told:
            found[name] = Temperature(told["value"], told["applied"], told["examples"])
    return found


def _target(run: Run, data: Any, specs: tuple[TaskSpec, ...], columns: dict[str, Any]) -> Target:
    origin = run.facts["origin"]
    members = list(origin.get("members", {}))
    if not isinstance(data, Mapping):
        if members and not (isinstance(data, Target) and data.members):
            raise UsageError(
                f"{run.folder} was fitted on several targets together ({', '.join(members)}): say of which "
                f"one these data are, as in regraft evaluate {run.folder} {members[0]}=DATA"
            )
        if isinstance(data, Target):
            there = {spec.name for spec in data.tasks}
            some = tuple(spec for spec in specs if spec.name in there) if members else ()
            return known(data, some or specs)
        return _load(origin, data, specs, columns)
    strange = [name for name in data if name not in members]
    if strange or not data:
        there_are = (
            f"has {', '.join(members)}" if members else "was fitted on one target: give its data alone"
        )
        raise UsageError(
            f"there is no {', '.join(map(repr, strange)) or 'data'} in {run.folder}, which {there_are}"
        )
    return join({name: _member(origin, name, one, specs, columns) for name, one in data.items()})


def _member(
    origin: Mapping[str, Any], name: str, data: Any, specs: tuple[TaskSpec, ...], columns: dict[str, Any]
) -> Target:
    """Data of one of the targets that the run was fitted on, under that one's own names."""
    own = tuple(
        replace(spec, name=spec.name.removeprefix(f"{name}."))
        for spec in specs
        if spec.name.startswith(f"{name}.")
    )
    if isinstance(data, Target):
        return known(data, own)
    mine = {key: value.get(name) if isinstance(value, Mapping) else value for key, value in columns.items()}
    return _load(origin["members"][name], data, own, mine)


def _load(
    origin: Mapping[str, Any], data: str | Path, specs: tuple[TaskSpec, ...], columns: Mapping[str, Any]
) -> Target:
    """The data with labels as the model encodes them, in columns as they were named or as the run's were."""
    given = {name: value for name, value in columns.items() if value is not None}
    if has_columns(data):
        options = origin.get("options", {})
        given = {name: options.get(name) for name in ("label", "image", "text")} | given
    return load_target(data, tasks=specs, **given)


def _tell_seen(run: Run, target: Target) -> None:
    """Say how many examples the run may have been fitted on: figures on those promise too much."""
    try:
        own = find_data(run, "")
    except DataError:
        return  # its data are gone, so nobody can tell
    seen = {row.tobytes() for row in own.examples.hashes.array[own.pool]}
    count = sum(row.tobytes() in seen for row in target.examples.hashes.array)
    if count:
        say(
            f"{count} of these {len(target)} examples have the same bytes as those that {run.folder} was "
            "fitted on or could draw from: the figures promise more than new data will keep."
        )
