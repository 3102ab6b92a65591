"""Running networks: batches, backends, the activation cache, and prediction."""

from regraft.inference.batching import fixed_batches, pieces_of
from regraft.inference.cache import cache_contents, clear_cache
from regraft.inference.embedding import Embedder, evaluating
from regraft.inference.lazy import LazyBatch

__all__ = [
    "Embedder",
    "LazyBatch",
    "cache_contents",
    "clear_cache",
    "evaluating",
    "fixed_batches",
    "pieces_of",
]
