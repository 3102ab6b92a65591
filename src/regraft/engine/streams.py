"""Streams: which examples are read at which step, as a function of (seed, stream, step)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from regraft.core.augmentation import DEFAULT_AUGMENTATION, Augmentation
from regraft.core.errors import PlanError
from regraft.core.inputs import View
from regraft.core.randomness import numpy_generator
from regraft.engine.mixing import Mixer, Portion, portion_of
from regraft.engine.slices import Slice
from regraft.engine.stream_data import StreamData
from regraft.engine.workspace import Workspace
from regraft.plans import StreamSpec


@dataclass(frozen=True)
class Stream:
    """A shuffled, endless sequence of batches over fixed examples.

    Attributes
    ----------
    examples
        Ascending indices into the target's examples.
    views
        0 reads examples as they are; otherwise random views of them, see :meth:`view`.
    augment
        What a view may change.
    kept
        Whether views lie behind a frozen prefix and are computed once.
    labelled
        Whether terms may read labels.
    other
        The data that it reads, where those are not the run's own target.
    mixer
        What mixes its examples in pairs; None where nothing does.
    """

    name: str
    examples: np.ndarray
    batch: int
    views: int
    seed: int
    augment: Augmentation = DEFAULT_AUGMENTATION
    kept: bool = False
    labelled: bool = True
    other: StreamData | None = None
    mixer: Mixer | None = None

    @property
    def batches(self) -> int:
        """Batches per epoch. A last batch of one example joins the one before: batch norm cannot use it."""
        whole, rest = divmod(len(self.examples), self.batch)
        return max(whole + (rest > 1), 1)

    def at(self, step: int) -> np.ndarray:
        """The examples of a step, counted over all epochs."""
        epoch, position = divmod(step, self.batches)
        order = _order(self.seed, self.name, epoch, len(self.examples))
        last = position == self.batches - 1
        stop = None if last else (position + 1) * self.batch
        return self.examples[order[position * self.batch : stop]]

    def portion(self, step: int, piece: Slice) -> Portion:
        """What is read for a slice of a step's batch: its examples, and those that they are mixed with."""
        batch = self.at(step)
        own = piece.take(batch)
        mixture = self.mixer.at(step, len(batch)) if self.mixer is not None else None
        if mixture is None or self.mixer is None:
            return Portion(own, len(own))
        return portion_of(batch, own, piece.take(np.arange(len(batch))), mixture, self.mixer.late)

    def view(self, step: int) -> View | None:
        """The random view of a step's examples: one of its own, or, of those that are kept behind a frozen
        prefix, the next one in each epoch. None where they are read as they are.
        """
        if not self.views:
            return None
        number = (step // self.batches) % self.views if self.kept else step
        return View(self.seed, number, self.augment)


@lru_cache(maxsize=16)
def _order(seed: int, name: str, epoch: int, count: int) -> np.ndarray:
    return numpy_generator(seed, "order", name, epoch).permutation(count)


def open_stream(name: str, spec: StreamSpec, work: Workspace, *, kept: bool = False) -> Stream:
    """The stream that a plan describes. Raises :class:`PlanError` for what cannot be read here."""
    if spec.reads == "rollouts":
        raise PlanError(f"the stream {name!r} reads rollouts, which nothing makes yet")
    if spec.reads != "target":
        return _open_other(name, spec, work, kept)
    if spec.data is not None:
        raise PlanError(
            f"the stream {name!r} reads the run's own target and names other data, {spec.data}: say whether "
            f"those have labels (reads: source) or not (reads: unlabelled)"
        )
    parts = {"train": work.draw.train, "validation": work.draw.validation}
    parts["all"] = np.sort(np.concatenate([work.draw.train, work.draw.validation]))
    examples = parts[spec.part]
    if len(examples) == 0:
        raise PlanError(f"the stream {name!r} is empty: the target has no {spec.part} examples")
    batch = spec.batch * work.processes.world  # the plan's batch is that of one process
    return Stream(name, examples, batch, spec.views, work.draw.seed, spec.augment, kept, spec.labelled)


def _open_other(name: str, spec: StreamSpec, work: Workspace, kept: bool) -> Stream:
    """A stream of other data, which were handed over with the workspace."""
    data = work.others.get(name)
    if data is None:
        raise PlanError(
            f"the stream {name!r} reads other data, and there are none: name them in the plan "
            f"(streams.{name}.data: PATH), or hand them over, fit(.., streams={{{name!r}: data}})"
        )
    if len(data.examples) == 0:
        raise PlanError(f"the stream {name!r} is empty: all its examples are in the test or validation part")
    labelled = spec.labelled and data.labels is not None
    batch = spec.batch * work.processes.world
    return Stream(name, data.examples, batch, spec.views, work.draw.seed, spec.augment, kept, labelled, data)
