"""A finished run's model in other formats."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from regraft.core.errors import RegraftError, UsageError
from regraft.core.files import atomic_path
from regraft.core.inputs import Batch
from regraft.core.optional import require
from regraft.inference.predictor import Predictor
from regraft.linking import Grafted

FORMATS = ("onnx", "safetensors")
TOLERANCE = 1e-5
"""Largest difference of ONNX logits from PyTorch's, relative to the largest logit (at least 1)."""


class _Plain(nn.Module):
    """The model as a function of positional tensors, one piece for each example, to a tuple of logits."""

    def __init__(self, model: Grafted, names: tuple[str, ...]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        features = self.model.trunk(dict(zip(self.names, tensors, strict=True)))
        return tuple(self.model.head_outputs(features).values())


def export_onnx(predictor: Predictor, example: Batch, path: Path) -> dict[str, Any]:
    """Write the model as ONNX and check its logits in onnxruntime on ``example``.

    Inputs are the batch's tensors by name, the first dimension (and a token dimension) free; outputs are each
    output's logits by name. An example of several pieces is the caller's to pool.

    Raises :class:`RegraftError` where the exported logits differ; nothing is left at ``path`` then.
    """
    require("onnxscript", "Exporting to ONNX", "regraft[onnx]")
    runtime: Any = require("onnxruntime", "Checking the ONNX file", "regraft[onnx]")
    model = predictor.model.eval()
    names, tensors = tuple(example), tuple(example.values())
    plain = _Plain(model, names).eval()
    batch = torch.export.Dim("batch", min=1, max=4096)
    length = torch.export.Dim("length", min=2, max=4096)
    axes = tuple({0: batch, 1: length} if tensor.ndim == 2 else {0: batch} for tensor in tensors)
    with atomic_path(path) as part:
        with warnings.catch_warnings(), torch.no_grad(), _quiet("torch.onnx"):
            warnings.simplefilter("ignore")  # the exporter warns about its own deprecated parts
            program: Any = torch.onnx.export(
                plain,
                tensors,
                dynamo=True,
                input_names=list(names),
                output_names=list(model.outputs),
                dynamic_shapes=(axes,),
                verbose=False,
            )
            program.save(part, external_data=False)
        session = runtime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
        difference = _difference(session, plain, dict(zip(names, tensors, strict=True)))
        if not difference <= TOLERANCE:
            raise RegraftError(
                f"the exported model's logits differ from PyTorch's by {difference:.1e} (relative); "
                f"{TOLERANCE:.0e} is allowed, so nothing was written"
            )
    return {"file": str(path), "format": "onnx", "max_relative_difference": difference}


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger's warnings to itself: the exporter misses torchvision, which nothing here needs."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _difference(session: Any, plain: _Plain, batch: Mapping[str, Tensor]) -> float:
    with torch.no_grad():
        expected = plain(*batch.values())
    found = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
    differences = [
        float(np.abs(value - tensor.numpy()).max()) / max(float(tensor.abs().max()), 1.0)
        for value, tensor in zip(found, expected, strict=True)
    ]
    return max(differences)


def export_safetensors(predictor: Predictor, path: Path) -> dict[str, Any]:
    """Write the trunk's tensors under the source network's own names, and the heads under ``heads.``.

    What rebuilds a head that is not linear, and layers that the run added, stands in the file's metadata,
    under ``heads`` and ``added``, as JSON.
    """
    state = predictor.model.state_dict()
    named = {name.removeprefix("trunk.network."): value.contiguous().clone() for name, value in state.items()}
    with atomic_path(path) as part:
        added = [layers.to_json() for layers in predictor.model.trunk.added]
        said = {"heads": predictor.model.own_heads(), "added": added}
        save_file(named, part, metadata={key: json.dumps(one) for key, one in said.items() if one} or None)
    return {"file": str(path), "format": "safetensors", "tensors": len(named)}


def check_format(name: str) -> None:
    """Raise :class:`UsageError` for a format that cannot be written."""
    if name not in FORMATS:
        raise UsageError(f"--to {name}: there are {', '.join(FORMATS)}")
