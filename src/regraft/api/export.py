"""``rg.export``: a run's model in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from regraft.api.whereabouts import find_data
from regraft.engine import Run
from regraft.inference.export import check_format, export_onnx, export_safetensors
from regraft.targets import prepare


def export(
    run: Run | str | Path, *, to: str = "onnx", out: str | Path | None = None, builder: Any = None
) -> dict[str, Any]:
    """Write a run's model as ``onnx`` or ``safetensors``.

    ONNX is run in onnxruntime on real examples of the run's own data and has to reproduce PyTorch's logits to
    1e-5 (relative). Returns the file, the format and what was checked.
    """
    check_format(to)
    opened = run if isinstance(run, Run) else Run.load(run, builder=builder)
    path = (
        Path(out)
        if out
        else opened.folder / {"onnx": "model.onnx", "safetensors": "exported.safetensors"}[to]
    )
    predictor = opened.predictor
    if to == "safetensors":
        return export_safetensors(predictor, path)
    target = find_data(opened, f"regraft export {opened.folder}")
    few = target.select(target.pool[:4])
    inputs = prepare(few, predictor.preprocessing, max_unreadable=1.0).inputs
    pieces = np.flatnonzero(np.asarray(inputs.buckets) == np.asarray(inputs.buckets)[0])[:4]
    return export_onnx(predictor, inputs.batch(pieces), path)
