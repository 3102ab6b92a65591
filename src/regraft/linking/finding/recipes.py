"""From a pair of units to a recipe for each of the target's tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from regraft.linking.finding.assign import Pair
from regraft.linking.finding.unit import Unit
from regraft.linking.recipe import Recipe, Step

_PARTS = ("q", "k", "v")
_EPS = 1e-5


@dataclass(frozen=True)
class Made:
    """How one target tensor is made: its name, its recipe, and what was assumed on the way."""

    target: str
    recipe: Recipe
    assumed: str = ""


def recipes_of(pair: Pair) -> list[Made]:
    """A recipe for each tensor of the pair's target unit that the source can fill."""
    target, source = pair.target, pair.source
    if _has_norm(target) or _has_norm(source):
        return list(_norm_recipes(pair))
    made = [one for role in pair.fits for one in _of_role(pair, role)]
    return [*made, *_missing_bias(target, source)]


def _has_norm(unit: Unit) -> bool:
    return unit.joined == "norm"


def _of_role(pair: Pair, role: str) -> Iterator[Made]:
    """The recipe of one tensor, or of each of q, k and v where the target keeps them apart."""
    target, source = pair.target, pair.source
    other, fit = pair.fits[role]
    base = _base(source, other)
    recipe = Recipe(base.sources, (*base.steps, *fit.steps))
    if not (target.part == source.part == "qkv" or (target.rows and source.rows)):
        yield from ([] if target.members else [Made(target.tensors[role], recipe)])
        return
    assumed = "" if target.rows and source.rows else "q, k and v assumed in thirds"
    ours, theirs = _rows(target, role), _rows(source, other)
    if {part: len(rows) for part, rows in ours.items()} != {part: len(rows) for part, rows in theirs.items()}:
        return
    if not target.members:
        axis = len(target.shapes[role]) - 1 if target.orientation == "io" else 0
        picks = _picks(ours, theirs, target.shapes[role][axis])
        if picks is None:
            return
        yield Made(target.tensors[role], _with_rows(recipe, picks, axis), assumed)
        return
    for member in target.members:
        own = member.rows.get(member.part) or tuple(range(member.shapes[role][0]))
        picks = _picks({member.part: own}, {member.part: theirs[member.part]}, member.shapes[role][0])
        if picks is None:
            continue
        yield Made(member.tensors[role], recipe.then("rows", picks=picks), assumed)


def _base(source: Unit, role: str) -> Recipe:
    if not source.members:
        return Recipe((source.tensors[role],))
    return Recipe(tuple(member.tensors[role] for member in source.members)).then("concatenate")


def _rows(unit: Unit, role: str) -> Mapping[str, tuple[int, ...]]:
    """Rows of q, k and v, head by head; thirds where the network was not seen."""
    if unit.rows:
        return unit.rows
    count = unit.shapes[role][0] if unit.orientation == "oi" else unit.shapes[role][-1]
    parts = [part for part in _PARTS if part in unit.part]
    each = count // max(1, len(parts))
    return {part: tuple(range(each * place, each * (place + 1))) for place, part in enumerate(parts)}


def _picks(
    ours: Mapping[str, Sequence[int]], theirs: Mapping[str, Sequence[int]], count: int
) -> list[int] | None:
    """For each row of the target the source's: both give the rows of a part in the same order.

    Rows that no attention reads (a gate, the first layer of a parallel MLP) are the same rows on both sides;
    None where they cannot be.
    """
    places = {row: theirs[part][place] for part in ours for place, row in enumerate(ours[part])}
    rest = set(range(count)) - set(places)
    if rest and rest & {row for rows in theirs.values() for row in rows}:
        return None
    places.update({row: row for row in rest})
    return [places[row] for row in range(count)]


def _with_rows(recipe: Recipe, picks: list[int], axis: int) -> Recipe:
    if picks == list(range(len(picks))):
        return recipe
    return recipe.then("rows", picks=picks, axis=axis) if axis else recipe.then("rows", picks=picks)


def _missing_bias(target: Unit, source: Unit) -> Iterator[Made]:
    """A bias that the source does without is zero: the function stays the same."""
    if not source.traced or "bias" in source.shapes or target.kind not in ("linear", "conv"):
        return
    for unit in target.members or (target,):
        if "bias" in unit.tensors:
            yield Made(unit.tensors["bias"], Recipe((), (Step("constant", {"value": 0.0}),)))


def _norm_recipes(pair: Pair) -> Iterator[Made]:
    """A convolution with its batch norm folded in, or a norm that changes nothing behind a folded one."""
    target, source = pair.target, pair.source
    if _has_norm(source) and not _has_norm(target):
        yield from _fold(pair)
    elif _has_norm(target) and not _has_norm(source):
        yield from _unfold(pair)


def _fold(pair: Pair) -> Iterator[Made]:
    target, source = pair.target, pair.source
    layer, norm = source.members
    biased = "bias" in layer.tensors
    names = [layer.tensors["weight"], *([layer.tensors["bias"]] if biased else [])]
    names += [norm.tensors[role] for role in ("weight", "bias", "running_mean", "running_var")]
    eps = norm.attributes.get("eps")
    assumed = "" if eps is not None else f"epsilon {_EPS} assumed"
    for role in ("weight", "bias"):
        if role not in target.tensors:
            continue
        options = {"part": role, "eps": _EPS if eps is None else eps, "biased": biased}
        recipe = Recipe(tuple(names)).then("fold_norm", **options)
        recipe = Recipe(recipe.sources, (*recipe.steps, *pair.fits[role][1].steps))
        yield Made(target.tensors[role], recipe, assumed)


def _unfold(pair: Pair) -> Iterator[Made]:
    target, source = pair.target, pair.source
    layer, norm = target.members
    eps = float(norm.attributes.get("eps", _EPS))
    values = {
        "weight": math.sqrt(1 + eps),
        "running_mean": 0.0,
        "running_var": 1.0,
        "num_batches_tracked": 0.0,
    }
    yield Made(layer.tensors["weight"], Recipe((source.tensors["weight"],), pair.fits["weight"][1].steps))
    if "bias" in layer.tensors:
        yield Made(layer.tensors["bias"], Recipe((), (Step("constant", {"value": 0.0}),)))
    for role, name in norm.tensors.items():
        if role == "bias" and "bias" in source.tensors:
            yield Made(name, Recipe((source.tensors["bias"],)))
        else:
            step = Step("constant", {"value": values.get(role, 0.0)})
            yield Made(name, Recipe((), (step,)))
