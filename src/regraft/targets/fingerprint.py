"""The fingerprint of a target: a hash over contents, labels and parts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from regraft.core.hashing import hash_json

if TYPE_CHECKING:
    from regraft.targets.target import Target


def fingerprint(target: Target) -> str:
    """sha256 over content hashes, encoded labels, tasks, parts and groups."""
    digest = hashlib.sha256(hash_json([spec.to_json() for spec in target.tasks]).encode())
    digest.update(target.examples.hashes.array.data)
    for spec in target.tasks:
        digest.update(np.ascontiguousarray(target._labels[spec.name]).data)
    digest.update(np.ascontiguousarray(target.part).data)
    if target.groups is not None:
        digest.update(np.ascontiguousarray(target.groups).data)
    return digest.hexdigest()
