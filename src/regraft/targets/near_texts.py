"""Near-duplicate texts: equal but for case, punctuation and spaces, or made of nearly the same pieces.

Each text becomes the set of its pieces of 5 characters; two are alike as far as their sets overlap (Jaccard).
Pairs to compare are found by MinHash (Broder 1997, "On the resemblance and containment of documents"): the
smallest of 64 hashes over a set agree in two texts with a probability that is their likeness, and texts that
agree in one of 16 bands of 4 are compared: 99.98% of those that are .8 alike are found, 5% of those at .3.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

import numpy as np

from regraft.core.randomness import numpy_generator

LIKE = 0.8
_PIECE = 5
_BANDS, _ROWS = 16, 4
_LARGEST = 500  # texts in one bucket; beyond, each is compared with those beside it only
_NOISE = re.compile(r"[\W_]+")


def normalised(text: str) -> str:
    """Small letters and digits with single spaces between, compatibility forms resolved (NFKC)."""
    return _NOISE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def similar_texts(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs ``int64 (M, 2)`` of texts that are near-duplicates, and how alike they are, from .8 to 1."""
    sets = [_pieces(text) for text in texts]
    tried: set[tuple[int, int]] = set()
    pairs, alike = [], []
    for first, second in _candidates(_sketches(sets)):
        if (first, second) in tried:
            continue
        tried.add((first, second))
        value = _jaccard(sets[first], sets[second])
        if value >= LIKE:
            pairs.append((first, second))
            alike.append(value)
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    return np.array([pairs[at] for at in order], dtype=np.int64).reshape(-1, 2), np.array(alike)[order]


def _pieces(text: str) -> np.ndarray:
    """``uint32``: hashes of the different pieces; of a text without a letter the text itself is the piece."""
    kept = normalised(text) or text
    data = np.frombuffer(kept.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    data = np.pad(data, (0, max(0, _PIECE - len(data))))
    total = np.zeros(len(data) - _PIECE + 1, dtype=np.uint64)
    for offset in range(_PIECE):
        total = total * np.uint64(0x9E3779B97F4A7C15) + data[offset : offset + len(total)]
    return np.unique((total ^ (total >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(32))


def _jaccard(first: np.ndarray, second: np.ndarray) -> float:
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / (len(first) + len(second) - both)


def _sketches(sets: list[np.ndarray]) -> np.ndarray:
    """``uint64 (N, 64)``: the smallest value of each of 64 hash functions over each set."""
    random = numpy_generator(0, "minhash")
    factors = random.integers(1, 1 << 31, _BANDS * _ROWS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = random.integers(0, 1 << 62, _BANDS * _ROWS, dtype=np.uint64)
    sketches = np.empty((len(sets), _BANDS * _ROWS), dtype=np.uint64)
    for place, pieces in enumerate(sets):
        hashed = (pieces[:, None] * factors + shifts) * np.uint64(0x94D049BB133111EB)
        sketches[place] = (hashed >> np.uint64(20)).min(axis=0)
    return sketches


def _candidates(sketches: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs, first below second, that agree in a band; some come again."""
    for start in range(0, _BANDS * _ROWS, _ROWS):
        buckets: dict[bytes, list[int]] = {}
        for place, row in enumerate(np.ascontiguousarray(sketches[:, start : start + _ROWS])):
            buckets.setdefault(row.tobytes(), []).append(place)
        for inside in buckets.values():
            reach = len(inside) if len(inside) <= _LARGEST else 2
            for at, first in enumerate(inside):
                for second in inside[at + 1 : at + reach]:
                    yield first, second
