"""A compiled backend under the eye of eager: checked on the first batch of each shape."""

from __future__ import annotations

import torch
from torch import Tensor

from regraft.core.console import say
from regraft.core.inputs import Batch
from regraft.inference.backends.backend import TOLERANCES, Backend, Shapes, shapes_of

CHECKED = 4
"""Pieces of a batch on which compiled layers are compared with eager."""


class CheckedBackend:
    """Runs ``compiled``; batches of a shape at which it departs from ``eager`` are run eagerly, aloud.

    Parameters
    ----------
    compiled, eager
        Two ways to run one prefix; ``eager`` multiplies in float32.
    dtype
        What ``compiled`` multiplies in, which decides how far it may depart.
    """

    def __init__(self, compiled: Backend, eager: Backend, dtype: torch.dtype = torch.float32):
        self.name = compiled.name
        self._compiled, self._eager, self._tolerance = compiled, eager, TOLERANCES[dtype]
        self._holds: dict[Shapes, bool] = {}

    def run(self, batch: Batch) -> Tensor:
        """See :class:`regraft.inference.backends.Backend`."""
        shapes = shapes_of(batch)
        if shapes not in self._holds:
            self._check_aloud(shapes, batch)
        return (self._compiled if self._holds[shapes] else self._eager).run(batch)

    def check(self, batch: Batch) -> float:
        """The largest difference from eager on a few pieces of a batch, relative to eager's largest value."""
        difference = self._difference(batch)
        self._holds[shapes_of(batch)] = difference <= self._tolerance
        return difference

    def _check_aloud(self, shapes: Shapes, batch: Batch) -> None:
        try:
            difference = self.check(batch)
        except Exception as error:  # noqa: BLE001 - a compiler may fail at one shape and not at another
            self._holds[shapes] = False
            say(
                f"Batches of {_words(shapes)} cannot be compiled ({type(error).__name__}); "
                "running them eagerly."
            )
            return
        if not self._holds[shapes]:
            say(
                f"Compiled batches of {_words(shapes)} depart from eager by {difference:.1e} (relative); "
                "running them eagerly."
            )

    def _difference(self, batch: Batch) -> float:
        few = {name: tensor[:CHECKED] for name, tensor in batch.items()}
        reference, values = self._eager.run(few), self._compiled.run(batch)[:CHECKED]
        if values.shape != reference.shape:
            return float("inf")
        scale = float(reference.abs().max()) or 1.0
        return float((values - reference).abs().max()) / scale


def _words(shapes: Shapes) -> str:
    return " and ".join(" x ".join(map(str, shape)) for shape in shapes)
