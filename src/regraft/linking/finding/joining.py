"""Joining units where one network fuses what the other keeps apart: q, k, v; a convolution and its norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from regraft.linking.finding.unit import Shape, Unit

_PARTS = ("q", "k", "v")
_NORM = {"weight", "bias", "running_mean", "running_var"}
_LAYERS = ("conv", "linear", "matrix")


def join_alike(targets: list[Unit], sources: list[Unit]) -> tuple[list[Unit], list[Unit]]:
    """Both sides in the coarser grain of the two, so that units can be compared one to one.

    Separate q, k and v are joined where the other side has them fused; convolution and batch norm are joined
    where the other side has no batch norm.
    """
    fused, given = _fuses(targets), _fuses(sources)
    if fused and not given:
        sources = join_attention(sources)
    elif given and not fused:
        targets = join_attention(targets)
    norms, others = _norms(targets), _norms(sources)
    if others and not norms and _biased(targets):
        sources = join_norms(sources)
    elif norms and not others and _biased(sources):
        targets = join_norms(targets)
    return targets, sources


def _fuses(units: Sequence[Unit]) -> bool:
    return any(unit.part == "qkv" for unit in units)


def _norms(units: Sequence[Unit]) -> bool:
    return any(unit.kind == "batch_norm" for unit in units)


def _biased(units: Sequence[Unit]) -> bool:
    """Whether layers have biases, as they do where norms were folded into them."""
    return any(unit.kind in _LAYERS and {"weight", "bias"} <= set(unit.shapes) for unit in units)


def join_attention(units: Sequence[Unit]) -> list[Unit]:
    """Every q, k and v that read the same activation (or lie side by side by name) as one unit."""
    groups: dict[object, dict[str, Unit]] = {}
    for unit in units:
        if unit.part in _PARTS and unit.orientation == "oi" and len(unit.shapes.get("weight", ())) == 2:
            groups.setdefault(_group(unit), {}).setdefault(unit.part, unit)
    complete = [tuple(group[part] for part in _PARTS) for group in groups.values() if len(group) == 3]
    return _replace(units, [_fused(members) for members in complete if _same_inputs(members)])


def _group(unit: Unit) -> object:
    path = unit.name.replace("/", ".").rpartition(".")[0]
    return (unit.before, path) if unit.traced else path


def _same_inputs(members: Sequence[Unit]) -> bool:
    widths = {member.shapes["weight"][1:] for member in members}
    return len(widths) == 1 and len({tuple(sorted(member.shapes)) for member in members}) == 1


def _fused(members: tuple[Unit, ...]) -> Unit:
    first = members[0]
    shapes: dict[str, Shape] = {
        role: (sum(member.shapes[role][0] for member in members), *first.shapes[role][1:])
        for role in first.shapes
    }
    rows: dict[str, tuple[int, ...]] = {}
    start = 0
    for member in members:
        count = member.shapes["weight"][0]
        own = member.rows.get(member.part) or tuple(range(count))
        rows[member.part] = tuple(start + row for row in own)
        start += count
    return replace(
        first,
        name=first.name.replace("/", ".").rpartition(".")[0] + ".qkv",
        tensors={role: name for member in members for role, name in _tagged(member)},
        shapes=shapes,
        after=tuple(dict.fromkeys(other for member in members for other in member.after)),
        part="qkv",
        rows=rows,
        members=members,
        joined="qkv",
    )


def _tagged(member: Unit) -> list[tuple[str, str]]:
    return [(f"{member.part}.{role}", name) for role, name in member.tensors.items()]


def join_norms(units: Sequence[Unit]) -> list[Unit]:
    """Every convolution with the batch norm that alone reads it as one unit with weight and bias."""
    by_place = {unit.place: unit for unit in units}
    joined = []
    for unit in units:
        if unit.kind not in _LAYERS or "weight" not in unit.shapes:
            continue
        norm = _norm_after(unit, by_place)
        if norm is not None:
            joined.append(_folded(unit, norm))
    return _replace(units, joined)


def _norm_after(unit: Unit, by_place: Mapping[int, Unit]) -> Unit | None:
    nexts = unit.after if unit.traced else (unit.place + 1,)
    norm = by_place.get(nexts[0]) if len(nexts) == 1 else None
    if norm is None or norm.kind != "batch_norm" or not set(norm.shapes) >= _NORM or unit.orientation != "oi":
        return None
    alone = len(norm.before) == 1 if norm.traced else True
    return norm if alone and norm.shapes["weight"] == unit.shapes["weight"][:1] else None


def _folded(unit: Unit, norm: Unit) -> Unit:
    names = {f"norm.{role}": name for role, name in norm.tensors.items()}
    return replace(
        unit,
        tensors={**unit.tensors, **names},
        shapes={"weight": unit.shapes["weight"], "bias": norm.shapes["weight"]},
        after=norm.after,
        height=norm.height,
        members=(unit, norm),
        joined="norm",
        part="",
        rows={},
    )


def _replace(units: Sequence[Unit], joined: Sequence[Unit]) -> list[Unit]:
    """The units with members taken out and what they were joined to in their place, renumbered."""
    gone = {member.place for unit in joined for member in unit.members}
    kept = [unit for unit in units if unit.place not in gone]
    ordered = sorted([*kept, *joined], key=lambda unit: unit.place)
    numbers: dict[int, int] = {}
    for number, unit in enumerate(ordered):
        numbers[unit.place] = number
        numbers.update({member.place: number for member in unit.members})
    return [
        replace(
            unit,
            place=number,
            before=_renumber(unit.before, numbers, number),
            after=_renumber(unit.after, numbers, number),
        )
        for number, unit in enumerate(ordered)
    ]


def _renumber(places: Sequence[int], numbers: Mapping[int, int], own: int) -> tuple[int, ...]:
    renamed = dict.fromkeys(numbers[place] for place in places if place in numbers)
    return tuple(place for place in renamed if place != own)
