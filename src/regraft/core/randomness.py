"""Randomness as a function, not a state.

Every random choice is drawn from a generator keyed by what the choice is for: ``(seed, purpose, step,
example)``. Nothing about it has to be stored, so resuming, workers and caching cannot disturb it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def random_key(seed: int, purpose: str, *parts: int | str) -> int:
    """A 63-bit integer that depends on every argument and on nothing else."""
    text = "|".join([str(int(seed)), purpose, *(str(part) for part in parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int, purpose: str, *parts: int | str) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.Generator(np.random.PCG64(random_key(seed, purpose, *parts)))


def torch_generator(seed: int, purpose: str, *parts: int | str) -> torch.Generator:
    """A torch CPU generator for one purpose."""
    import torch

    return torch.Generator().manual_seed(random_key(seed, purpose, *parts))


@contextmanager
def torch_randomness(seed: int, purpose: str, *parts: int | str) -> Iterator[None]:
    """Make global randomness (dropout, initialisation) a function of the key inside the block.

    That is torch's, and Python's and numpy's too, which some networks' code uses for masks and layer drop.
    The global states outside are left as they were.
    """
    import torch

    key = random_key(seed, purpose, *parts)
    pythons, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            _seed_torch(key)
            random.seed(key)
            np.random.seed(key & 0xFFFFFFFF)
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)


def _seed_torch(key: int) -> None:
    """Seed torch's generators.

    ``torch.manual_seed`` also seeds devices that are not there, and for each of them formats the whole stack,
    which takes longer than a step of a small network.
    """
    import torch

    if torch.accelerator.is_available():
        torch.manual_seed(key)
    else:
        torch.default_generator.manual_seed(key)
