"""Target: what the model is needed for: examples, labels, splits, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regraft.core.errors import SealedError, UsageError
from regraft.core.seal import Ledger
from regraft.core.task_spec import TaskSpec
from regraft.targets.parts import POOL, TEST, VALIDATION

if TYPE_CHECKING:
    from regraft.targets.examples import Examples
    from regraft.targets.held import Held
    from regraft.targets.members import Member

Labels = dict[str, np.ndarray]
"""By output name, encoded as TaskSpec says; the first dimension is the example."""

Tasks = Mapping[str, str] | str | tuple[TaskSpec, ...] | None
"""The kind of task of each output by name, or of the only one; None finds it from the labels. A model's own
tasks encode the labels as that model does, and put every example into the test part."""


@dataclass(frozen=True)
class Unreadable:
    """An example that could not be used, and why."""

    item: str
    reason: str


@dataclass(frozen=True)
class Draw:
    """Train and validation as drawn by one seed: ascending indices into the target's examples."""

    seed: int
    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True, eq=False)
class Target:
    """What the model is needed for.

    Make one with ``from_images``, ``from_table``, ``from_arrays`` or ``from_dataset``, or of several others
    with ``together``.

    Attributes
    ----------
    examples
        The store of examples: ``len``, ``.names``, ``.hashes``, ``.modality``; nothing is decoded in it.
    tasks
        One for each output.
    part
        Per example where it stands: :mod:`regraft.targets.parts` names the values.
    groups
        Per example the number of its group, or None: examples of one group never stand on both sides.
    unreadable
        The examples that could not be used and are not among ``examples``.
    found
        Sentences about what was found while loading.
    origin
        JSON that :func:`regraft.targets.reload` makes this target from.
    drop_rare
        Whether classes with fewer than two readable examples are dropped instead of refused.
    members
        The targets that this one was put together from; empty for one that was not.
    """

    examples: Examples
    tasks: tuple[TaskSpec, ...]
    part: np.ndarray
    _labels: Labels = field(repr=False)
    groups: np.ndarray | None = None
    unreadable: tuple[Unreadable, ...] = ()
    found: tuple[str, ...] = ()
    origin: dict[str, Any] = field(default_factory=dict)
    drop_rare: bool = False
    held: Held | None = field(default=None, repr=False)
    members: tuple[Member, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def modality(self) -> str:
        """``image`` or ``text``; only sources and targets ask."""
        return self.examples.modality

    @cached_property
    def test(self) -> np.ndarray:
        """Ascending indices of the test part."""
        return np.flatnonzero(self.part == TEST).astype(np.int64)

    @cached_property
    def pool(self) -> np.ndarray:
        """Ascending indices of all the rest: train and validation are drawn from it."""
        return np.flatnonzero((self.part == POOL) | (self.part == VALIDATION)).astype(np.int64)

    def labels(self, indices: np.ndarray | Sequence[int]) -> Labels:
        """Labels of examples outside the test part; asking for a test label raises ``SealedError``."""
        indices = np.asarray(indices, dtype=np.int64)
        asked = int(np.count_nonzero(self.part[indices] == TEST))
        if asked:
            raise SealedError(
                f"labels of {asked} test examples were asked for. Test labels are sealed: only evidence "
                "(fit's final figures, regraft.prove, regraft.evaluate) reads them, and run.json counts how "
                "often. Ask for indices from target.pool or target.draw(seed)."
            )
        return {name: values[indices] for name, values in self._labels.items()}

    def open_test(self, ledger: Ledger, purpose: str) -> Labels:
        """Labels of the test part, in the order of ``test``; the ledger records that they were read."""
        ledger.record(self.fingerprint, purpose)
        return {name: values[self.test] for name, values in self._labels.items()}

    def draw(
        self,
        seed: int,
        *,
        train_size: int | None = None,
        per_class: int | None = None,
        validation: float = 0.2,
    ) -> Draw:
        """Train and validation out of the pool, by seed; see :func:`regraft.targets.draw.draw`.

        ``train_size`` and ``per_class`` count the labelled examples used for both together.
        """
        from regraft.targets.draw import draw

        return draw(self, seed, train_size=train_size, per_class=per_class, validation=validation)

    def with_test(self, size: float | int, salt: str = "") -> Target:
        """The same target with another test part: a share (float) or a count (int) of the labelled examples.

        In each class the examples with the smallest ``hash(salt + content hash)`` are taken. Of a target that
        was put together, ``size`` is that of each member's test part.
        """
        from regraft.targets.members import fix_test_of_each
        from regraft.targets.parts import fix_test

        part = fix_test_of_each(self, size, salt) if self.members else fix_test(self, size, salt)
        origin = {**self.origin, "test": {"size": size, "salt": salt}}
        return replace(self, part=part, origin=origin)

    def without(self, bad: Sequence[tuple[int, str]]) -> Target:
        """The target without examples that turned out to be unreadable, with the reasons."""
        from regraft.targets.rare import drop_rare_classes

        if not bad:
            return self
        names = self.examples.names
        named = tuple(Unreadable(names[index], reason) for index, reason in bad)
        keep = np.setdiff1d(np.arange(len(self)), [index for index, _ in bad])
        smaller = replace(self.select(keep), unreadable=self.unreadable + named)
        return drop_rare_classes(smaller)

    def noted(self, sentences: Sequence[str]) -> Target:
        """The target with sentences added to its notes."""
        return replace(self, found=(*self.found, *sentences)) if sentences else self

    def select(self, indices: np.ndarray) -> Target:
        """Only the examples at these ascending indices; each keeps its part."""
        return replace(
            self,
            examples=self.examples.select(indices),
            part=self.part[indices],
            _labels={name: values[indices] for name, values in self._labels.items()},
            groups=None if self.groups is None else self.groups[indices],
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences to say aloud: the tasks found, leaks, imbalance."""
        from regraft.targets.balance import balance_notes

        return self.found + balance_notes(self)

    @cached_property
    def fingerprint(self) -> str:
        """Hash over content hashes, labels and parts."""
        from regraft.targets.fingerprint import fingerprint

        return fingerprint(self)

    def summary(self) -> dict[str, Any]:
        """What ``target.json`` says, as JSON; labels are counted and shown in the pool only."""
        from regraft.targets.summary import summary

        return summary(self)

    def save(self, folder: str | Path) -> Target:
        """The same target with an origin on disk: what lives in memory only is written into ``folder``."""
        if self.held is None:
            return self
        # The kinds of task are named, so that what was found in memory is found again in the files.
        kinds = {spec.name: spec.kind for spec in self.tasks}
        options = {**self.origin.get("options", {}), "tasks": kinds}
        origin = {**self.origin, **self.held.write(Path(folder)), "options": options}
        return replace(self, origin=origin, held=None)

    @classmethod
    def together(cls, members: Mapping[str, Any] | None = None, /, **named: Any) -> Target:
        """Several targets as one, for one trunk with a head for each of their outputs.

        Example::

            both = rg.Target.together(cells="cells/", digits=rg.Target.from_arrays(X, y))
            rg.transfer(both, out="runs/both", strategy="multitask", per_class=50)

        The outputs are called ``cells.label``, ``digits.label``; where an example is not a member's, its
        label is missing. The same bytes in two members are one example with both labels, and it is in the
        test part if it is in that of one: each member's test part stays whole, and nothing of it is trained
        on. Draws are made from each member by itself: ``per_class`` is for each class of each, ``train_size``
        is divided in proportion.

        Parameters
        ----------
        members, named
            By name, targets or what :func:`regraft.targets.load_target` loads one from; all of one modality.

        Raises
        ------
        UsageError
            For names that no output can bear, a name that is given twice, several modalities.
        DataError
            For a member without a labelled example to train on.
        """
        from regraft.targets.loading import load_target
        from regraft.targets.together import together

        twice = sorted(set(members or {}) & set(named))
        if twice:
            raise UsageError(f"two targets are called {twice[0]!r}; each needs a name of its own")
        given = {**(members or {}), **named}
        return together({name: load_target(data) for name, data in given.items()})

    @classmethod
    def from_images(cls, folder: str | Path, *, tasks: Tasks = None, drop_rare: bool = False) -> Target:
        """Class folders of images; or ``train/ val/ test/`` with class folders."""
        from regraft.targets.images import from_images

        return from_images(folder, tasks=tasks, drop_rare=drop_rare)

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        label: str | Sequence[str] | None = None,
        image: str | None = None,
        text: str | None = None,
        group: str | None = None,
        split: str | None = None,
        tasks: Tasks = None,
        drop_rare: bool = False,
    ) -> Target:
        """A csv, tsv, parquet or jsonl file, or a data frame, with a column of image paths or of texts."""
        from regraft.targets.columns import TableColumns
        from regraft.targets.tables import from_table

        columns = TableColumns(label=label, image=image, text=text, group=group, split=split)
        return from_table(table, columns, tasks=tasks, drop_rare=drop_rare)

    @classmethod
    def from_arrays(
        cls, X: Any, y: Any, *, groups: Any = None, tasks: Tasks = None, drop_rare: bool = False
    ) -> Target:
        """Images ``(N, H, W[, C])`` of any number of channels, or a list of texts; labels as an array or a
        dict of arrays.
        """
        from regraft.targets.arrays import from_arrays

        return from_arrays(X, y, groups=groups, tasks=tasks, drop_rare=drop_rare)

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        *,
        label: str | Sequence[str] | None = None,
        image: str | None = None,
        text: str | None = None,
        group: str | None = None,
        split: str | None = None,
        tasks: Tasks = None,
        drop_rare: bool = False,
    ) -> Target:
        """A Hugging Face ``Dataset`` or ``DatasetDict``, or the folder that one was saved to."""
        from regraft.targets.columns import TableColumns
        from regraft.targets.datasets import from_dataset

        columns = TableColumns(label=label, image=image, text=text, group=group, split=split)
        return from_dataset(dataset, columns, tasks=tasks, drop_rare=drop_rare)
