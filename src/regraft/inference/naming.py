"""Names under which values are kept: everything that a value depends on is in them, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import blake2b

import numpy as np
from torch import Tensor

from regraft.core.hashing import hash_tensors
from regraft.core.inputs import Inputs, View
from regraft.inference.shard import KEY_BYTES
from regraft.inference.structure import structure_hash
from regraft.sources import Trunk

_FORMAT = 2


def piece_keys(inputs: Inputs, pieces: np.ndarray, view: View | None) -> np.ndarray:
    """Names of pieces on a shelf, ``S16 (pieces,)``: the hash of the example's key (its bytes and its
    preprocessing), the piece's number in it, and all that the view says.
    """
    owners = np.asarray(inputs.owners)
    first = np.searchsorted(owners, owners[pieces], side="left")
    seen = "" if view is None else json.dumps(asdict(view), sort_keys=True, default=repr)
    named = inputs.keys
    digests = (
        blake2b(f"{named[owner]}:{ordinal}:{seen}".encode(), digest_size=KEY_BYTES).digest()
        for owner, ordinal in zip(owners[pieces].tolist(), (pieces - first).tolist(), strict=True)
    )
    return np.frombuffer(b"".join(digests), dtype=f"S{KEY_BYTES}")


def prefix_facts(trunk: Trunk, cut: int, *, ragged: bool) -> dict[str, object]:
    """What the first ``cut`` blocks of a trunk compute: half of the name of a shelf, or of what was compiled;
    how they are run is the other.

    ``ragged`` says that pieces are padded: whether padding is kept depends on what reads it.
    """
    last = len(trunk.blocks)
    return {
        "format": _FORMAT,
        "weights": hash_tensors(_owned(trunk, cut)),
        "structure": structure_hash(trunk, 0, cut),
        "behind": structure_hash(trunk, cut, last) if ragged and cut < last else "",
        "blocks": list(trunk.block_names[:cut]),
    }


def _owned(trunk: Trunk, cut: int) -> dict[str, Tensor]:
    """Parameters and buffers of the first ``cut`` blocks."""
    names = set(trunk.block_names[:cut])
    state = trunk.network.state_dict()
    return {name: value for name, value in state.items() if trunk.block_of(name) in names}
