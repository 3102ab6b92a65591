"""OpenVINO: the prefix converted from ``torch.export`` and compiled for this processor, one model for each
shape.

A batch of images is run a few at a time: what a layer of a convolutional network writes for 32 images is many
times the processor's cache, and the next layer would fetch it from memory again (EfficientNet-Lite0 at 224
pixels, two cores: 7.7 ms an image at 32 at a time, 6.1 at 4, the depthwise layers a quarter of both).
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.core.console import say
from regraft.core.inputs import Batch
from regraft.core.optional import require
from regraft.inference.backends.backend import Prefix, shapes_of
from regraft.inference.backends.kept import Kept

MOST_SHAPES = 24
"""Compiled models of one prefix that are held at a time; texts of 512 tokens have as many lengths at most."""
IMAGES_AT_ONCE = 4
"""Of a batch whose size it divides; it is part of every cache key, because last bits depend on it."""
_FILE = "model.xml"
_FIXED = "lengths are fixed"  # noted in the store
_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class OpenVINOBackend:
    """The prefix compiled by OpenVINO for the CPU.

    Parameters
    ----------
    store
        Holds compiled models, by shape; shared by all who run this prefix with these weights.
    kept
        Where converted models are kept between runs; None keeps nothing.
    several
        Whether batches of more than one shape will come: a length is then left free where the network allows
        it, so that the prefix is converted once and only compiled for each length.
    """

    def __init__(
        self,
        prefix: Prefix,
        *,
        dtype: torch.dtype = torch.float32,
        store: OrderedDict[Any, Any] | None = None,
        kept: Kept | None = None,
        several: bool = False,
    ):
        require("openvino", "Compiling the frozen layers", "regraft[fast]")
        self.name = "openvino"
        self._prefix, self._dtype, self._kept, self._several = prefix, dtype, kept, several
        self._known = False  # whether the last model was kept from before
        self._store: OrderedDict[Any, Any] = OrderedDict() if store is None else store

    def run(self, batch: Batch) -> Tensor:
        """See :class:`regraft.inference.backends.Backend`."""
        return torch.from_numpy(np.concatenate([self._values(part) for part in _parts(batch)]))

    def _values(self, part: Batch) -> np.ndarray:
        request = self._request(part)
        values = [np.ascontiguousarray(part[name].numpy()) for name in self._prefix.names]
        # The request's output is overwritten by the next run, so it is copied; inputs are only read.
        found = request.infer(values, share_inputs=True, share_outputs=True)
        return np.array(found[0])

    def _request(self, batch: Batch) -> Any:
        shapes = shapes_of(batch)
        if shapes not in self._store:
            self._store[shapes] = self._compile(batch).create_infer_request()
            while len(self._store) > MOST_SHAPES:
                self._store.popitem(last=False)
        self._store.move_to_end(shapes)
        return self._store[shapes]

    def _compile(self, batch: Batch) -> Any:
        import openvino

        shapes = shapes_of(batch)
        model = self._free_model(batch) if self._several else None
        if model is None:
            model = self._model(batch, _fixed(batch), free=False)
        else:
            model.reshape({port: openvino.PartialShape(list(s)) for port, s in enumerate(shapes)})
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            # On some processors OpenVINO picks bfloat16 by itself.
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self._dtype],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        return openvino.Core().compile_model(model, "CPU", settings)

    def forget(self, batch: Batch) -> bool:
        """Drop the models for a batch's shapes, the kept ones as well; says whether one was kept."""
        part = _parts(batch)[0]
        self._store.pop(shapes_of(part), None)
        known, self._known = self._known, False
        if known and self._kept is not None:
            for what in (_fixed(part), _free(part)):
                self._kept.drop(what)
        return known

    def _free_model(self, batch: Batch) -> Any:
        """The model with its lengths left free; None where the exporter fixes them."""
        if _FIXED in self._store or any(tensor.ndim != 2 for tensor in batch.values()):
            return None
        try:
            model = self._model(batch, _free(batch), free=True)
        except Exception:  # noqa: BLE001 - whatever the exporter stumbles over, a fixed shape may still work
            model = None
        if model is None or not all(port.partial_shape[1].is_dynamic for port in model.inputs):
            self._store[_FIXED] = True
            return None
        return model

    def _model(self, batch: Batch, what: dict[str, Any], *, free: bool) -> Any:
        """The converted model: kept from before, or converted now and kept."""
        import openvino

        if self._kept is None:
            return _converted(self._prefix, batch, free)

        def write(folder: Path) -> None:
            openvino.save_model(_converted(self._prefix, batch, free), folder / _FILE, compress_to_fp16=False)

        self._known = self._kept.folder(what).is_dir()
        try:
            return self._kept.open(what, write, lambda folder: openvino.Core().read_model(folder / _FILE))
        except OSError as error:
            say(f"The compiled network cannot be kept for the next run: {error}")
            return _converted(self._prefix, batch, free)


def _parts(batch: Batch) -> list[Batch]:
    """What is run at a time: a few images, or the whole batch."""
    count = len(next(iter(batch.values())))
    if count % IMAGES_AT_ONCE or any(tensor.ndim != 4 for tensor in batch.values()):
        return [batch]
    starts = range(0, count, IMAGES_AT_ONCE)
    return [{name: one[start : start + IMAGES_AT_ONCE] for name, one in batch.items()} for start in starts]


def _fixed(batch: Batch) -> dict[str, Any]:
    return {"shapes": shapes_of(batch)}


def _free(batch: Batch) -> dict[str, Any]:
    """Only the number of pieces is fixed."""
    return {"free": [len(tensor) for tensor in batch.values()]}


def _converted(prefix: Prefix, batch: Batch, free: bool) -> Any:
    import openvino

    tensors = tuple(batch.values())
    # AUTO finds by itself how lengths hang together and how large they may be.
    dynamic = (tuple({1: torch.export.Dim.AUTO} for _ in tensors),) if free else None
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns about its own deprecated parts
        program = torch.export.export(prefix, tensors, dynamic_shapes=dynamic)
        return openvino.convert_model(program)
