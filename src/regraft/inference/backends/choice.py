"""Which backend is worth its compilation: an estimate by arithmetic.

Compiling costs seconds once and spares time with every piece, in proportion to the numbers that
convolutions write (:mod:`regraft.inference.backends.work`). Measured side by side on two cores, eager minus
OpenVINO for an image of 224 pixels, in milliseconds for a million of those numbers: EfficientNet-Lite0 41,
ResNet-18 31, ResNet-50 42, MobileNetV3 21 (on a busy machine; some 6 on a quiet one), while their
multiply-adds differ by a factor of twenty. Repaid is it

- with OpenVINO, 6 to 8 s to export, convert and compile EfficientNet-Lite0 (6.7 million numbers) and 7 ms
  for an image instead of 35 to 50, after some 200 images;
- with ``torch.compile`` on a CPU, 116 s and 16 ms for an image, after some 3,500 images;
- with ``torch.compile`` on CUDA: no figure of our own. One minute against the half of an eager pass that
  launching kernels takes on a fast GPU, for some 150,000 images.

Transformers are not compiled on a CPU unless asked for: their matrix products gain nothing there. Inputs of
many shapes are not, either: each shape wants a compiled prefix of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from regraft.core.errors import UsageError
from regraft.core.optional import is_installed
from regraft.inference.backends.inductor import cpp_compiler
from regraft.inference.backends.work import Work

BACKENDS = ("auto", "eager", "openvino", "compile")

OPENVINO_REPAID = 1.5e9
"""Numbers written by convolutions from which OpenVINO repays its compilation."""
COMPILE_REPAID = 2.3e10
"""The same for ``torch.compile`` on a CPU."""
CUDA_REPAID = 1e12
"""Numbers written by convolutions and matrix products from which ``torch.compile`` does on CUDA."""


def wanted_backend(
    wanted: str,
    *,
    pieces: int,
    shapes: int,
    device: torch.device,
    work: Callable[[], Work] = Work,
    most: float = float("inf"),
) -> str:
    """Which backend a prefix is to run on: decided by counts, never by time, so that equal runs agree.

    Parameters
    ----------
    wanted
        One of :data:`BACKENDS`; what is named is taken wherever the device allows it.
    pieces, shapes
        How many pieces the inputs have, and of how many shapes.
    work
        Counts what a piece costs; only called where the answer depends on it.
    most
        What a piece costs at most, as far as that can be said without running it.
    """
    if wanted not in BACKENDS:
        raise UsageError(f"there is no backend {wanted!r}; there are: {', '.join(BACKENDS)}")
    if wanted != "auto":
        return wanted
    if shapes != 1 or pieces * most < OPENVINO_REPAID:
        return "eager"
    return next(iter(repaid(pieces, work(), device)), "eager")


def repaid(pieces: int, work: Work, device: torch.device) -> tuple[str, ...]:
    """The compiled backends that are at hand and repay their compilation, best first."""
    if device.type == "cuda":
        return ("compile",) if pieces * (work.convolutions + work.matrices) >= CUDA_REPAID else ()
    if device.type != "cpu":
        return ()
    found = []
    if pieces * work.convolutions >= OPENVINO_REPAID and is_installed("openvino"):
        found.append("openvino")
    if pieces * work.convolutions >= COMPILE_REPAID and cpp_compiler():
        found.append("compile")
    return tuple(found)
