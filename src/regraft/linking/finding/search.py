"""Finding the link: one row for every tensor of the target model, best evidence first."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from regraft.core.errors import LinkError, UsageError
from regraft.linking.blueprint import HEADS, Blueprint, Slot
from regraft.linking.finding.assign import Pair, assign
from regraft.linking.finding.copies import one_copy
from regraft.linking.finding.execution import executed_units
from regraft.linking.finding.heads import head_rows, native_rows, whole_head_rows
from regraft.linking.finding.joining import join_alike
from regraft.linking.finding.names import Match, Rename, match_names
from regraft.linking.finding.recipes import Made, recipes_of
from regraft.linking.finding.tokens import match_tokens
from regraft.linking.finding.unit import Shape, Unit
from regraft.linking.finding.units import named_units, stored_order, traced_units
from regraft.linking.link import Link
from regraft.linking.network import Network
from regraft.linking.origin import Origin
from regraft.linking.row import NO_WEIGHTS, Row, fresh_row
from regraft.linking.tracing.graph import trace
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Checkpoint, Source

_log = logging.getLogger(__name__)


def find_link(
    source: Source | Origin,
    blueprint: Blueprint | WholeBlueprint,
    *,
    maps: Sequence[str] = (),
    waivers: Sequence[str] = (),
    seed: int = 0,
) -> Link:
    r"""What carries over from ``source`` to the model that ``blueprint`` describes.

    1. What the user maps. 2. Names: equal, or equal but for a prefix or a suffix. 3. Where these leave
    anything open: units of both networks, read off their exported graphs where these are at hand and off
    names elsewhere, assigned to each other all at once.

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
    case = _Case(origin, blueprint, weights, blueprint.slots())
    renames = [parse_map(text) for text in maps]
    _check_maps(renames, case)
    rows = _find_rows(case, renames)
    used = {name for row in rows for name in row.sources}
    unused = tuple(name for name in weights.names() if name not in used)
    link = Link(
        origin,
        blueprint,
        rows,
        unused,
        seed=seed,
        maps=tuple(maps),
        required=0.95 if weights.names() else 0.0,
        notes=(*weights.notes, case.note) if case.note else weights.notes,
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
        expression = re.compile(pattern.strip())
    except re.error as error:
        raise UsageError(f"the map {text!r} holds no regular expression before '=>': {error}") from error
    try:
        re.compile(f"{expression.pattern}|").fullmatch("").expand(to.strip())  # type: ignore[union-attr]
    except (re.error, IndexError) as error:
        raise UsageError(f"the map {text!r} names a group that its pattern does not have: {error}") from error
    return Rename(pattern.strip(), to.strip())


def _check_maps(renames: Sequence[Rename], case: _Case) -> None:
    """A map that does nothing is a mistake: it would leave its author believing otherwise."""
    targets = {slot.local for slot in case.shared}
    for rename in renames:
        named = [to for name in case.offered if (to := rename.apply(name)) is not None]
        if case.offered and not targets & set(named):
            given = f"{rename.pattern}=>{rename.to}"
            why = (
                f"gives {named[0]!r}, which the target does not have" if named else "matches no source tensor"
            )
            example = f"{next(iter(case.offered))}=>{min(targets, default='..')}"
            raise UsageError(f"the map {given!r} {why}; a map that works here is {example!r}")


class _Case:
    """The two sides of a link while it is being found."""

    def __init__(
        self,
        origin: Origin,
        blueprint: Blueprint | WholeBlueprint,
        weights: Checkpoint,
        slots: Sequence[Slot],
    ):
        self.origin = origin
        self.blueprint = blueprint
        self.weights = weights
        self.slots = slots
        self.whole = isinstance(blueprint, WholeBlueprint)
        self.shapes: dict[str, Shape] = {name: weights.shape(name) for name in weights.names()}
        native = set() if self.whole else {key for head in origin.heads for key in head.keys}
        offered = {name: shape for name, shape in self.shapes.items() if name not in native}
        own_heads = () if self.whole else (HEADS,)
        self.shared = [slot for slot in slots if not slot.name.startswith(own_heads) and not slot.tied_to]
        self.heads = [slot for slot in slots if slot.name.startswith(own_heads)]
        self.offered, self.note = (offered, "") if origin.runs else one_copy(offered, len(self.shared))
        self.last: set[str] = set()
        self.grids = True

    @property
    def names_suffice(self) -> bool:
        """Whether names alone can say it: in the source's own network, or where only names are at hand.

        Another network may call a layer the same and lay out its rows otherwise.
        """
        origin, blueprint = self.origin.source, self.blueprint
        if isinstance(blueprint, Blueprint) and origin is not None:
            return blueprint.source.builder == origin.builder
        return not self.origin.runs

    def source_units(self) -> tuple[list[Unit], str]:
        """The source's units, and how its layers are stored."""
        network = _if_runnable(lambda: self.origin.skeleton(head=self.whole))
        if network is None:
            ordered = {name: self.offered[name] for name in stored_order(list(self.offered))}
            return named_units(ordered), self.weights.layout
        graph = trace(network)
        if graph is None:
            return executed_units(network, self.offered), "torch"
        return traced_units(graph, network, self.offered), "torch"

    def target_units(self) -> list[Unit]:
        """The target's units."""
        network = _if_runnable(lambda: self.blueprint.network(self.blueprint.skeleton()))
        shapes = {slot.name: slot.shape for slot in self.shared}
        if network is None:
            return named_units(shapes)
        self.grids = _reads_images(network)
        graph = trace(network)
        if graph is None:
            return executed_units(network, shapes)
        units = traced_units(graph, network, shapes)
        ends = [unit for unit in units if unit.traced and not unit.after and unit.kind in ("linear", "conv")]
        self.last = {name for unit in ends for name in unit.tensors.values()} if self.whole else set()
        return units


def _if_runnable(build: Callable[[], Network | None]) -> Network | None:
    """The network, or None where nothing is known that it could read: then names have to do."""
    try:
        return build()
    except LinkError as error:
        _log.info("%s", error)
        return None


def _reads_images(network: Network) -> bool:
    """Whether positions in it are those of patches."""
    leaves = torch.utils._pytree.tree_leaves((network.example.args, network.example.kwargs))
    return any(
        isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.ndim == 4 for leaf in leaves
    )


def _find_rows(case: _Case, renames: Sequence[Rename]) -> tuple[Row, ...]:
    found = match_names({slot.local: slot.shape for slot in case.shared}, case.offered, renames)
    rows = {
        slot.name: _named_row(slot, found[slot.local], case.weights)
        for slot in case.shared
        if slot.local in found
        and case.offered[found[slot.local].source] == slot.shape
        and not _is_quantised(slot, found[slot.local].source, case.weights)
    }
    complete = all(slot.name in rows or _computed(slot) for slot in case.shared)
    if case.offered and not (complete and case.names_suffice):
        mapped = {name: row for name, row in rows.items() if row.rule.startswith("map ")}
        assigned = mapped | _assigned_rows(case, rows, mapped)
        rows = _left_to_names(rows, assigned, found, case) | assigned
    rows.update(match_tokens(case.origin, case.blueprint, case.shared, case.shapes, rows))
    rows.update(whole_head_rows(case.origin, case.blueprint, case.shared, case.shapes, rows))
    closed = dict(rows)
    for slot in case.shared:
        if slot.name not in rows:
            rows[slot.name] = _open_row(slot, found.get(slot.local), case, closed)
    native = isinstance(case.blueprint, Blueprint) and case.blueprint.native
    rows_of = native_rows if native else head_rows
    rows.update({row.target: row for row in rows_of(case.origin.heads, case.heads, case.shapes)})
    rows.update({slot.name: _tied_row(slot, rows[slot.tied_to]) for slot in case.slots if slot.tied_to})
    return tuple(rows[slot.name] for slot in case.slots)


def _assigned_rows(case: _Case, named: Mapping[str, Row], mapped: Mapping[str, Row]) -> dict[str, Row]:
    """Rows by assignment of units; names that are equal speak for a pair and do not decide alone."""
    taken = {name for row in mapped.values() for name in row.sources}
    sources, layout = case.source_units()
    sources = [unit for unit in sources if unit.tensors and not set(unit.tensors.values()) & taken]
    targets = [unit for unit in case.target_units() if unit.tensors]
    targets = [unit for unit in targets if not set(unit.tensors.values()) & set(mapped)]
    targets, sources = join_alike(_renumbered(targets), _renumbered(sources))
    agreed = {name: row.source for name, row in named.items() if row.source is not None}
    slots = {slot.name: slot for slot in case.shared}
    rows: dict[str, Row] = {}
    for pair in assign(targets, sources, layout=layout, grids=case.grids, agreed=agreed):
        for made in recipes_of(pair):
            # Nothing may be made up for a tensor whose namesake is there.
            if made.recipe.sources or made.target not in named or pair.target.members:
                if any(_is_quantised(slots[made.target], one, case.weights) for one in made.recipe.sources):
                    continue
                row = _assigned_row(slots[made.target], made, pair, case.weights)
                rows[made.target] = _by_name(row, named.get(made.target), pair)
    return rows


def _left_to_names(
    named: Mapping[str, Row], assigned: Mapping[str, Row], found: Mapping[str, Match], case: _Case
) -> dict[str, Row]:
    """Rows by name for what the assignment leaves open, of layers all of whose tensors fit by name."""
    used = {name for row in assigned.values() for name in row.sources}
    torn = {
        slot.name.rpartition(".")[0]
        for slot in case.shared
        if slot.local in found and case.offered[found[slot.local].source] != slot.shape
    }
    return {
        name: replace(row, confidence=min(row.confidence, 0.9))
        for name, row in named.items()
        if name not in assigned and row.source not in used and name.rpartition(".")[0] not in torn
    }


def _by_name(row: Row, named: Row | None, pair: Pair) -> Row:
    """The row, with the name as its rule where name and assignment agree."""
    if named is None or named.source != row.source:
        return row
    sure = named.confidence if pair.confidence >= 0.9 else min(named.confidence, 0.95)
    return replace(row, rule=named.rule, confidence=sure if row.recipe is None else row.confidence)


def _renumbered(units: Sequence[Unit]) -> list[Unit]:
    numbers = {unit.place: number for number, unit in enumerate(units)}
    return [
        replace(
            unit,
            place=number,
            before=tuple(numbers[place] for place in unit.before if place in numbers),
            after=tuple(numbers[place] for place in unit.after if place in numbers),
        )
        for number, unit in enumerate(units)
    ]


def _is_quantised(slot: Slot, source: str | None, weights: Checkpoint) -> bool:
    """Whether whole or complex numbers would become weights: they mean nothing without a scale."""
    if source is None or slot.kind != "parameter" or not slot.dtype.startswith(("float", "bfloat")):
        return False
    return not weights.dtype(source).is_floating_point


def _assigned_row(slot: Slot, made: Made, pair: Pair, weights: Checkpoint) -> Row:
    first = made.recipe.sources[0] if made.recipe.sources else None
    cast = _cast(slot, first, weights)
    words = [words for words in (made.recipe.sentence, cast, made.assumed) if words]
    return Row(
        target=slot.name,
        source=first,
        rule=pair.rule,
        transform=", ".join(words),
        target_shape=slot.shape,
        source_shape=weights.shape(first) if first is not None else None,
        action="adapted" if words else "copied",
        role="shared",
        confidence=round(pair.confidence * (0.8 if made.assumed else 1.0), 3),
        alternatives=_others(pair, slot),
        block=slot.block,
        kind=slot.kind,
        recipe=made.recipe if made.recipe.steps or len(made.recipe.sources) != 1 else None,
    )


def _others(pair: Pair, slot: Slot) -> tuple[str, ...]:
    """Source tensors of the units that fit as well, by the role that the slot has in its own."""
    role = next((role for role, name in pair.target.tensors.items() if name == slot.name), "")
    other = pair.fits[role][0] if role in pair.fits else role
    return tuple(unit.tensors[other] for unit in pair.alternatives if other in unit.tensors)


def _cast(slot: Slot, source: str | None, weights: Checkpoint) -> str:
    if source is None:
        return ""
    dtype = str(weights.dtype(source)).removeprefix("torch.")
    return f"{dtype} -> {slot.dtype}" if dtype != slot.dtype else ""


def _named_row(slot: Slot, match: Match, weights: Checkpoint) -> Row:
    cast = _cast(slot, match.source, weights)
    return Row(
        target=slot.name,
        source=match.source,
        rule=match.rule,
        transform=cast,
        target_shape=slot.shape,
        source_shape=weights.shape(match.source),
        action="adapted" if cast else "copied",
        role="shared",
        confidence=match.confidence,
        alternatives=match.alternatives,
        block=slot.block,
        kind=slot.kind,
    )


def _computed(slot: Slot) -> bool:
    """Whether the network makes the tensor itself: a buffer of whole numbers, as of positions or counts."""
    return slot.kind == "buffer" and not slot.dtype.startswith(("float", "bfloat", "complex"))


def _open_row(slot: Slot, match: Match | None, case: _Case, closed: Mapping[str, Row]) -> Row:
    """Why nothing reaches a slot."""
    if match is not None and case.offered[match.source] != slot.shape:
        shape = case.offered[match.source]
        if slot.name in case.last and shape[1:] == slot.shape[1:]:
            return fresh_row(slot, f"new head: {slot.shape[0]} rows instead of {shape[0]}", role="specific")
        rule = f"{match.rule}, but the shapes differ"
        return fresh_row(slot, rule, role="shared", source=match.source, source_shape=shape)
    if match is not None and _is_quantised(slot, match.source, case.weights):
        rule = f"{match.rule}, but the source's are no floating-point numbers (quantised?)"
        return fresh_row(slot, rule, role="shared", source=match.source, source_shape=slot.shape)
    if _computed(slot) and case.offered:
        return fresh_row(slot, "the network computes it", role="specific")
    if not case.offered:
        return fresh_row(slot, NO_WEIGHTS, role="shared")
    return fresh_row(slot, _reason(slot, match, case, closed), role="shared")


def _reason(slot: Slot, match: Match | None, case: _Case, closed: Mapping[str, Row]) -> str:
    if match is not None:
        return f"{match.rule}, but other tensors of its layer do not fit"
    alike = {name for name, shape in case.offered.items() if shape == slot.shape}
    layer = slot.name.rpartition(".")[0]
    if not alike or any(name.rpartition(".")[0] == layer for name in closed):
        return "no source tensor has this name"
    used = {name for row in closed.values() for name in row.sources}
    if alike <= used:
        return f"added: all {len(alike)} source tensors of this shape go elsewhere"
    return f"none of {len(alike - used)} free source tensors of this shape is it"


def _tied_row(slot: Slot, first: Row) -> Row:
    return replace(first, target=slot.name, rule=f"tied to {slot.tied_to}", block=slot.block, kind=slot.kind)
