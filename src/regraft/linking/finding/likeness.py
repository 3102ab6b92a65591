"""How alike two names are, by their words: synonyms count as equal, numbers count by their place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SYNONYMS = {
    "gamma": "weight", "kernel": "weight", "scale": "weight", "beta": "bias", "offset": "bias",
    "moving": "running", "variance": "var",
    "layernorm": "norm", "ln": "norm", "bn": "norm", "norms": "norm",
    "batchnorm": "norm", "layer_norm": "norm",
    "convolution": "conv", "conv2d": "conv", "convs": "conv",
    "dense": "linear", "fc": "linear", "lin": "linear", "linears": "linear", "mlp": "linear", "ffn": "linear",
    "intermediate": "linear", "feedforward": "linear", "feed": "linear", "forward": "linear",
    "attention": "attn", "self": "attn", "selfattn": "attn", "mha": "attn",
    "query": "q", "key": "k", "value": "v", "qkv": "qkv",
    "projection": "proj", "out": "proj", "output": "proj",
    "embeddings": "embed", "embedding": "embed", "emb": "embed", "wte": "embed", "wpe": "pos",
    "position": "pos", "positional": "pos", "positions": "pos", "token": "token", "tokens": "token",
    "cls": "class", "classifier": "head", "logits": "head", "heads": "head", "predictions": "head",
    "downsample": "shortcut", "skip": "shortcut", "residual": "shortcut", "identity": "shortcut",
    "layers": "block", "layer": "block", "blocks": "block", "stages": "stage", "h": "block",
    "encoder": "", "model": "", "network": "", "module": "", "backbone": "", "features": "", "trunk": "",
    "squeeze": "se", "excite": "se", "excitation": "se", "dw": "depthwise", "pw": "pointwise",
    "patch": "patch", "stem": "stem",
}  # fmt: skip
_NUMBER_WEIGHT = 0.7


@lru_cache(maxsize=65536)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, synonyms replaced; the n-th number from the left is ``#n=value``."""
    words: list[str] = []
    numbers = 0
    for word in _WORD.findall(name):
        if word.isdigit():
            words.append(f"#{numbers}={int(word)}")
            numbers += 1
            continue
        plain = word.lower()
        plain = _SYNONYMS.get(plain, plain)
        if plain and plain not in words:
            words.append(plain)
    return tuple(words)


def likeness(targets: Sequence[str], sources: Sequence[str]) -> np.ndarray:
    """Likeness of every pair, ``float (targets, sources)`` between 0 and 1: a weighted Jaccard index.

    A word counts more the rarer it is (inverse document frequency); equal names have 1.
    """
    vocabulary: dict[str, int] = {}
    rows = [[vocabulary.setdefault(word, len(vocabulary)) for word in words_of(name)] for name in targets]
    columns = [[vocabulary.setdefault(word, len(vocabulary)) for word in words_of(name)] for name in sources]
    if not vocabulary:
        return np.zeros((len(targets), len(sources)))
    left, right = _table(rows, len(vocabulary)), _table(columns, len(vocabulary))
    counts = left.sum(0) + right.sum(0)
    weights = np.log(1 + (len(rows) + len(columns)) / np.maximum(counts, 1))
    weights *= [_NUMBER_WEIGHT if word.startswith("#") else 1.0 for word in vocabulary]
    shared = (left * weights) @ right.T
    union = (left @ weights)[:, None] + (right @ weights)[None, :] - shared
    alike = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    places = {name: place for place, name in enumerate(sources)}
    for row, name in enumerate(targets):
        if name in places:
            alike[row, places[name]] = 1.0
    return alike


def _table(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    table = np.zeros((len(rows), width))
    for place, row in enumerate(rows):
        table[place, list(row)] = 1.0
    return table
