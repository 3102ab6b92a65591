"""PyTorch as it stands: the reference that compiled prefixes are checked against."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from regraft.core.inputs import Batch
from regraft.sources import Trunk


class EagerBackend:
    """The module itself, in ``eval()`` and without gradients."""

    def __init__(self, trunk: Trunk, cut: int, device: torch.device, dtype: torch.dtype = torch.float32):
        self.name = "eager"
        self._trunk, self._cut, self._device, self._dtype = trunk, cut, device, dtype

    def run(self, batch: Batch) -> Tensor:
        """See :class:`regraft.inference.backends.Backend`."""
        with torch.inference_mode(), casting(self._device, self._dtype):
            moved = {name: tensor.to(self._device) for name, tensor in batch.items()}
            value = self._trunk.prefix(moved, cut=self._cut)
            assert value is not None
            # A clone made outside inference mode may take part in training.
        return value.cpu().float().clone()


def casting(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Multiply in ``dtype``; float32 leaves everything as it is."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
