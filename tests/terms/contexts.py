"""A step as a term sees it, of tensors that a test makes up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from regraft.terms import StepContext


def step(
    *,
    outputs: Mapping[str, Mapping[str, Tensor]] | None = None,
    features: Mapping[str, Tensor] | None = None,
    tasks: Mapping[str, Any] | None = None,
    size: int = 0,
    rows: slice = slice(None),
    labels: Mapping[str, Tensor] | None = None,
    known: Mapping[str, int] | None = None,
    **more: Any,
) -> StepContext:
    """One stream, ``target``, of ``size`` examples; ``rows`` are looked at. Outputs and features by model."""
    found = {m: {o: v[rows] for o, v in by.items()} for m, by in (outputs or {}).items()}
    read = {model: values[rows] for model, values in (features or {}).items()}
    return StepContext(
        lambda model, stream: found[model],
        {"target": {name: values[rows] for name, values in (labels or {}).items()}},
        tasks or {},
        {"target": size},
        {"target": known or {}},
        counts={"target": len(range(size)[rows])},
        features=lambda model, stream: read[model],
        **more,
    )
