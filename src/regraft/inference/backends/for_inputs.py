"""Choosing and opening a backend for given inputs."""

from __future__ import annotations

import numpy as np
import torch

from regraft.core.inputs import Batch, Inputs
from regraft.inference.backends.backend import Backend
from regraft.inference.backends.choice import repaid, wanted_backend
from regraft.inference.backends.opening import open_backend
from regraft.inference.backends.work import Work, most_work, work_of
from regraft.inference.naming import prefix_facts
from regraft.sources import Trunk


def choose_backend(
    wanted: str, trunk: Trunk, cut: int, inputs: Inputs, device: torch.device, *, pieces: int | None = None
) -> str:
    """Which backend the first ``cut`` blocks are to run on for these inputs.

    ``pieces`` is how many there will be, where the inputs are only the first of them.
    """
    here = len(inputs.owners)
    if wanted != "auto" or not here:
        return wanted_backend(wanted, pieces=here, shapes=1, device=device, most=0.0)
    return wanted_backend(
        wanted,
        pieces=here if pieces is None else pieces,
        shapes=_shapes(inputs),
        device=device,
        work=lambda: _work(trunk, cut, inputs),
        most=most_work(_first(inputs, 1)),
    )


def open_for(
    name: str,
    trunk: Trunk,
    cut: int,
    inputs: Inputs,
    device: torch.device,
    *,
    size: int,
    dtype: torch.dtype = torch.float32,
) -> Backend:
    """The backend of that name, checked on the first ``size`` pieces; see :func:`open_backend`.

    Where it cannot be had, another compiled one takes its place if that repays its compilation, else eager.
    """
    if name == "eager":
        return open_backend(name, trunk, cut, {}, device, dtype=dtype)
    return open_backend(
        name,
        trunk,
        cut,
        _first(inputs, size),
        device,
        dtype=dtype,
        facts=prefix_facts(trunk, cut, ragged=False),
        several=_shapes(inputs) > 1,
        instead=lambda: _others(name, trunk, cut, inputs, device),
    )


def _others(name: str, trunk: Trunk, cut: int, inputs: Inputs, device: torch.device) -> tuple[str, ...]:
    found = repaid(len(inputs.owners), _work(trunk, cut, inputs), device)
    return tuple(one for one in found if one != name)


def _work(trunk: Trunk, cut: int, inputs: Inputs) -> Work:
    return work_of(trunk, cut, _first(inputs, 1))


def _first(inputs: Inputs, size: int) -> Batch:
    """The first pieces of the first piece's shape, repeated where they are fewer than ``size``."""
    buckets = np.asarray(inputs.buckets)
    same = np.flatnonzero(buckets == buckets[0])[:size]
    return inputs.batch(np.resize(same, size).astype(np.int64))


def _shapes(inputs: Inputs) -> int:
    return len(np.unique(np.asarray(inputs.buckets)))
