"""``SOURCE+SOURCE+..``: several sources as one, their pooled features one behind the other.

Features are concatenated as they are, because nothing else was clearly better: with 300 photos of solar cells
(20 draws, EfficientNet-Lite0 and 1 at 96 pixels, ridge) 80.5% on validation examples and 83.0% by
leave-one-out; 79.8 and 83.2 with each part's features brought to one length, 79.1 and 82.1 with each feature
standardised on the training examples.

Parts that prepare pictures otherwise get their own size, crop, mean and std inside the network, from pixels
that suit all (``sources/fitting.py``). What is prepared alike gives the part's own features to the bit. At
native sizes (64 photos of solar cells) Lite1's are its own, at 240 pixels; Lite0's, resampled to 224, have a
cosine of .996 with those that it gives alone, where at 240 it would be .968.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regraft.core.errors import SourceError, UsageError
from regraft.core.hashing import hash_json
from regraft.core.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from regraft.sources.fitting import Fit, fit_for, one_for_all
from regraft.sources.source import BuilderSpec, Source, Weights

if TYPE_CHECKING:
    from regraft.sources.checkpoint import Checkpoint
    from regraft.sources.trunk import Trunk

BUILDER = "joined"


def split_name(name: str, prefixes: Sequence[str]) -> tuple[str, ...]:
    """The names of the parts; one where nothing is joined: a ``+`` joins where a prefix stands behind it."""
    kinds = "|".join(map(re.escape, prefixes))
    return tuple(re.split(rf"\+(?=(?:{kinds}):)", name))


def find(names: Sequence[str], **options: Any) -> Source:
    """The joined source of these parts; each option goes to all parts that have it."""
    from regraft.sources.registry import find as find_one, takes_option

    parts = [
        find_one(name, **{key: value for key, value in options.items() if takes_option(name, key)})
        for name in names
    ]
    return join(parts)


def join(parts: Sequence[Source]) -> Source:
    """Several sources as one. Raises ``SourceError`` or ``UsageError`` for parts that cannot stand together.

    Its heads are none of theirs: what a part tells apart it reads from its own features alone.
    """
    name = "+".join(part.name for part in parts)
    _check_parts(parts, name)
    steps, fits = _common_steps(parts, name)
    options = {
        "parts": [part.builder.to_json() for part in parts],
        "fits": [fit.to_json() for fit in fits],
    }
    return Source(
        name=name,
        builder=BuilderSpec(BUILDER, options),
        weights=_weights(parts, name),
        preprocessing=steps,
        cite="; ".join(dict.fromkeys(part.cite for part in parts if part.cite)),
        parts=tuple(parts),
    )


def build(*, parts: Sequence[dict[str, Any]], fits: Sequence[dict[str, Any]]) -> Trunk:
    """The parts' networks side by side, each built by its own registered builder."""
    from regraft.sources.registry import builder_called

    specs = [BuilderSpec.from_json(part) for part in parts]
    if wrong := [spec.name for spec in specs if spec.name in (BUILDER, "user")]:
        raise SourceError(
            f"a part of a joined source is built by {wrong[0]!r}, which no joined source writes"
        )
    trunks = [builder_called(spec.name, "a part of a joined source").build(**spec.options) for spec in specs]
    for trunk, spec in zip(trunks, specs, strict=True):
        for layers in spec.added:
            trunk.add(layers)
    return _side_by_side(trunks, fits)


def open_weights(source: Source) -> Checkpoint:
    """The tensors of all parts, each behind its part's place; or those of a run whose network is joined."""
    from regraft.sources.checkpoint import Checkpoint, open_checkpoint
    from regraft.sources.registry import open_weights as open_part

    if not source.parts:
        assert source.weights is not None
        return open_checkpoint(source.weights.files)
    opened = [open_part(part) for part in source.parts]
    entries = {
        f"parts.{number}.network.{name}": entry
        for number, one in enumerate(opened)
        for name, entry in one.entries().items()
    }
    notes = [
        f"{part.name}: {note}" for part, one in zip(source.parts, opened, strict=True) for note in one.notes
    ]
    return Checkpoint(entries, layout=opened[0].layout, notes=notes, origin=source.name)


def load_native(source: Source) -> Trunk | None:
    """The parts as their own libraries load them, side by side; None for a run whose network is joined."""
    from regraft.sources.native import load_native as load_part

    if not source.parts:
        return None
    return _side_by_side([load_part(part) for part in source.parts], source.builder.options["fits"])


def _side_by_side(trunks: Sequence[Trunk], fits: Sequence[dict[str, Any]]) -> Trunk:
    from regraft.sources.side_by_side import SideBySide

    return SideBySide(trunks, [Fit.from_json(fit) for fit in fits])


def _check_parts(parts: Sequence[Source], name: str) -> None:
    if len(parts) < 2:
        raise UsageError("a joined source has at least two parts, written SOURCE+SOURCE")
    kinds = dict.fromkeys(part.modality for part in parts)
    if len(kinds) > 1:
        raise SourceError(f"{name}: its parts read {' and '.join(kinds)}; join sources of one modality")
    twice = next(
        (part for place, part in enumerate(parts) if part.name in {p.name for p in parts[:place]}), None
    )
    if twice is not None:
        raise UsageError(f"{name}: {twice.name} is a part twice, which adds nothing; leave one out")
    own = next((part for part in parts if part.builder.name in ("user", BUILDER)), None)
    if own is not None:
        raise SourceError(
            f"{name}: {own.name} is built by code of your own or is joined itself, and a run of a joined "
            "source has to be rebuilt by registered builders alone. Write the networks as one module, and "
            "hand that over (file:PATH with --builder module:function)"
        )


def _common_steps(parts: Sequence[Source], name: str) -> tuple[Preprocessing, list[Fit]]:
    steps = [part.preprocessing for part in parts]
    images = [one for one in steps if isinstance(one, ImagePreprocessing)]
    if images:
        common = one_for_all(images, name)
        return common, [fit_for(one, common) for one in images]
    texts = [one for one in steps if isinstance(one, TextPreprocessing)]
    first = texts[0]
    for part, one in zip(parts[1:], texts[1:], strict=True):
        if (one.tokenizer, one.pad_id) != (first.tokenizer, first.pad_id):
            raise SourceError(
                f"{name}: {part.name} reads other tokens than {parts[0].name}; texts can be read by several "
                "networks at once only where all have one tokenizer"
            )
    # What the shortest of them cannot read none gets.
    length, chunks = min(one.max_length for one in texts), min(one.max_chunks for one in texts)
    return replace(first, max_length=length, max_chunks=chunks), []


def _weights(parts: Sequence[Source], name: str) -> Weights | None:
    found = [part.weights for part in parts if part.weights is not None]
    if not found:
        return None
    bare = [part.name for part in parts if part.weights is None]
    if bare:
        raise SourceError(f"{name}: {', '.join(bare)} was never pretrained; join pretrained sources")
    return Weights(
        files=tuple(dict.fromkeys(file for one in found for file in one.files)),
        sha256=hash_json([one.sha256 for one in found]),
        size=sum(one.size for one in found),
        licence=" and ".join(dict.fromkeys(one.licence for one in found)),
    )
