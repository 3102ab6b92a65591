"""``torch.compile``: generated C++ on a CPU, generated kernels in CUDA graphs on a GPU."""

from __future__ import annotations

import copy
import os
import shutil
import sys
import warnings
from typing import Any

import torch
from torch import Tensor

from regraft.core.files import cache_folder
from regraft.core.inputs import Batch
from regraft.inference.backends.backend import Prefix
from regraft.inference.backends.eager import casting

MOST_SHAPES = 32
"""Shapes that one prefix is compiled for; further ones PyTorch runs eagerly."""


class CompileBackend:
    """The prefix compiled by ``torch.compile``, for each shape anew; its code is kept in the cache."""

    def __init__(self, prefix: Prefix, device: torch.device, dtype: torch.dtype, store: dict[Any, Any]):
        self.name = "compile"
        self._names, self._device, self._dtype = prefix.names, device, dtype
        if "module" not in store:
            # A copy: the trunk's own weights may be trained while this is kept for the next who asks.
            store["module"] = _compiled(copy.deepcopy(prefix).eval(), device)
        self._module = store["module"]

    def run(self, batch: Batch) -> Tensor:
        """See :class:`regraft.inference.backends.Backend`."""
        tensors = [batch[name].to(self._device) for name in self._names]
        with torch.no_grad(), casting(self._device, self._dtype), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.compile warns about its own deprecated parts
            with torch._dynamo.config.patch(recompile_limit=MOST_SHAPES):
                value: Tensor = self._module(*tensors)
        return value.cpu().float().clone()  # a CUDA graph's output is overwritten by the next run


def _compiled(prefix: Prefix, device: torch.device) -> Any:
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled" / "inductor"))
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports warns about its own deprecated parts
        return torch.compile(prefix, dynamic=False, mode=mode)


def cpp_compiler() -> str | None:
    """The C++ compiler that ``torch.compile`` would use on a CPU; None where there is none."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX") or usual)
