"""``rg.evaluate``: a run's model on other labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regraft.api.whereabouts import find_data
from regraft.core.console import say
from regraft.core.errors import DataError
from regraft.core.task_spec import TaskSpec
from regraft.engine import Run
from regraft.evidence import Ledger, final_figures
from regraft.targets import Target, load_target, prepare
from regraft.targets.datasets import is_saved_dataset
from regraft.targets.known import known


def evaluate(
    run: Run | str | Path,
    data: Target | str | Path,
    *,
    builder: Any = None,
    max_unreadable: float = 0.05,
    **columns: Any,
) -> dict[str, Any]:
    """Score a run's model on other labelled data, all of it.

    ``columns`` are ``label``, ``image`` and ``text`` where the data are a table; those of the run's own table
    if not given. Returns figures with intervals in the shape of ``metrics.json``. Raises :class:`DataError`
    where the data have other outputs or classes than the model; a class that they lack is no error.
    """
    opened = run if isinstance(run, Run) else Run.load(run, builder=builder)
    predictor = opened.predictor
    specs = tuple(task.spec for task in predictor.tasks)
    target = known(data, specs) if isinstance(data, Target) else _load(opened, data, specs, columns)
    _tell_seen(opened, target)
    prepared = prepare(target, predictor.preprocessing, max_unreadable=max_unreadable)
    test = prepared.target.test
    logits = predictor.logits_of(prepared.inputs, test, backend="auto")
    scores = {task.spec.name: task.scores(logits[task.spec.name]) for task in predictor.tasks}
    return final_figures(prepared.target, scores, Ledger())


def _load(run: Run, data: str | Path, specs: tuple[TaskSpec, ...], columns: dict[str, Any]) -> Target:
    """The data with labels as the model encodes them, in columns as they were named or as the run's were."""
    given = {name: value for name, value in columns.items() if value is not None}
    if not Path(data).is_dir() or is_saved_dataset(Path(data)):
        options = run.facts["origin"].get("options", {})
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
