"""Finding the link: one row for every tensor of the target model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from regraft.core.errors import UsageError
from regraft.linking.blueprint import TRUNK, Blueprint, Slot, dtype_name
from regraft.linking.heads import head_rows
from regraft.linking.link import Link
from regraft.linking.names import Match, Rename, match_names
from regraft.linking.row import Row, fresh_row
from regraft.sources import Source, read_weights


def find_link(
    source: Source,
    blueprint: Blueprint,
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
    tensors = read_weights(source) if source.weights else {}
    slots = blueprint.slots()
    renames = [parse_map(text) for text in maps]
    rows, used = _find_rows(source, slots, tensors, renames)
    unused = tuple(name for name in tensors if name not in used)
    link = Link(source, blueprint, rows, unused, seed=seed, maps=tuple(maps))
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
    source: Source, slots: Sequence[Slot], tensors: Mapping[str, Tensor], renames: Sequence[Rename]
) -> tuple[tuple[Row, ...], set[str]]:
    trunk = [slot for slot in slots if slot.name.startswith(TRUNK)]
    heads = [slot for slot in slots if not slot.name.startswith(TRUNK)]
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    native = {key for head in source.heads for key in head.keys}
    offered = {name: shape for name, shape in shapes.items() if name not in native}
    found = match_names({slot.local: slot.shape for slot in trunk if not slot.tied_to}, offered, renames)
    rows = {slot.name: _trunk_row(slot, found.get(slot.local), tensors) for slot in trunk if not slot.tied_to}
    rows.update({row.target: row for row in head_rows(source, heads, shapes)})
    rows.update({slot.name: _tied_row(slot, rows[slot.tied_to]) for slot in slots if slot.tied_to})
    used = {row.source for row in rows.values() if row.source is not None and row.carried}
    return tuple(rows[slot.name] for slot in slots), used


def _trunk_row(slot: Slot, match: Match | None, tensors: Mapping[str, Tensor]) -> Row:
    if match is None:
        return fresh_row(slot, "no source tensor has this name", role="shared")
    tensor = tensors[match.source]
    shape = tuple(tensor.shape)
    if shape != slot.shape:
        rule = f"{match.rule}, but the shapes differ"
        return fresh_row(slot, rule, role="shared", source=match.source, source_shape=shape)
    cast = dtype_name(tensor) != slot.dtype
    return Row(
        target=slot.name,
        source=match.source,
        rule=match.rule,
        transform=f"{dtype_name(tensor)} -> {slot.dtype}" if cast else "",
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
