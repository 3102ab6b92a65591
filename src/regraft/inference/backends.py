"""Backends: what runs the frozen prefix of a network.

``eager`` is PyTorch as it stands and the reference. ``openvino`` compiles the prefix for this processor; it
is checked once against eager on real inputs and dropped, aloud, where it departs or cannot convert.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from regraft.core.console import say
from regraft.core.errors import MissingPackageError, UsageError
from regraft.core.inputs import Batch
from regraft.core.optional import is_installed, require
from regraft.sources import Trunk

TOLERANCE = 1e-4
"""Largest difference from eager, relative to eager's largest value, that a compiled backend may show."""
WORTH_COMPILING = 256
"""Pieces from which compiling (some ten seconds for a small network) pays for itself."""
BACKENDS = ("auto", "eager", "openvino")


class Backend(Protocol):
    """Runs a prefix on one batch after the other."""

    name: str

    def run(self, batch: Batch) -> Tensor:
        """The activation at the cut, on the CPU, first dimension the pieces."""
        ...


class EagerBackend:
    """The module itself, in ``eval()`` and without gradients."""

    def __init__(self, trunk: Trunk, cut: int, device: torch.device):
        self.name = "eager"
        self._trunk, self._cut, self._device = trunk, cut, device

    def run(self, batch: Batch) -> Tensor:
        """See :class:`Backend`."""
        with torch.inference_mode():
            moved = {name: tensor.to(self._device) for name, tensor in batch.items()}
            value = self._trunk.prefix(moved, cut=self._cut)
            assert value is not None
            # A clone made outside inference mode may take part in training.
        return value.cpu().clone()


class _Prefix(nn.Module):
    """The prefix as a module of positional tensors, the form that export wants."""

    def __init__(self, trunk: Trunk, cut: int, names: tuple[str, ...]):
        super().__init__()
        self.trunk, self.cut, self.names = trunk, cut, names

    def forward(self, *tensors: Tensor) -> Tensor:
        value = self.trunk.prefix(dict(zip(self.names, tensors, strict=True)), cut=self.cut)
        assert value is not None
        return value


class OpenVINOBackend:
    """The prefix converted from ``torch.export`` and compiled by OpenVINO, float32, for one batch shape."""

    def __init__(self, trunk: Trunk, cut: int, example: Batch):
        openvino: Any = require("openvino", "Compiling the frozen layers", "regraft[fast]")
        self.name = "openvino"
        self._names = tuple(example)
        tensors = tuple(example.values())
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.export warns about its own deprecated parts
            program = torch.export.export(_Prefix(trunk, cut, self._names), tensors)
            model = openvino.convert_model(program)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            # On some processors OpenVINO picks bfloat16 by itself.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._compiled = openvino.compile_model(model, "CPU", settings)
        self._output = self._compiled.output(0)

    def run(self, batch: Batch) -> Tensor:
        """See :class:`Backend`."""
        values = [np.ascontiguousarray(batch[name].numpy()) for name in self._names]
        return torch.from_numpy(np.array(self._compiled(values)[self._output]))


def wanted_backend(wanted: str, *, pieces: int, shapes: int, device: torch.device) -> str:
    """Which backend a prefix is to run on: decided by counts, never by time, so that equal runs agree.

    Parameters
    ----------
    wanted
        ``auto``, ``eager`` or ``openvino``.
    pieces, shapes
        How many pieces the inputs have, and of how many shapes; a compiled prefix has one shape.
    """
    if wanted not in BACKENDS:
        raise UsageError(f"there is no backend {wanted!r}; there are: {', '.join(BACKENDS)}")
    fits = shapes == 1 and device.type == "cpu"
    pays = pieces >= WORTH_COMPILING and is_installed("openvino")
    compiled = fits and (wanted == "openvino" or (wanted == "auto" and pays))
    return "openvino" if compiled else "eager"


def open_backend(name: str, trunk: Trunk, cut: int, batch: Batch, device: torch.device) -> Backend:
    """The backend of that name, checked on a real batch; eager where a compiled one cannot be had."""
    eager = EagerBackend(trunk, cut, device)
    return eager if name == "eager" else _checked(trunk, cut, batch, eager)


def _checked(trunk: Trunk, cut: int, batch: Batch, eager: Backend) -> Backend:
    # Conversion runs foreign code over any network a person may bring: whatever it raises, eager still works.
    try:
        compiled = OpenVINOBackend(trunk, cut, batch)
        values, reference = compiled.run(batch), eager.run(batch)
    except MissingPackageError:
        raise
    except Exception as error:  # noqa: BLE001
        say(f"The frozen layers cannot be compiled ({type(error).__name__}); running them eagerly.")
        return eager
    scale = float(reference.abs().max()) or 1.0
    difference = float((values - reference).abs().max()) / scale
    if not difference <= TOLERANCE:
        say(f"The compiled layers depart from eager by {difference:.1e} (relative); running them eagerly.")
        return eager
    return compiled


def versions_of(backend: str) -> str:
    """The backend's name and version, part of every cache key."""
    if backend == "openvino":
        import openvino

        return f"openvino {openvino.__version__}"
    return f"{backend} {torch.__version__}"
