"""Head rows carry over by class *name*: equal counts of unrelated classes mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regraft.core.task_spec import TaskSpec
from regraft.linking.blueprint import NATIVE, Blueprint, Slot
from regraft.linking.grafted import head_key
from regraft.linking.origin import Origin
from regraft.linking.recipe import Recipe
from regraft.linking.row import Row, fresh_row
from regraft.linking.whole import WholeBlueprint
from regraft.sources import NativeHead

Shape = tuple[int, ...]


def head_rows(heads: Sequence[NativeHead], slots: Sequence[Slot], shapes: Mapping[str, Shape]) -> list[Row]:
    """A row for each tensor of the target's heads: source rows whose class has the same name, else fresh."""
    values = _value_keys(slots, heads, shapes)
    return [
        _value_row(slot, values[slot.name]) if slot.name in values else _head_row(slot, heads, shapes)
        for slot in slots
        if not slot.tied_to
    ]


def native_rows(heads: Sequence[NativeHead], slots: Sequence[Slot], shapes: Mapping[str, Shape]) -> list[Row]:
    """A row for each tensor of heads that are the source's own: each is copied as it is."""
    return [_native_row(slot, heads, shapes) for slot in slots if not slot.tied_to]


def _native_row(slot: Slot, heads: Sequence[NativeHead], shapes: Mapping[str, Shape]) -> Row:
    assert slot.task is not None
    head = next(head for head in heads if (head.output or NATIVE) == slot.task.name)
    key = _key(head, slot, slot.task)
    if key not in shapes:
        return fresh_row(slot, "the source's own head has none", role="specific")
    if shapes[key] != slot.shape:
        rule = "the source's own head does not read its pooled features"
        return fresh_row(slot, rule, role="shared", source=key, source_shape=shapes[key])
    return _value_row(slot, key, "the source's own head")


def _head_row(slot: Slot, heads: Sequence[NativeHead], shapes: Mapping[str, Shape]) -> Row:
    spec = slot.task
    if spec is None or not heads:
        return fresh_row(slot, "new head", role="specific")
    if not spec.classes:
        return fresh_row(slot, "new head", role="specific")
    best = max(heads, key=lambda head: (count_shared(spec.classes, head.classes), head.output == spec.name))
    picks = pick_rows(spec.classes, best.classes)
    key = _key(best, slot, spec)
    fits = key in shapes and shapes[key][0] == len(best.classes) and shapes[key][1:] == slot.shape[1:]
    if not best.classes:
        return fresh_row(slot, "new head: the source does not name its classes", role="specific")
    if not fits or max(picks) < 0 or slot.shape[0] != len(picks):
        return fresh_row(slot, "no class name in common", role="specific")
    return _carried(slot, key, picks, shapes[key])


def _carried(slot: Slot, key: str, picks: tuple[int, ...], shape: Shape) -> Row:
    same = picks == tuple(range(shape[0]))
    taken = sum(pick >= 0 for pick in picks)
    return Row(
        target=slot.name,
        source=key,
        rule="class names",
        transform="" if same else f"{taken} of {len(picks)} rows by class name",
        target_shape=slot.shape,
        source_shape=shape,
        action="copied" if same else "adapted",
        role="shared" if taken == len(picks) else "specific",
        kind=slot.kind,
        recipe=None if same else Recipe((key,)).then("rows", picks=list(picks)),
    )


def _value_keys(
    slots: Sequence[Slot], heads: Sequence[NativeHead], shapes: Mapping[str, Shape]
) -> dict[str, str]:
    """Heads without classes (regression): slot to source key by the output's name, each head as a whole.

    Such a head may hold more than weight and bias: the scale of its labels, without which these mean nothing.
    """
    stems = {
        head.output: head.weight.rpartition(".")[0] for head in heads if head.output and not head.classes
    }
    values: dict[str, str] = {}
    for name, stem in stems.items():
        own = [slot for slot in slots if slot.task and slot.task.name == name != "" and not slot.task.classes]
        keys = {slot.name: f"{stem}.{slot.name.removeprefix(f'heads.{head_key(name)}.')}" for slot in own}
        if all(shapes.get(keys[slot.name]) == slot.shape for slot in own):
            values.update(keys)
    return values


def _value_row(slot: Slot, key: str, rule: str = "output name") -> Row:
    return Row(
        target=slot.name,
        source=key,
        rule=rule,
        transform="",
        target_shape=slot.shape,
        source_shape=slot.shape,
        action="copied",
        role="shared",
        kind=slot.kind,
    )


def _key(head: NativeHead, slot: Slot, spec: TaskSpec) -> str:
    local = slot.name.removeprefix(f"heads.{head_key(spec.name)}.")
    return {"weight": head.weight, "bias": head.bias}.get(local, "")


def pick_rows(wanted: Sequence[str], offered: Sequence[str]) -> tuple[int, ...]:
    """For each wanted class the place of the one with the same name, -1 where there is none.

    Case and outer spaces do not count. A name that stands twice in ``offered`` is no name.
    """
    names = [_plain(name) for name in offered]
    places = {name: place for place, name in enumerate(names) if names.count(name) == 1}
    return tuple(places.get(_plain(name), -1) for name in wanted)


def count_shared(wanted: Sequence[str], offered: Sequence[str]) -> int:
    """How many wanted classes have a namesake."""
    return sum(pick >= 0 for pick in pick_rows(wanted, offered))


def _plain(name: str) -> str:
    return name.strip().casefold()


def whole_head_rows(
    origin: Origin,
    blueprint: Blueprint | WholeBlueprint,
    slots: Sequence[Slot],
    shapes: Mapping[str, Shape],
    rows: Mapping[str, Row],
) -> dict[str, Row]:
    """The last layer of a module: rows by class name where both sides name their classes, else fresh.

    Equal numbers of rows are taken over only while neither side says that their classes differ.
    """
    if not isinstance(blueprint, WholeBlueprint) or not origin.heads:
        return {}
    head = origin.heads[0]
    own = [
        slot for slot in slots if slot.name in _last_layer(slots, blueprint.classes, shapes.get(head.weight))
    ]
    if not own or (blueprint.classes and blueprint.classes == head.classes):
        return {}
    if blueprint.classes and head.classes:
        return {slot.name: _whole_row(slot, head, blueprint.classes, shapes) for slot in own}
    unequal = [slot for slot in own if shapes.get(head.weight, ())[:1] != slot.shape[:1]]
    return {
        slot.name: fresh_row(slot, "new head: other classes", role="specific")
        for slot in unequal
        if slot.name not in rows or not rows[slot.name].carried
    }


def _last_layer(slots: Sequence[Slot], classes: Sequence[str], shape: Shape | None) -> set[str]:
    """Names of the last layer's tensors: the last matrix of the head's width, and its bias."""
    if shape is None:
        return set()
    fitting = [slot for slot in slots if len(slot.shape) == len(shape) and slot.shape[1:] == shape[1:]]
    fitting = [slot for slot in fitting if not classes or slot.shape[0] == len(classes)]
    if not fitting or fitting[-1] not in slots[-4:]:
        return set()
    stem = fitting[-1].name.removesuffix("weight")
    return {fitting[-1].name, stem + "bias"}


def _whole_row(slot: Slot, head: NativeHead, classes: Sequence[str], shapes: Mapping[str, Shape]) -> Row:
    key = head.weight if len(slot.shape) > 1 else head.bias
    picks = pick_rows(classes, head.classes)
    if key not in shapes or max(picks) < 0 or shapes[key][0] != len(head.classes):
        return fresh_row(slot, "no class name in common", role="specific")
    return _carried(slot, key, picks, shapes[key])
