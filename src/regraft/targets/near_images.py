"""Near-duplicate images: found by a hash of 64 bits, confirmed on thumbnails.

1. Every image becomes a grey thumbnail of 16 x 16 pixels, less the mean thumbnail of the data: what all of
   them show (the bars of a solar cell, a white page) is no likeness of two.
2. Its hash are the signs of its first 64 principal components. They halve the data in independent ways, so
   that buckets stay small where all images are alike, as those of hashes made for photographs do not.
3. Pairs that share one of 8 pieces of the hash (multi-index hashing: Norouzi, Punjani, Fleet 2014, "Fast
   exact search in Hamming space with multi-index hashing") and differ in no more than 24 bits are compared,
   see :func:`likeness`. All pairs within 7 bits are among them, most of those a little further. Among up to
   1,024 images every pair is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

SIDE = 16
LIKE = 0.98  # re-encoded and resized photos are above it; no pair of 1,200 handwritten digits is
_FARTHEST = 24  # bits of 64
_PIECES, _BITS = 8, 64
_CROPPED = 0.85  # likeness as they lie, from which on two images are laid on each other
_ALL = 1024  # images, of which all pairs are compared
_LARGEST, _NEXT = 2000, 20  # images of one bucket; of a larger one, how many neighbours each is compared with
_FEWEST = 8  # images: a mean and principal axes of fewer say nothing
_FLAT = 1e-3  # of the data's own spread: an image that shows nothing of its own is like any other such
_BLOCK, _AT_ONCE = 1 << 16, 1 << 11  # pairs at once, and such that are laid on each other


def thumbnail_of(pixels: np.ndarray) -> np.ndarray:
    """The grey thumbnail ``float32 (256,)`` of pixels ``(H, W, C)``."""
    from PIL import Image

    grey = Image.fromarray(pixels.astype(np.float32).mean(axis=2))
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32).ravel()


def similar_images(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs ``int64 (M, 2)`` of images that are near-duplicates, and how alike they are, from .98 to 1.

    Parameters
    ----------
    thumbnails
        ``float32 (N, 256)``, see :func:`thumbnail_of`.
    """
    own = thumbnails - thumbnails.mean(axis=0)
    own = own - own.mean(axis=1, keepdims=True)
    size = np.linalg.norm(own, axis=1)
    there = np.flatnonzero(size > _FLAT * max(float(size.max(initial=0.0)), 1e-9))
    if len(there) < _FEWEST:
        return np.zeros((0, 2), dtype=np.int64), np.zeros(0)
    own = own[there] / size[there, None]
    candidates = _every(len(own)) if len(own) <= _ALL else _candidates(_signs(own))
    found = [_confirmed(own, pairs) for pairs in candidates]
    pairs = np.concatenate([pair for pair, _ in found] or [np.zeros((0, 2), dtype=np.int64)])
    alike = np.concatenate([value for _, value in found] or [np.zeros(0)])
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    return there[pairs], alike[first]


def _every(count: int) -> Iterator[np.ndarray]:
    """All pairs of few images: principal components of fewer than a thousand say little of their own."""
    first, second = np.triu_indices(count, 1)
    for start in range(0, len(first), _BLOCK):
        yield np.column_stack([first[start : start + _BLOCK], second[start : start + _BLOCK]])


def _signs(own: np.ndarray) -> np.ndarray:
    """``uint8 (N, 8)``: the signs of the first 64 principal components, less their medians."""
    _, axes = np.linalg.eigh((own.T @ own).astype(np.float64))
    components = own @ axes[:, ::-1][:, :_BITS].astype(np.float32)
    # Neighbouring bits are of components of like size: spread them, so that each piece has strong ones.
    bits = (components > np.median(components, axis=0)).reshape(len(own), _BITS // _PIECES, _PIECES)
    return np.packbits(bits.transpose(0, 2, 1).reshape(len(own), _BITS), axis=1)


def _candidates(codes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs ``(M, 2)``, first below second, that share a piece and are near enough; some come again."""
    words = np.ascontiguousarray(codes).view(np.uint64)[:, 0]
    # Among very many images 8 bits are shared by too many: two pieces at a time are.
    keys = codes.T if len(codes) <= 100_000 else np.ascontiguousarray(codes).view(np.uint16).T
    for key in keys:
        order = np.argsort(key, kind="stable")
        bounds = np.flatnonzero(np.diff(key[order].astype(np.int64), prepend=-1, append=-1))
        for start, stop in pairwise(bounds):
            yield from _near(words, np.sort(order[start:stop]))


def _near(words: np.ndarray, inside: np.ndarray) -> Iterator[np.ndarray]:
    """Of a bucket's pairs those whose hashes differ in few bits."""
    if len(inside) > _LARGEST:  # frames of a film: each is compared with the next ones alone
        inside = inside[np.argsort(words[inside], kind="stable")]
        for step in range(1, _NEXT):
            yield np.sort(np.column_stack([inside[:-step], inside[step:]]), axis=1)
        return
    rows = max(1, _BLOCK // max(1, len(inside)))
    for start in range(0, len(inside) - 1, rows):
        few = inside[start : start + rows]
        apart = np.bitwise_count(words[few][:, None] ^ words[inside][None])
        left, right = np.nonzero((apart <= _FARTHEST) & (inside[None] > few[:, None]))
        if len(left):
            yield np.column_stack([few[left], inside[right]])


def _confirmed(own: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    alike = np.einsum("nd,nd->n", own[pairs[:, 0]], own[pairs[:, 1]]).astype(np.float64)
    doubtful = np.flatnonzero((alike > _CROPPED) & (alike < LIKE))
    for start in range(0, len(doubtful), _AT_ONCE):
        few = doubtful[start : start + _AT_ONCE]
        alike[few] = likeness(own[pairs[few, 0]], own[pairs[few, 1]])
    kept = alike >= LIKE
    return pairs[kept], np.minimum(alike[kept], 1.0)


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    r"""How alike pairs of thumbnails ``(P, 256)`` are once one is moved and stretched a little, 0 to 1.

    To first order :math:`a(x, y) \approx \alpha b + \beta + b_x (t_x + s_x x) + b_y (t_y + s_y y)`, one step
    of Lucas and Kanade 1981, "An iterative image registration technique": the multiple correlation of a with
    these six. Both directions are tried; the smaller counts.
    """
    return np.minimum(_explained(first, second), _explained(second, first))


def _explained(wanted: np.ndarray, others: np.ndarray) -> np.ndarray:
    pictures = others.reshape(-1, SIDE, SIDE).astype(np.float64)
    down, right = (np.asarray(np.gradient(pictures, axis=axis)) for axis in (1, 2))
    place = np.linspace(-1, 1, SIDE)
    parts: list[np.ndarray] = [
        pictures,
        np.ones_like(pictures),
        right,
        right * place,
        down,
        down * place[:, None],
    ]
    design = np.stack([part.reshape(len(others), -1) for part in parts], axis=2)
    basis, _ = np.linalg.qr(design)
    rest = wanted - wanted.mean(axis=1, keepdims=True)
    fitted = np.square(np.einsum("nd,ndk->nk", rest, basis)).sum(axis=1)
    return np.asarray(np.sqrt(np.clip(fitted / np.square(rest).sum(axis=1), 0.0, 1.0)))
