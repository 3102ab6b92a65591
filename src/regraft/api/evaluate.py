"""``rg.evaluate``: a run's model on other labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regraft.core.errors import DataError
from regraft.engine import Run
from regraft.evidence import Ledger, final_figures
from regraft.targets import Target, load_target, prepare


def evaluate(
    run: Run | str | Path,
    data: Target | str | Path,
    *,
    builder: Any = None,
    max_unreadable: float = 0.05,
    **columns: Any,
) -> dict[str, Any]:
    """Score a run's model on other labelled data, all of it.

    ``columns`` are those of :func:`regraft.load_target`. Returns figures with intervals in the shape of
    ``metrics.json``. Raises :class:`DataError` where the data have other outputs or classes than the model.
    """
    opened = run if isinstance(run, Run) else Run.load(run, builder=builder)
    predictor = opened.predictor
    given = {name: value for name, value in columns.items() if value is not None}
    specs = tuple(task.spec for task in predictor.tasks)
    target = data if isinstance(data, Target) else load_target(data, specs=specs, all_test=True, **given)
    if target.tasks != specs:
        raise DataError(
            f"the data's outputs are {_said(target.tasks)}, the model's are {_said(specs)}; "
            "name the columns with --label, and check the classes"
        )
    prepared = prepare(target, predictor.preprocessing, max_unreadable=max_unreadable)
    test = prepared.target.test
    logits = predictor.logits_of(prepared.inputs, test, backend="auto")
    scores = {task.spec.name: task.scores(logits[task.spec.name]) for task in predictor.tasks}
    return final_figures(prepared.target, scores, Ledger())


def _said(specs: Sequence[Any]) -> str:
    return "; ".join(f"{spec.name} ({spec.kind}: {', '.join(spec.classes[:8])})" for spec in specs)
