"""Preparing a target for a source: each example decoded or tokenised once, bad ones set aside and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from regraft.core.errors import UnreadableError, UsageError
from regraft.core.files import cache_folder
from regraft.core.inputs import Inputs
from regraft.core.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from regraft.targets.examples import Examples, Texts
from regraft.targets.items import Items, bounds
from regraft.targets.pixel_cache import PixelCache, decoding_processes
from regraft.targets.target import Target


@dataclass(frozen=True)
class Prepared:
    """A target without the examples that cannot be read, and its inputs, aligned with its examples."""

    target: Target
    inputs: Inputs


class RawData:
    """Examples by index as they were found, for whoever decodes them."""

    def __init__(self, examples: Examples):
        self.examples = examples

    def __getitem__(self, index: int) -> object:
        return self.examples.raw(index)


def prepare(
    target: Target,
    preprocessing: Preprocessing,
    *,
    max_unreadable: float = 0.05,
    workers: int | None = None,
) -> Prepared:
    """The target as a network with this preprocessing reads it.

    Raises ``UnreadableError`` where more than ``max_unreadable`` of all examples cannot be read, and
    ``UsageError`` where source and target are of different modalities.
    """
    check_reads(preprocessing, target)
    if isinstance(preprocessing, ImagePreprocessing):
        return _prepare_images(target, preprocessing, max_unreadable, workers)
    return _prepare_texts(target, preprocessing, max_unreadable)


@dataclass(frozen=True, eq=False)
class ListedTarget:
    """A target's examples, which can be read in parts; labels play no part."""

    target: Target
    _preprocessing: Preprocessing

    @property
    def names(self) -> Sequence[str]:
        """One for each example."""
        return self.target.examples.names

    def __len__(self) -> int:
        return len(self.target)

    def parts(self) -> Iterator[Items]:
        """All examples, a part at a time; what is decoded is kept for the next who reads this target."""
        with decoding_processes():
            for start, stop in bounds(len(self), self._preprocessing):
                yield self._read(np.arange(start, stop))

    def _read(self, indices: np.ndarray) -> Items:
        part = self.target.select(indices)
        names = list(part.examples.names)
        if not isinstance(self._preprocessing, ImagePreprocessing):
            read = _read_texts(part.examples, self._preprocessing)
            return Items(names, read, np.arange(len(names)), {}, part.examples.hashes)
        images, reasons = _decode(part.examples, self._preprocessing, None)
        good = np.array([index for index in range(len(names)) if index not in reasons], dtype=np.int64)
        kept = part.examples.select(good)
        return Items(names, images(kept), good, reasons, kept.hashes)


def list_target(target: Target, preprocessing: Preprocessing) -> ListedTarget:
    """A target's examples as items, for a network with this preprocessing; raises as :func:`check_reads`."""
    check_reads(preprocessing, target)
    return ListedTarget(target, preprocessing)


def check_reads(preprocessing: Preprocessing, target: Target) -> None:
    """Raise ``UsageError`` where source and target are of other modalities, or images of other channels."""
    if preprocessing.modality != target.modality:
        raise UsageError(
            f"the source reads {preprocessing.modality}s and the target holds {target.modality}s; choose a "
            f"source for {target.modality}s with 'regraft sources --modality {target.modality}'"
        )
    if isinstance(preprocessing, ImagePreprocessing):
        from regraft.targets.channels import check_channels

        check_channels(target.examples, preprocessing)


def _prepare_images(
    target: Target, preprocessing: ImagePreprocessing, max_unreadable: float, workers: int | None
) -> Prepared:
    from regraft.targets.channels import opaque_notes

    images, reasons = _decode(target.examples, preprocessing, workers)
    readable = _without(target, reasons, max_unreadable)
    readable = readable.noted(opaque_notes(readable.examples, preprocessing))
    return Prepared(readable, images(readable.examples))


def _read_texts(texts: Examples, preprocessing: TextPreprocessing) -> Inputs:
    """Tokenised in memory, for one pass."""
    from regraft.targets.text_inputs import TextInputs, tokenise_here

    assert isinstance(texts, Texts)
    tokens = tokenise_here([text for batch in texts.batches(4096) for text in batch], preprocessing)
    return TextInputs(texts.names, texts.hashes, tokens, preprocessing)


def _decode(
    examples: Examples, preprocessing: ImagePreprocessing, workers: int | None
) -> tuple[Callable[[Examples], Inputs], dict[int, str]]:
    """Decode into the cache; gives what makes inputs of readable examples, and the reasons of the others."""
    from regraft.targets.image_inputs import ImageInputs, geometry_of

    cache = PixelCache(cache_folder() / "images", geometry_of(preprocessing))
    reasons = cache.decode(examples.hashes.array, RawData(examples), workers=workers)

    def images(readable: Examples) -> Inputs:
        found = cache.find(readable.hashes.array)
        return ImageInputs(readable.names, readable.hashes, found, preprocessing)

    return images, reasons


def _without(target: Target, reasons: dict[int, str], max_unreadable: float) -> Target:
    bad = len(target.unreadable) + len(reasons)
    total = len(target) + len(target.unreadable)
    if bad > max_unreadable * total:
        names = target.examples.names
        every = [(one.item, one.reason) for one in target.unreadable]
        every += [(names[index], reason) for index, reason in sorted(reasons.items())]
        item, reason = every[0]
        allowed = min(1.0, bad / total + 0.01)
        raise UnreadableError(
            f"{bad} of {total} examples ({bad / total:.1%}) cannot be read, more than the "
            f"{max_unreadable:.1%} allowed; the first one, {item}: {reason}. "
            f"Mend or remove them, or allow more with max_unreadable={allowed:.2f} (--max-unreadable)",
            every,
        )
    return target.without(sorted(reasons.items()))


def _prepare_texts(target: Target, preprocessing: TextPreprocessing, max_unreadable: float) -> Prepared:
    from regraft.targets.text_inputs import TextInputs, store_key, tokenise

    readable = _without(target, {}, max_unreadable)
    texts = readable.examples
    assert isinstance(texts, Texts)
    tokens = tokenise(
        texts.batches(4096),
        len(texts),
        preprocessing,
        cache_folder() / "tokens",
        store_key(texts.hashes, preprocessing),
    )
    return Prepared(readable, TextInputs(texts.names, texts.hashes, tokens, preprocessing))
