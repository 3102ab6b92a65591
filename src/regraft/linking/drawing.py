"""Both sides of a link as ordered blocks with the links between them: what a picture of it shows."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from regraft.linking.blueprint import HEADS
from regraft.linking.outline import block_of_name

if TYPE_CHECKING:
    from regraft.linking.link import Link
    from regraft.linking.row import Row

Json = dict[str, Any]


def outline_of(link: Link) -> Json:
    """Blocks of both sides, stem first, and which gives to which; plain JSON.

    ``source``: ``block``, ``tensors``, ``parameters`` and, of these, ``unused`` and ``unused_parameters``.
    ``target``: ``block``, ``tensors``, ``parameters``, and how many tensors are ``copied``, ``adapted`` and
    ``fresh``. ``links``: place of the source block, of the target block, tensors ``copied`` and ``adapted``.
    """
    source = _source_blocks(link)
    target = _target_blocks(link)
    places = {block["block"]: place for place, block in enumerate(source)}
    joins: dict[tuple[int, int], Counter[str]] = {}
    for row in link.rows:
        for block in dict.fromkeys(block_of_name(name) for name in row.sources):
            if block in places:
                pair = (places[block], target[_block(row)]["place"])
                joins.setdefault(pair, Counter())[row.action] += 1
    return {
        "source": source,
        "target": [{key: value for key, value in one.items() if key != "place"} for one in target.values()],
        "links": [
            {"source": pair[0], "target": pair[1], "copied": count["copied"], "adapted": count["adapted"]}
            for pair, count in sorted(joins.items())
        ],
    }


def _source_blocks(link: Link) -> list[Json]:
    weights = link.origin.weights()
    unused = set(link.unused)
    blocks: dict[str, Json] = {}
    for name in weights.names():
        block = blocks.setdefault(
            block_of_name(name),
            {
                "block": block_of_name(name),
                "tensors": 0,
                "parameters": 0,
                "unused": 0,
                "unused_parameters": 0,
            },
        )
        size = math.prod(weights.shape(name))
        block["tensors"] += 1
        block["parameters"] += size
        if name in unused:
            block["unused"] += 1
            block["unused_parameters"] += size
    return list(blocks.values())


def _target_blocks(link: Link) -> dict[str, Json]:
    blocks: dict[str, Json] = {}
    for row in link.rows:
        name = _block(row)
        empty = {"tensors": 0, "parameters": 0, "copied": 0, "adapted": 0, "fresh": 0}
        block = blocks.setdefault(name, {"block": name, "place": len(blocks), **empty})
        block["tensors"] += 1
        block["parameters"] += row.size
        block[row.action] += 1
    return blocks


def _block(row: Row) -> str:
    if row.target.startswith(HEADS):
        return "head " + row.target.removeprefix(HEADS).split(".")[0]
    return row.block or block_of_name(row.target)
