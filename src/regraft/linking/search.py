"""Finding the link: one row for every tensor of the target model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from regraft.core.errors import UsageError
from regraft.linking.blueprint import HEADS, Blueprint, Slot
from regraft.linking.heads import head_rows
from regraft.linking.link import Link
from regraft.linking.names import Match, Rename, match_names
from regraft.linking.origin import Origin
from regraft.linking.row import Row, fresh_row
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Checkpoint, Source


def find_link(
    source: Source | Origin,
    blueprint: Blueprint | WholeBlueprint,
    *,
    maps: Sequence[str] = (),
    waivers: Sequence[str] = (),
    seed: int = 0,
) -> Link:
    r"""What carries over from ``source`` to the model that ``blueprint`` describes.

    Parameters
    ----------
    maps
        ``REGEX=>TO``: a source name that the whole pattern matches is read as ``TO`` (``\1`` for a group),
        a name in the trunk's network or in the model.
    waivers
        Patterns (shell style, ``blocks.*``) of target tensors that are excused: they start fresh.
    seed
        For what starts fresh.
    """
    origin = source if isinstance(source, Origin) else Origin(source.name, source)
    weights = origin.weights()
    slots = blueprint.slots()
    renames = [parse_map(text) for text in maps]
    rows, used = _find_rows(origin, slots, weights, renames)
    unused = tuple(name for name in weights.names() if name not in used)
    trained = bool(weights.names())
    link = Link(
        origin,
        blueprint,
        rows,
        unused,
        seed=seed,
        maps=tuple(maps),
        required=0.95 if trained else 0.0,
        notes=weights.notes,
    )
    for pattern in waivers:
        link = link.waive(pattern)
    return link


def parse_map(text: str) -> Rename:
    """``REGEX=>TO`` as a Rename; raises ``UsageError`` where it is not one."""
    pattern, arrow, to = text.partition("=>")
    if not arrow:
        raise UsageError(f"a map is written 'REGEX=>TO', as in 'bert\\.(.*)=>\\1'; got {text!r}")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"the map {text!r} holds no regular expression before '=>': {error}") from error
    return Rename(pattern.strip(), to.strip())


def _find_rows(
    origin: Origin, slots: Sequence[Slot], weights: Checkpoint, renames: Sequence[Rename]
) -> tuple[tuple[Row, ...], set[str]]:
    trunk = [slot for slot in slots if not slot.name.startswith(HEADS)]
    heads = [slot for slot in slots if slot.name.startswith(HEADS)]
    shapes = {name: weights.shape(name) for name in weights.names()}
    native = {key for head in origin.heads for key in head.keys}
    offered = {name: shape for name, shape in shapes.items() if name not in native}
    found = match_names({slot.local: slot.shape for slot in trunk if not slot.tied_to}, offered, renames)
    rows = {slot.name: _trunk_row(slot, found.get(slot.local), weights) for slot in trunk if not slot.tied_to}
    rows.update({row.target: row for row in head_rows(origin.heads, heads, shapes)})
    rows.update({slot.name: _tied_row(slot, rows[slot.tied_to]) for slot in slots if slot.tied_to})
    used = {name for row in rows.values() for name in row.sources}
    return tuple(rows[slot.name] for slot in slots), used


def _trunk_row(slot: Slot, match: Match | None, weights: Checkpoint) -> Row:
    if match is None:
        return fresh_row(slot, "no source tensor has this name", role="shared")
    shape = weights.shape(match.source)
    if shape != slot.shape:
        rule = f"{match.rule}, but the shapes differ"
        return fresh_row(slot, rule, role="shared", source=match.source, source_shape=shape)
    dtype = str(weights.dtype(match.source)).removeprefix("torch.")
    cast = dtype != slot.dtype
    return Row(
        target=slot.name,
        source=match.source,
        rule=match.rule,
        transform=f"{dtype} -> {slot.dtype}" if cast else "",
        target_shape=slot.shape,
        source_shape=shape,
        action="adapted" if cast else "copied",
        role="shared",
        confidence=match.confidence,
        alternatives=match.alternatives,
        block=slot.block,
        kind=slot.kind,
    )


def _tied_row(slot: Slot, first: Row) -> Row:
    return replace(first, target=slot.name, rule=f"tied to {slot.tied_to}", block=slot.block, kind=slot.kind)
