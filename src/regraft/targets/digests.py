"""Content hashes of many examples in 32 bytes each, read as hexadecimal strings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Digests(Sequence[str]):
    """A list-like of sha256 strings over an array ``uint8 (N, 32)``."""

    def __init__(self, array: np.ndarray):
        self.array = np.ascontiguousarray(array, dtype=np.uint8).reshape(-1, 32)

    @classmethod
    def from_bytes(cls, digests: Iterable[bytes]) -> Digests:
        """From raw digests of 32 bytes."""
        return cls(np.frombuffer(b"".join(digests), dtype=np.uint8))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [row.tobytes().hex() for row in self.array[index]]
        return str(self.array[index].tobytes().hex())

    def select(self, indices: np.ndarray) -> Digests:
        """Those at the given indices."""
        return Digests(self.array[indices])

    def codes(self) -> np.ndarray:
        """``int64 (N,)``: equal numbers where contents are equal, counted in order of appearance."""
        import pyarrow as pa

        column = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(32), len(self), [None, pa.py_buffer(self.array.data)]
        )
        codes: np.ndarray = column.dictionary_encode().indices.to_numpy(zero_copy_only=False)
        return codes.astype(np.int64)

    def ranks(self, salt: str = "") -> np.ndarray:
        """``uint64 (N,)``: drawn from the hash of salt and content hash; its order is a fixed shuffle."""
        import hashlib

        start = hashlib.sha256(salt.encode())
        numbers = bytearray()
        for row in self.array:
            digest = start.copy()
            digest.update(row.data)
            numbers += digest.digest()[:8]
        return np.frombuffer(bytes(numbers), dtype=">u8").astype(np.uint64)

    def shuffled(self, key: int) -> np.ndarray:
        """``uint64 (N,)``, drawn from content hash and key by splitmix64's finaliser (Steele et al. 2014)."""
        mixed = self.array[:, :8].copy().view("<u8").reshape(-1).astype(np.uint64) ^ np.uint64(key)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return mixed ^ (mixed >> np.uint64(31))
