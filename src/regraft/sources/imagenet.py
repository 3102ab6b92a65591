"""Names of the 1,000 ImageNet classes, where an installed package carries them."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def class_names() -> tuple[str, ...]:
    """The first word of each class in the usual order; empty where no installed package carries them.

    Read from timm's text files, without importing it.
    """
    spec = importlib.util.find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return ()
    folder = Path(spec.submodule_search_locations[0]) / "data" / "_info"
    order, words = folder / "imagenet_synsets.txt", folder / "imagenet_synset_to_lemma.txt"
    if not (order.is_file() and words.is_file()):
        return ()
    lines = words.read_text(encoding="utf-8").splitlines()
    lemmas = dict(line.split("\t", 1) for line in lines if "\t" in line)
    synsets = order.read_text(encoding="utf-8").split()
    return tuple(lemmas.get(synset, synset).split(",")[0].strip() for synset in synsets)
