"""The labelled examples on which sources are compared: nested subsets of the pool, classes in proportion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from regraft.core.console import say
from regraft.core.errors import DataError, SourceError
from regraft.core.preprocessing import Preprocessing
from regraft.core.task_spec import TaskSpec
from regraft.targets import Prepared, Target, prepare
from regraft.targets.parts import units_of
from regraft.tasks import Task, make_task

_FEWEST = 2
_FEWEST_GROUPS = 48  # below which one example of each would say too little


@dataclass(frozen=True, eq=False)
class Sample:
    """Labelled examples of a target's pool; the test part is never among them.

    Attributes
    ----------
    target
        The whole target.
    spec
        The output that sources are compared on.
    seed
        Decides the order in which examples are taken.
    indices
        ``int64 (N,)``, ascending: the examples taken.
    """

    target: Target
    spec: TaskSpec
    seed: int
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> np.ndarray:
        """Of the output, in the order of ``indices``; raises SealedError for a test example."""
        return self.target.labels(self.indices)[self.spec.name]

    @property
    def task(self) -> Task:
        """The output's task, fitted to these labels."""
        return make_task(self.spec).fitted(self.labels)

    def within(self, count: int) -> np.ndarray:
        """Places, among these examples, of those that a smaller sample of ``count`` takes."""
        smaller = draw_sample(self.target, self.spec, count, seed=self.seed)
        return np.flatnonzero(np.isin(self.indices, smaller.indices))

    def read_by(self, preprocessing: Preprocessing) -> tuple[Prepared, np.ndarray]:
        """The examples as a network reads them, and the places of those that can be read.

        Classes are not counted here: of a few examples some classes have one.
        """
        few = self.target.select(self.indices)
        # Numbered as groups, because those stay with the examples that turn out readable.
        bare = replace(few, tasks=(), unreadable=(), groups=np.arange(len(few), dtype=np.int64))
        prepared = prepare(bare, preprocessing, max_unreadable=1.0)
        assert prepared.target.groups is not None
        return prepared, prepared.target.groups

    def readable(self, preprocessing: Preprocessing) -> Sample:
        """Without the examples that cannot be read, which is said; raises DataError for too few."""
        _, places = self.read_by(preprocessing)
        lost = len(self) - len(places)
        if lost:
            say(f"{lost} of {len(self)} examples cannot be read and are left out of the ranking.")
        return _checked(replace(self, indices=self.indices[places]))


def draw_sample(target: Target, spec: TaskSpec, count: int, *, seed: int) -> Sample:
    """The first ``count`` labelled examples of the pool in the order of ``seed``: every smaller sample of one
    seed lies within every larger one.

    Examples of one group, and copies, would stand on both sides where some are learned from and others judge:
    of each group one is taken, unless there are too few groups, which is said.

    Raises :class:`DataError` where fewer than two have a label.
    """
    known = make_task(spec).present(target.labels(target.pool)[spec.name])
    labelled = _checked(Sample(target, spec, seed, target.pool[known])).indices
    single = _one_of_each(target, labelled)
    alone = replace(target, tasks=(spec,), members=()).select(single)
    drawn = alone.draw(seed, train_size=min(count, len(single)), validation=0.0)
    return Sample(target, spec, seed, single[np.sort(np.concatenate([drawn.train, drawn.validation]))])


def _one_of_each(target: Target, indices: np.ndarray) -> np.ndarray:
    """One example of each group or content; all where that leaves too few."""
    units = units_of(target.examples.hashes, target.groups)[indices]
    single = np.sort(indices[np.unique(units, return_index=True)[1]])
    if len(single) >= min(_FEWEST_GROUPS, len(indices)):
        return single
    say(
        f"{len(indices)} labelled examples are of {len(single)} groups only: those of one group are learned "
        "from and judged by in this ranking, and what it predicts may be too good."
    )
    return indices


def _checked(sample: Sample) -> Sample:
    if len(sample) < _FEWEST:
        raise DataError(
            f"{len(sample)} examples outside the test part have a readable label of {sample.spec.name!r}; "
            f"sources are compared on {_FEWEST} or more: label more examples"
        )
    return sample


def check_aligned(sample: Sample, places: np.ndarray, name: str) -> None:
    """Raise ``SourceError`` where a source reads other examples than the others do."""
    if len(places) != len(sample):
        raise SourceError(
            f"{name} cannot read {len(sample) - len(places)} of {len(sample)} examples that others can"
        )
