"""Rewriting rows: which other rows a link could have where two networks part."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from regraft.linking.proving.bench import Bench
from regraft.linking.proving.compare import located_difference
from regraft.linking.proving.pairing import Pair
from regraft.linking.proving.watching import Step as Call
from regraft.linking.recipe import Recipe, Step
from regraft.linking.row import Row

_NEAR = 4
"""How many steps before a departure may be to blame for it: q, k and v, and what reads them."""


@dataclass(frozen=True)
class Change:
    """Other rows for some targets, and why they were tried."""

    rows: Mapping[str, Row]
    reason: str


def list_changes(bench: Bench, pairs: tuple[Pair, ...], first: Pair) -> Iterator[Change]:
    """What could be wrong where ``first`` departs, the likeliest first.

    1. Its tensors are another layer's, one of equal shapes that reads the same values in the source. 2. They
    are told apart wrongly within the layer. 3. They are those that the search named as alternatives. 4. A
    square is transposed. 5. q, k and v are in another order.
    """
    place = pairs.index(first)
    near = pairs[max(0, place - _NEAR) : place + 1]
    yield from _other_layers(bench, first)
    yield from _within(bench, first)
    for pair in reversed(near):
        yield from _alternatives(bench, pair)
        yield from _transposed(bench, pair)
        yield from _thirds(bench, pair)
    yield from _siblings(bench, near)


def _other_layers(bench: Bench, pair: Pair) -> Iterator[Change]:
    entering = pair.target.entering
    if entering is None:
        return
    shapes = _shapes(bench, pair.source)
    for step in bench.run.steps:
        if step.path == pair.source.path or step.entering is None or _shapes(bench, step) != shapes:
            continue
        difference = located_difference(entering, step.entering)
        if difference is not None and difference <= bench.tolerance:
            keys = zip(_keys(bench, pair.source), _keys(bench, step), strict=True)
            yield _exchange(bench, dict(keys), f"reads what {step.path} reads")


def _within(bench: Bench, pair: Pair) -> Iterator[Change]:
    """Weight, bias and statistics of one norm have one shape."""
    rows = _rows(bench, pair)
    for one, other in itertools.combinations(rows, 2):
        if one.source_shape == other.source_shape and one.source and other.source and one.kind == other.kind:
            yield _exchange(bench, {one.source: other.source}, "roles in the layer")


def _alternatives(bench: Bench, pair: Pair) -> Iterator[Change]:
    """A whole layer's alternatives are taken together."""
    rows = _rows(bench, pair)
    for number in range(max((len(row.alternatives) for row in rows), default=0)):
        keys = {
            row.source: row.alternatives[number]
            for row in rows
            if row.source is not None and number < len(row.alternatives)
        }
        yield _exchange(bench, keys, "an alternative")


def _transposed(bench: Bench, pair: Pair) -> Iterator[Change]:
    for row in _rows(bench, pair):
        if len(row.target_shape) != 2 or row.target_shape[0] != row.target_shape[1] or row.source is None:
            continue
        turn = Step("permute", {"dims": [1, 0]})
        recipe = row.recipe or Recipe(row.sources)
        steps = tuple(step for step in recipe.steps if step != turn)
        if len(steps) == len(recipe.steps):
            steps = (*steps, turn)
        yield Change({row.target: _with_recipe(row, replace(recipe, steps=steps))}, "a square transposed")


def _thirds(bench: Bench, pair: Pair) -> Iterator[Change]:
    """Fused q, k and v in another order, weight and bias together."""
    rows = [row for row in _rows(bench, pair) if _is_fused(row)]
    if not rows or len(rows[0].target_shape) != 2:
        return
    for order in list(itertools.permutations(range(3)))[1:]:
        yield Change({row.target: _reorder(row, order) for row in rows}, "q, k and v in another order")


def _is_fused(row: Row) -> bool:
    length = row.target_shape[0] if row.target_shape else 0
    square = len(row.target_shape) == 1 or length == 3 * row.target_shape[1]
    return length > 3 and length % 3 == 0 and square


def _reorder(row: Row, order: tuple[int, ...]) -> Row:
    third = row.target_shape[0] // 3
    recipe = row.recipe or Recipe(row.sources)
    picks = [place * third + index for place in order for index in range(third)]
    return _with_recipe(row, recipe.then("rows", picks=picks))


def _siblings(bench: Bench, near: Iterable[Pair]) -> Iterator[Change]:
    """Layers near each other whose tensors have one shape: q, k and v kept apart."""
    layers = [rows for pair in near if (rows := _rows(bench, pair))]
    for count in (2, 3):
        for group in itertools.combinations(layers, count):
            if any(_forms(rows) != _forms(group[0]) for rows in group):
                continue
            for turn in range(1, count):
                changed: dict[str, Row] = {}
                for place, mine in enumerate(group):
                    taken = zip(mine, group[(place + turn) % count], strict=True)
                    changed.update({row.target: _like(row, other) for row, other in taken})
                yield Change(changed, "layers side by side exchanged")


def _forms(rows: Iterable[Row]) -> list[tuple[tuple[int, ...], str]]:
    return [(row.target_shape, row.kind) for row in rows]


def _like(row: Row, other: Row) -> Row:
    """The row with what the other one takes."""
    return replace(
        row,
        source=other.source,
        source_shape=other.source_shape,
        transform=other.transform,
        action=other.action,
        recipe=other.recipe,
        alternatives=_with(row.alternatives, row.source),
    )


def _exchange(bench: Bench, keys: Mapping[str, str], reason: str) -> Change:
    """Source tensors change places, wherever the link takes them."""
    both = {**{new: old for old, new in keys.items()}, **keys}
    rows = {}
    for row in bench.link.rows:
        if any(both.get(key, key) != key for key in row.sources):
            rows[row.target] = _take(row, both)
    return Change(rows, reason)


def _take(row: Row, keys: Mapping[str, str]) -> Row:
    recipe = row.recipe
    if recipe is not None:
        recipe = replace(recipe, sources=tuple(keys.get(key, key) for key in recipe.sources))
    source = keys.get(row.source, row.source) if row.source is not None else None
    return replace(
        row, source=source, recipe=recipe, alternatives=_with(row.alternatives, row.source, source)
    )


def _with(alternatives: tuple[str, ...], old: str | None, new: str | None = None) -> tuple[str, ...]:
    kept = tuple(name for name in alternatives if name not in (old, new))
    return (old, *kept) if old is not None else kept


def _with_recipe(row: Row, recipe: Recipe) -> Row:
    cast = [part for part in row.transform.split(", ") if "float" in part and "->" in part]
    words = [part for part in (recipe.sentence, *cast) if part]
    bare = not recipe.steps and len(recipe.sources) == 1
    return replace(
        row,
        recipe=None if bare else recipe,
        transform=", ".join(words),
        action="adapted" if words else "copied",
    )


def _rows(bench: Bench, pair: Pair) -> list[Row]:
    rows = bench.rows
    return [rows[name] for name in pair.target.names if name in rows and rows[name].carried]


def _keys(bench: Bench, step: Call) -> list[str]:
    return [bench.source.keys[name] for name in step.names if name in bench.source.keys]


def _shapes(bench: Bench, step: Call) -> list[tuple[int, ...]]:
    state = bench.source.module.state_dict(keep_vars=True)
    return [tuple(state[name].shape) for name in step.names if name in bench.source.keys]
