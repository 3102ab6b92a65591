"""Rows of an embedding carry over by token: equal numbers of other tokens mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regraft.core.preprocessing import TextPreprocessing
from regraft.linking.blueprint import Blueprint, Slot
from regraft.linking.finding.unit import Shape
from regraft.linking.origin import Origin
from regraft.linking.recipe import Recipe
from regraft.linking.row import Row
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Source


def match_tokens(
    origin: Origin,
    blueprint: Blueprint | WholeBlueprint,
    slots: Sequence[Slot],
    shapes: Mapping[str, Shape],
    rows: Mapping[str, Row],
) -> dict[str, Row]:
    """Rows of embeddings whose tokenizers are known and differ; tokens that only one knows start fresh."""
    if not isinstance(blueprint, Blueprint) or origin.source is None:
        return {}
    ours, theirs = vocabulary(blueprint.source), vocabulary(origin.source)
    if not ours or not theirs or ours == theirs:
        return {}
    picks = [-1] * (max(ours.values()) + 1)
    for token, place in ours.items():
        picks[place] = theirs.get(token, -1)
    found: dict[str, Row] = {}
    if max(picks) < 0:
        return found
    for slot in slots:
        key = _key(slot, rows, shapes, len(theirs))
        if key is not None and slot.shape[0] >= len(picks) and slot.shape[1:] == shapes[key][1:]:
            padded = picks + [-1] * (slot.shape[0] - len(picks))
            found[slot.name] = _row(slot, key, shapes[key], padded)
    return found


def vocabulary(source: Source) -> dict[str, int]:
    """Token to row of the source's embedding; empty where it reads no text."""
    steps = source.preprocessing
    if not isinstance(steps, TextPreprocessing):
        return {}
    from tokenizers import Tokenizer

    return dict(Tokenizer.from_str(steps.tokenizer.decode()).get_vocab())


def _key(slot: Slot, rows: Mapping[str, Row], shapes: Mapping[str, Shape], count: int) -> str | None:
    """The source tensor that a slot takes rows from: the one it is linked to, or the one of its name."""
    if len(slot.shape) != 2 or slot.kind != "parameter":
        return None
    row = rows.get(slot.name)
    named = [key for key in shapes if key == slot.local or key.endswith("." + slot.local)]
    key = row.source if row is not None else (named[0] if named else None)
    return key if key is not None and len(shapes[key]) == 2 and shapes[key][0] >= count else None


def _row(slot: Slot, key: str, shape: Shape, picks: list[int]) -> Row:
    taken = sum(pick >= 0 for pick in picks)
    return Row(
        target=slot.name,
        source=key,
        rule="tokens",
        transform=f"{taken} of {len(picks)} rows by token",
        target_shape=slot.shape,
        source_shape=shape,
        action="adapted",
        role="shared",
        confidence=0.95,
        block=slot.block,
        kind=slot.kind,
        recipe=Recipe((key,)).then("rows", picks=picks),
    )
