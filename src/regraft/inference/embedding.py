"""Running a frozen prefix once for each example, and keeping what it gave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.core.console import progress, say
from regraft.core.inputs import Batch, Inputs, View
from regraft.core.randomness import torch_randomness
from regraft.inference.backends import Backend, choose_backend, open_for, versions_of
from regraft.inference.batching import FixedBatch, fixed_batches, pieces_of
from regraft.inference.lazy import LazyBatch
from regraft.inference.naming import piece_keys, prefix_facts
from regraft.inference.overlap import ahead
from regraft.inference.purity import impurity
from regraft.inference.shard import Part
from regraft.inference.shelf import MissingValuesError, Shelf
from regraft.inference.storing import Storing, decide_storing, overflows, say_refusal
from regraft.linking import pool_pieces
from regraft.sources import Trunk

BATCH = 32
"""Pieces per batch of a frozen prefix: fixed, because a value's last bits depend on the batch's shape."""
_SAMPLE = 8  # pieces on which is found out what can be kept, and how
_AT_ONCE = 1024  # examples whose features are read together


class Embedder:
    """A frozen prefix, the inputs it reads and the shelf that keeps its activations.

    The prefix must not change as long as it is used. Nothing is compiled before something has to be run.

    Parameters
    ----------
    trunk, cut
        The prefix is the first ``cut`` blocks; all of them give pooled features.
    backend
        ``auto``, or one of :data:`regraft.inference.backends.BACKENDS`.
    keep
        False keeps activations in memory only.
    activations
        ``float32``, exact, or ``float16``: how values are stored.
    limit
        Bytes that the cache on disk may hold; None is :func:`regraft.inference.cache.default_limit`.
    through
        A prefix of the same trunk whose activations are kept: what stands behind its cut is run on those,
        so that no block runs twice.
    examine
        Whether it is found out on a few examples that the prefix is a function of the example alone; there
        is no need to where nothing that it gives is used twice.
    title
        Whose network it is, for people.
    """

    def __init__(
        self,
        trunk: Trunk,
        inputs: Inputs,
        *,
        cut: int,
        backend: str = "auto",
        device: torch.device | None = None,
        keep: bool = True,
        activations: str = "float32",
        limit: int | None = None,
        through: Embedder | None = None,
        examine: bool = True,
        title: str = "",
    ):
        self.trunk, self.inputs, self.cut, self.keep = trunk.eval(), inputs, cut, keep
        self.device = device or torch.device("cpu")
        self.through, self.examine, self.limit = through, examine, limit
        self.title = title or type(trunk.network).__name__
        self.impurity: str | None = None
        """Why nothing can be kept, once that is known."""
        self._activations = activations
        self._storing: Storing | None = None
        self._backend: Backend | None = None
        self._prefix = prefix_facts(trunk, cut, ragged=inputs.lengths is not None)
        wanted = "eager" if through is not None else choose_backend(backend, trunk, cut, inputs, self.device)
        self._wanted = (wanted, activations)
        self._use(self._wanted[0])

    def _use(self, backend: str) -> None:
        self.backend_name = backend
        self.shelf = Shelf.open(self._facts(), limit=self.limit) if self.keep else Shelf()
        self._storing = Storing.from_json(self.shelf.about or {})

    @property
    def storing(self) -> Storing | None:
        """How values are stored, once that is known."""
        return self._storing

    def same_as(self, other: Embedder) -> bool:
        """Whether another one would compute and keep the same."""
        return (
            self.trunk is other.trunk
            and self.inputs is other.inputs
            and (self.cut, self.keep, self._wanted) == (other.cut, other.keep, other._wanted)
            and self.through is other.through
            and self._prefix == other._prefix
        )

    def summary(self) -> dict[str, Any]:
        """How its values are kept, as plain JSON: precision and its measured effect, or why they are not."""
        storing = self._storing or Storing()
        return {
            "cut": self.trunk.block_names[self.cut - 1],
            "backend": self.backend_name,
            "values": storing.values,
            "effect": storing.effect,
            "not_kept_because": self.impurity,
        }

    def activations(self, examples: np.ndarray, *, view: View | None = None) -> Tensor:
        """The activation at the cut of every piece of ``examples``, in order; computed if not kept.

        ``view`` asks for a random view of them, which is kept as well: under all that the view says.
        """
        pieces, _ = pieces_of(self.inputs, examples)
        self._compute(pieces, view)
        return self._take(pieces, view)

    def features(self, examples: np.ndarray, *, view: View | None = None) -> Tensor:
        """Pooled features ``Float[Tensor, "examples width"]``: each example's pieces, averaged by weight."""
        self.compute(examples, view=view)
        out = torch.empty(len(examples), self.trunk.width)
        for start in range(0, len(examples), _AT_ONCE):
            some = examples[start : start + _AT_ONCE]
            pieces, positions = pieces_of(self.inputs, some)
            weights = torch.from_numpy(np.asarray(self.inputs.weights)[pieces])
            values = self._take(pieces, view)
            out[start : start + len(some)] = pool_pieces(
                values, torch.from_numpy(positions), weights, len(some)
            )
        return out

    def compute(
        self, examples: np.ndarray, *, view: View | None = None, share: tuple[int, int] | None = None
    ) -> None:
        """Run the prefix on whatever is not kept yet, with progress.

        ``share`` (which, of how many) leaves the rest of the work to other processes with the same shelf;
        what they did is found after :meth:`refresh`.
        """
        pieces, _ = pieces_of(self.inputs, examples)
        if share is not None:
            which, of = share
            pieces = pieces[which::of]
        self._compute(pieces, view)

    def refresh(self) -> None:
        """Find what other processes have added to the shelf."""
        self.shelf.refresh()

    def kept(self, examples: np.ndarray) -> bool:
        """Whether what the prefix gives can be kept; where not, the reason is said."""
        if self._storing is None and self.impurity is None and len(examples):
            self._open(pieces_of(self.inputs, examples[:BATCH])[0])
        return self.impurity is None

    def _compute(self, pieces: np.ndarray, view: View | None) -> None:
        if not self._takes_more or len(self._missing(pieces, view)) == 0:
            return
        backend = self._open(pieces)
        self.shelf.refresh()
        todo = self._missing(pieces, view)
        if not self._takes_more or len(todo) == 0:
            return
        if self.through is not None:
            self.through._compute(todo, view)
        label = f"Running the frozen layers ({backend.name})"
        try:
            with evaluating(self.trunk), progress(label, len(todo)) as advance:
                for batch, batch_values in self._run(todo, view):
                    self._put(self.shelf, batch.pieces[: batch.count], batch_values, view)
                    advance(batch.count)
                    if self.shelf.full:
                        break
        finally:
            self.shelf.flush()

    @property
    def _takes_more(self) -> bool:
        return self.impurity is None and not self.shelf.full

    def _run(self, todo: np.ndarray, view: View | None) -> Iterator[tuple[FixedBatch, Tensor]]:
        """Batches of one size and what the prefix gives for them, without that of the padding pieces."""
        batches = fixed_batches(self.inputs, todo, BATCH)
        if self.through is not None:
            for batch in batches:
                yield batch, self._values(batch.pieces, view)[: batch.count]
            return
        backend = self._open(todo)
        for batch, tensors in ahead((one, self.inputs.batch(one.pieces, view=view)) for one in batches):
            yield batch, backend.run(tensors)[: batch.count]

    def _values(self, pieces: np.ndarray, view: View | None) -> Tensor:
        backend = self._open(pieces)
        if self.through is None:
            return backend.run(self.inputs.batch(pieces, view=view))
        batch = LazyBatch(lambda: self._moved(self.inputs.batch(pieces, view=view)))
        activation = self.through._take(pieces, view).to(self.device)
        with torch.inference_mode():
            value = self.trunk.between(activation, batch, start=self.through.cut, stop=self.cut)
        return value.cpu().clone()

    def _take(self, pieces: np.ndarray, view: View | None) -> Tensor:
        """Values of pieces, those that could not be kept run now."""
        keys = self._keys(pieces, view)
        for _ in range(2):
            there = self.shelf.has(keys)
            try:
                if there.all():
                    return self.shelf.take(keys)
                if not self._takes_more:
                    return self._take_and_run(pieces, keys, there, view)
            except MissingValuesError:
                self.shelf.forget()
            self._compute(pieces, view)
        return self.shelf.take(keys)

    def _take_and_run(
        self, pieces: np.ndarray, keys: np.ndarray, there: np.ndarray, view: View | None
    ) -> Tensor:
        now = Shelf()
        missing, first = np.unique(keys[~there], return_index=True)
        # Random layers, where there are some, draw by what they are asked for.
        with evaluating(self.trunk), torch_randomness(0, "frozen layers", missing[0].hex()):
            for batch, values in self._run(pieces[~there][first], view):
                self._put(now, batch.pieces[: batch.count], values, view)
        now.flush()
        run = now.take(keys[~there])
        if not there.any():
            return run
        kept = self.shelf.take(keys[there])
        largest = np.maximum(kept.shape[1:], run.shape[1:])
        out = torch.zeros(len(keys), *largest.tolist())
        for where, values in ((there, kept), (~there, run)):
            inside = tuple(map(slice, values.shape[1:]))
            for place, value in zip(np.flatnonzero(where).tolist(), values, strict=True):
                out[place][inside] = value
        return out

    def _put(self, shelf: Shelf, pieces: np.ndarray, values: Tensor, view: View | None) -> None:
        values, storing = values.float(), self._storing or Storing()
        lengths = None
        if not storing.padding and values.ndim >= 3:
            lengths = np.minimum(self._lengths(pieces), values.shape[1])
        if storing.values == "float16":
            if overflows(values):  # this shard stays exact
                say_refusal(values, self._label)
            else:
                values = values.half()
        shelf.add(Part(self._keys(pieces, view), values, lengths))

    def _lengths(self, pieces: np.ndarray) -> np.ndarray:
        lengths = self.inputs.lengths
        assert lengths is not None
        return lengths[pieces]

    def _open(self, pieces: np.ndarray) -> Backend:
        """The backend, compiled and checked when first needed; with another shelf if it is another one. Then
        how values are stored, and whether they can be kept at all.
        """
        if self._backend is None or (self._storing is None and self.impurity is None):
            with evaluating(self.trunk):
                self._prepare(pieces)
        assert self._backend is not None
        return self._backend

    def _prepare(self, pieces: np.ndarray) -> None:
        if self._backend is None:
            self._backend = open_for(
                self.backend_name, self.trunk, self.cut, self.inputs, self.device, size=BATCH
            )
            if self._backend.name != self.backend_name:
                self._use(self._backend.name)
        if self._storing is None and self.impurity is None:
            self._examine(pieces)

    def _examine(self, pieces: np.ndarray) -> None:
        if not self.examine:
            self._storing = Storing()
            return
        chosen = self._sample(pieces)
        batch = self._moved(self.inputs.batch(chosen))
        self.impurity = impurity(self.trunk, self.cut, batch)
        if self.impurity is not None:
            _say_once(
                f"What the frozen layers {self._label} give is not kept, because {self.impurity}: they are "
                "run whenever they are needed."
            )
            self.shelf = Shelf()
            return
        lengths = self._lengths(chosen) if self.inputs.lengths is not None else None
        found = decide_storing(
            self.trunk, self.cut, batch, wanted=self._activations, lengths=lengths, label=self._label
        )
        if found.values != self._activations:
            self._activations = found.values
            self._use(self.backend_name)
        if self._storing is None:
            self._storing = found
            self.shelf.describe(self._about(found))

    def _sample(self, pieces: np.ndarray) -> np.ndarray:
        """A few different pieces of one shape, the most padded ones."""
        _, first = np.unique(self._keys(pieces, None), return_index=True)
        pieces = pieces[np.sort(first)]
        buckets = np.asarray(self.inputs.buckets)[pieces]
        if self.inputs.lengths is not None:
            order = np.argsort(self.inputs.lengths[pieces] - buckets, kind="stable")
            pieces, buckets = pieces[order], buckets[order]
        return pieces[buckets == buckets[0]][:_SAMPLE]

    def _moved(self, batch: Batch) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _missing(self, pieces: np.ndarray, view: View | None) -> np.ndarray:
        """Pieces that are not kept, each content once, in order."""
        keys, first = np.unique(self._keys(pieces, view), return_index=True)
        return pieces[np.sort(first[~self.shelf.has(keys)])]

    def _keys(self, pieces: np.ndarray, view: View | None) -> np.ndarray:
        return piece_keys(self.inputs, pieces, view)

    def _facts(self) -> dict[str, object]:
        """Everything that an activation depends on beside its example."""
        return {
            **self._prefix,
            "batch": BATCH,
            "backend": versions_of(self.backend_name),
            "through": self._through_facts(),
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "dtype": self._activations,
        }

    def _through_facts(self) -> object:
        """What another prefix's values add to a key: nothing where they are exact."""
        if self.through is None:
            return ""
        exact = self.through.backend_name == "eager" and self.through._activations == "float32"
        return "" if exact else self.through._facts()

    @property
    def _label(self) -> str:
        return f"up to {self.trunk.block_names[self.cut - 1]}"

    def _about(self, found: Storing) -> dict[str, Any]:
        """What ``shelf.json`` says."""
        return {
            "network": self.title,
            "cut": self.trunk.block_names[self.cut - 1],
            "backend": versions_of(self.backend_name),
            **found.to_json(),
        }


@contextmanager
def evaluating(trunk: Trunk) -> Iterator[None]:
    """Inside, the trunk is in ``eval()`` mode, whatever the stage that asks trains of it."""
    awake = [module for module in trunk.modules() if module.training]
    trunk.eval()
    try:
        yield
    finally:
        for module in awake:
            module.training = True


_said: set[str] = set()


def _say_once(sentence: str) -> None:
    if sentence not in _said:
        _said.add(sentence)
        say(sentence)
