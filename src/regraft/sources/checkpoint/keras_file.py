"""Keras weights in HDF5: names that say layer and variable, where Keras 2 or 3 notes or implies them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.sources.checkpoint.checkpoint import Entry
from regraft.sources.checkpoint.hdf5_file import entries_of, read_listing

_KERNEL = ("kernel", "bias")
_NORM = ("gamma", "beta")
# Keras 3 numbers a layer's variables and calls its group after the layer's class, which tells what they are.
_ROLES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("dense", "einsum_dense", "depthwise_conv1d", "depthwise_conv2d"), _KERNEL),
    **{f"conv{n}d{end}": _KERNEL for n in (1, 2, 3) for end in ("", "_transpose")},
    **{f"separable_conv{n}d": ("depthwise_kernel", "pointwise_kernel", "bias") for n in (1, 2)},
    "embedding": ("embeddings",),
    "layer_normalization": _NORM,
    "group_normalization": _NORM,
    "batch_normalization": (*_NORM, "moving_mean", "moving_variance"),
}
_WHOLE = ("batch_normalization", "layer_normalization", "group_normalization")  # parts of it may be left out
_VARIABLE = re.compile(r"(?P<layer>.+)/vars/(?P<number>\d+)")
_COUNTER = re.compile(r"_\d+$")
_DIGITS = re.compile(r"(\d+)")


def read_entries(path: Path) -> tuple[dict[str, Entry], list[str]]:
    """The weights of a file that Keras wrote, or all datasets of another HDF5 file by their paths."""
    listing = read_listing(path)
    return named(entries_of(path, listing), listing)


def named(entries: Mapping[str, Entry], listing: Mapping[str, Any]) -> tuple[dict[str, Entry], list[str]]:
    """Entries under the names that Keras would give them, and what was passed over."""
    notes = [f"passed over {', '.join(listing['passed'][:4])}: no numbers"] if listing["passed"] else []
    if listing["order"]:
        return _of_keras_2(entries, listing["order"], notes)
    kept = {name: entry for name, entry in entries.items() if not name.startswith("optimizer/")}
    if len(kept) < len(entries):
        notes.append(f"passed over the optimiser's {len(entries) - len(kept)} tensors")
    return _of_keras_3(kept, listing["titles"]), notes


def _of_keras_2(
    entries: Mapping[str, Entry], order: list[str], notes: list[str]
) -> tuple[dict[str, Entry], list[str]]:
    """By layers in the order of the model; ``dense/dense/kernel:0`` is the variable ``dense/kernel``."""
    paths = [path for path in dict.fromkeys(order) if path in entries]
    if len(paths) < len(entries):
        notes.append(f"passed over {len(entries) - len(paths)} tensors that belong to no layer")
    short = {path: _variable(path) for path in paths}
    twice = {name for name, count in Counter(short.values()).items() if count > 1}
    return {path if short[path] in twice else short[path]: entries[path] for path in paths}, notes


def _variable(path: str) -> str:
    parts = path.removeprefix("model_weights/").removesuffix(":0").split("/")
    return "/".join(parts[1:] if len(parts) > 2 else parts)


def _of_keras_3(entries: Mapping[str, Entry], titles: Mapping[str, str]) -> dict[str, Entry]:
    """By layer and variable where the layer's class tells what its variables are, else by the path."""
    ordered = sorted(entries, key=_natural)
    matches = {path: match for path in ordered if (match := _VARIABLE.fullmatch(path))}
    held = Counter(match["layer"] for match in matches.values())
    layers = {layer: titles.get(f"{layer}/vars", layer.rpartition("/")[2]) for layer in held}
    shared = {title for title, count in Counter(layers.values()).items() if count > 1}
    names = {}
    for path, match in matches.items():
        layer = match["layer"]
        role = _role(layer.rpartition("/")[2], int(match["number"]), held[layer])
        title = layer if layers[layer] in shared else layers[layer]
        if role:
            names[path] = f"{title}/{role}"
    made = {names.get(path, path): entries[path] for path in ordered}
    return made if len(made) == len(entries) else {path: entries[path] for path in ordered}


def _role(group: str, number: int, count: int) -> str:
    """What a layer's variable is, by the layer's class, the variable's number and how many there are."""
    kind = _COUNTER.sub("", group)
    roles = _ROLES.get("dense" if kind.endswith("_dense") else kind, ())
    if kind in _WHOLE and count != len(roles):
        return ""
    return roles[number] if number < len(roles) and count <= len(roles) else ""


def _natural(path: str) -> list[tuple[int, str]]:
    """A key that sorts ``conv2d_10`` behind ``conv2d_9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in _DIGITS.split(path)]
