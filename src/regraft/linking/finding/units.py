"""Finding the units of a network: from its traced operators, or from the names of a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from regraft.linking.finding.unit import ROLES, Shape, Unit
from regraft.linking.network import Network
from regraft.linking.tracing.graph import Graph
from regraft.linking.tracing.operators import Operator

_EMBEDDINGS = re.compile(r"emb|wte|wpe|vocab|token|lookup", re.IGNORECASE)
_FUSED = re.compile(
    r"(^|[._/])(qkv|w?qkv_proj|in_proj|c_attn|query_key_value|qkv_mix)([._/]|$)", re.IGNORECASE
)
_SINGLE = {
    "q": re.compile(r"(^|[._/])(q|query|q_proj|to_q|wq|q_lin|query_proj|queries)([._/]|$)", re.IGNORECASE),
    "k": re.compile(r"(^|[._/])(k|key|k_proj|to_k|wk|k_lin|key_proj|keys)([._/]|$)", re.IGNORECASE),
    "v": re.compile(r"(^|[._/])(v|value|v_proj|to_v|wv|v_lin|value_proj|values)([._/]|$)", re.IGNORECASE),
}


def traced_units(graph: Graph, network: Network, shapes: Mapping[str, Shape]) -> list[Unit]:
    """The units of a traced network, in execution order; what no operator reads comes after, by name.

    ``shapes`` are those of the tensors by their names in the link; what it lacks is left out.
    """
    order = {operator.name: place for place, operator in enumerate(graph.operators)}
    heights = _heights(graph.operators)
    taken: set[str] = set()
    units: list[Unit] = []
    for place, operator in enumerate(graph.operators):
        tensors = {
            role: network.keys[name]
            for role, name in operator.tensors.items()
            if network.keys.get(name) in shapes and network.keys[name] not in taken
        }
        taken.update(tensors.values())
        units.append(_of_operator(operator, tensors, shapes, place, order, heights))
    rest = {key: shapes[key] for key in network.keys.values() if key in shapes and key not in taken}
    units = _take_biases(_take_counters(units, rest))
    taken = {name for unit in units for name in unit.tensors.values()}
    left = {name: shape for name, shape in rest.items() if name not in taken}
    return [*units, *(replace(unit, place=len(units) + n) for n, unit in enumerate(named_units(left)))]


def named_units(shapes: Mapping[str, Shape]) -> list[Unit]:
    """The units that names tell of, in the order in which numbers and names stand."""
    groups: dict[str, dict[str, str]] = {}
    for name in shapes:
        path, leaf = _split(name)
        role = ROLES.get(leaf.lower())
        if role is None or role in groups.get(path, {}):
            groups[name] = {leaf: name}
        else:
            groups.setdefault(path, {})[role] = name
    return [
        _of_names(path, tensors, {role: shapes[name] for role, name in tensors.items()}, place)
        for place, (path, tensors) in enumerate(groups.items())
    ]


def stored_order(names: Sequence[str]) -> list[str]:
    """Names in definition order: as stored, unless they are stored sorted; then numbers count as numbers."""
    if list(names) != sorted(names):
        return list(names)
    return sorted(
        names, key=lambda name: [(not p.isdigit(), int(p) if p.isdigit() else 0, p) for p in _parts(name)]
    )


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[./]|(\d+)", name) if part]


def _of_operator(
    operator: Operator,
    tensors: Mapping[str, str],
    shapes: Mapping[str, Shape],
    place: int,
    order: Mapping[str, int],
    heights: Mapping[str, int],
) -> Unit:
    return Unit(
        name=_common_path(list(tensors.values())),
        kind=operator.kind,
        tensors=tensors,
        shapes={role: shapes[name] for role, name in tensors.items()},
        place=place,
        depth=operator.depth,
        height=heights[operator.name],
        before=tuple(order[name] for name in operator.before),
        after=tuple(order[name] for name in operator.after),
        attributes=operator.attributes,
        part=operator.part,
        rows=operator.rows,
    )


def _heights(operators: Sequence[Operator]) -> dict[str, int]:
    """Operators on the longest path to the output."""
    heights: dict[str, int] = {}
    for operator in reversed(operators):
        heights[operator.name] = 1 + max((heights[name] for name in operator.after), default=-1)
    return heights


def _take_counters(units: list[Unit], rest: Mapping[str, Shape]) -> list[Unit]:
    """Batch norms count their batches; evaluation does not read the counter."""
    made = []
    for unit in units:
        mean = unit.tensors.get("running_mean", "")
        name = mean.removesuffix("running_mean") + "num_batches_tracked"
        if mean.endswith("running_mean") and name in rest:
            tensors = {**unit.tensors, "num_batches_tracked": name}
            unit = replace(unit, tensors=tensors, shapes={**unit.shapes, "num_batches_tracked": rest[name]})
        made.append(unit)
    return made


def _take_biases(units: list[Unit]) -> list[Unit]:
    """A vector added right behind a layer without a bias is the layer's bias: ``x @ weight + bias``."""
    by_place = {unit.place: unit for unit in units}
    biases = {}
    for unit in units:
        layer = by_place.get(unit.before[0]) if len(unit.before) == 1 else None
        if layer is not None and _is_bias(unit, layer):
            biases[layer.place] = unit
    moved = {unit.place: place for place, unit in biases.items()}

    def lead(places: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(moved.get(place, place) for place in places)

    return [
        replace(_with_bias(unit, biases.get(unit.place)), before=lead(unit.before))
        for unit in units
        if unit.place not in moved
    ]


def _is_bias(unit: Unit, layer: Unit) -> bool:
    if unit.kind != "table:add" or layer.kind != "linear" or "bias" in layer.shapes or len(unit.shapes) != 1:
        return False
    (shape,) = unit.shapes.values()
    width = layer.shapes.get("weight", (0,))[0 if layer.orientation == "oi" else -1]
    return layer.after == (unit.place,) and shape == (width,)


def _with_bias(unit: Unit, bias: Unit | None) -> Unit:
    if bias is None:
        return unit
    ((role, name),) = bias.tensors.items()
    return replace(
        unit,
        tensors={**unit.tensors, "bias": name},
        shapes={**unit.shapes, "bias": bias.shapes[role]},
        after=bias.after,
    )


def _of_names(path: str, tensors: Mapping[str, str], shapes: Mapping[str, Shape], place: int) -> Unit:
    return Unit(path, _kind(path, shapes), tensors, shapes, place=place, part=_part(path))


def _kind(path: str, shapes: Mapping[str, Shape]) -> str:
    if "running_mean" in shapes:
        return "batch_norm"
    weight = shapes.get("weight")
    if weight is None:
        return "table:any"
    if len(weight) >= 3:
        return "conv"
    if len(weight) == 2:
        return "embedding" if _EMBEDDINGS.search(path) and "bias" not in shapes else "matrix"
    return "norm"


def _part(path: str) -> str:
    last = ".".join(path.replace("/", ".").split(".")[-2:])
    if _FUSED.search(last):
        return "qkv"
    return next((part for part, pattern in _SINGLE.items() if pattern.search(last)), "")


def _split(name: str) -> tuple[str, str]:
    """Path and last part; ``attn.in_proj_weight`` belongs to ``attn.in_proj``."""
    for separator in (".", "/"):
        if separator in name:
            path, _, leaf = name.rpartition(separator)
            if leaf in ("in_proj_weight", "in_proj_bias"):
                return f"{path}{separator}in_proj", leaf
            return path, leaf
    return "", name


def _common_path(names: Sequence[str]) -> str:
    """The path that the tensors of one operation share."""
    if not names:
        return ""
    return _alone(names[0]) if len(names) == 1 else _split(names[0])[0]


def _alone(name: str) -> str:
    """The path of a tensor that stands alone: its module's, or its own name where that says what it is."""
    path, leaf = _split(name)
    return path if ROLES.get(leaf.lower()) else name
