"""Both sides of a link as ordered blocks with the links between them: what a picture of it shows."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from regraft.linking.blueprint import HEADS
from regraft.linking.outline import block_of_name

if TYPE_CHECKING:
    from regraft.linking.link import Link
    from regraft.linking.row import Row
    from regraft.sources.checkpoint import Checkpoint

Json = dict[str, Any]


def outline_of(link: Link) -> Json:
    """Blocks of both sides, stem first, and which gives to which; plain JSON.

    ``source``: ``block``, ``tensors``, ``parameters`` (numbers in them), of these ``unused`` and
    ``unused_parameters``, and at which places of the link's ``unused`` names and ``rows`` they stand.
    ``target``: ``block``, ``tensors``, ``parameters``, how many tensors are ``copied``, ``adapted`` and
    ``fresh``, and ``rows``. ``links``: places of the source block and of the target block, and how many
    tensors are ``copied`` and ``adapted``.
    """
    source, target = _source_blocks(link), _target_blocks(link)
    joins: dict[tuple[int, int], Counter[str]] = {}
    froms, tos = list(source), list(target)
    for place, row in enumerate(link.rows):
        for block in dict.fromkeys(block_of_name(name) for name in row.sources):
            if block not in source:
                continue
            pair = (froms.index(block), tos.index(_block(row)))
            joins.setdefault(pair, Counter())[row.action] += 1
            source[block]["rows"].append(place)
    return {
        "source": list(source.values()),
        "target": list(target.values()),
        "links": [
            {"source": pair[0], "target": pair[1], "copied": count["copied"], "adapted": count["adapted"]}
            for pair, count in sorted(joins.items())
        ],
    }


def _source_blocks(link: Link) -> dict[str, Json]:
    weights = link.origin.weights()
    unused = {name: place for place, name in enumerate(link.unused)}
    blocks: dict[str, Json] = {}
    for name in _in_order(link, weights):
        block = blocks.setdefault(block_of_name(name), _empty_source(block_of_name(name)))
        size = math.prod(weights.shape(name))
        block["tensors"] += 1
        block["parameters"] += size
        if name in unused:
            block["unused"] += 1
            block["unused_parameters"] += size
            block["unused_names"].append(unused[name])
    return blocks


def _in_order(link: Link, weights: Checkpoint) -> list[str]:
    """The source's tensors, stem first.

    Checkpoints keep the order of the network, but safetensors sorts names within each dtype: then tensors
    stand where the target needs them, and unused ones behind the last of their block or its neighbour.
    """
    names = list(weights.names())
    kinds: dict[object, list[str]] = {}
    for name in names:
        kinds.setdefault(weights.dtype(name), []).append(name)
    if any(group != sorted(group) for group in kinds.values()):
        return names
    needed: dict[str, int] = {}
    for place, row in enumerate(link.rows):
        for name in row.sources:
            needed.setdefault(name, place)
    firsts: dict[str, int] = {}
    for name, place in needed.items():
        block = block_of_name(name)
        firsts[block] = min(place, firsts.get(block, place))
    last = len(link.rows)
    for block in sorted({block_of_name(name) for name in names} - set(firsts), key=natural):
        before = [one for one in firsts if _kind(one) == _kind(block) and natural(one) < natural(block)]
        firsts[block] = max((firsts[one] for one in before), default=last)

    def order(name: str) -> tuple[object, ...]:
        block = block_of_name(name)
        return (firsts[block], natural(block), needed.get(name, last))

    return sorted(names, key=order)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``blocks.10`` behind ``blocks.2``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _kind(block: str) -> str:
    return re.sub(r"\d+", "#", block)


def _empty_source(name: str) -> Json:
    counts = {"tensors": 0, "parameters": 0, "unused": 0, "unused_parameters": 0}
    return {"block": name, **counts, "rows": [], "unused_names": []}


def _target_blocks(link: Link) -> dict[str, Json]:
    blocks: dict[str, Json] = {}
    for place, row in enumerate(link.rows):
        name = _block(row)
        empty = {"tensors": 0, "parameters": 0, "copied": 0, "adapted": 0, "fresh": 0}
        block = blocks.setdefault(name, {"block": name, **empty, "rows": []})
        block["tensors"] += 1
        block["parameters"] += row.size
        block[row.action] += 1
        block["rows"].append(place)
    return blocks


def _block(row: Row) -> str:
    if row.target.startswith(HEADS):
        return "head " + row.target.removeprefix(HEADS).split(".")[0]
    return row.block or block_of_name(row.target)
