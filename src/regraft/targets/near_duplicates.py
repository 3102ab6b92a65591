"""Near-duplicates: examples that are almost the same without being so byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from regraft.core.inputs import Inputs
from regraft.targets.image_inputs import ImageInputs
from regraft.targets.near_images import similar_images, thumbnail_of
from regraft.targets.near_texts import similar_texts
from regraft.targets.parts import POOL, TEST, VALIDATION, present
from regraft.targets.target import Target

_WORDS = {POOL: "pool", VALIDATION: "validation", TEST: "test"}
COLUMNS = ("item", "part", "twin", "part_of_twin", "likeness", "same_label")


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of a target's examples that are nearly the same.

    Attributes
    ----------
    pairs
        ``int64 (M, 2)``: indices of examples, the first below the second.
    likeness
        ``float64 (M,)``: 1 where nothing tells them apart.
    """

    pairs: np.ndarray
    likeness: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def across(self, target: Target) -> np.ndarray:
        """``bool``, for each example of ``target.test``: whether one of its twins can be trained on."""
        tested = target.part[self.pairs] == TEST
        torn = tested[:, 0] != tested[:, 1]
        return np.isin(target.test, self.pairs[torn][tested[torn]])

    def disagreeing(self, target: Target) -> int:
        """How many pairs outside the test part have labels of one output that differ."""
        return sum(self._agreement(target, row) is False for row in range(len(self)))

    def rows(self, target: Target) -> list[dict[str, Any]]:
        """Rows of ``near_duplicates.csv``, most alike first; of test examples no label is told."""
        names = target.examples.names
        rows = []
        for row in np.argsort(-self.likeness, kind="stable"):
            first, second = (int(index) for index in self.pairs[row])
            agree = self._agreement(target, int(row))
            rows.append(
                {
                    "item": names[first],
                    "part": _WORDS[int(target.part[first])],
                    "twin": names[second],
                    "part_of_twin": _WORDS[int(target.part[second])],
                    "likeness": f"{self.likeness[row]:.4f}",
                    "same_label": "" if agree is None else "yes" if agree else "no",
                }
            )
        return rows

    def _agreement(self, target: Target, row: int) -> bool | None:
        """Whether a pair's classes agree; None where one is sealed, or they share no output with classes."""
        pair = self.pairs[row]
        if (target.part[pair] == TEST).any():
            return None
        labels = target.labels(pair)
        # Two values of a regression are hardly ever the same, and no mistake for it.
        classes = [spec for spec in target.tasks if spec.kind != "regression"]
        known = [spec for spec in classes if present(spec.kind, labels[spec.name]).all()]
        if not known:
            return None
        return all(bool(np.array_equal(*labels[spec.name])) for spec in known)

    def sentences(self, target: Target) -> tuple[str, ...]:
        """What to say aloud; nothing where there is nothing to say."""
        said = []
        if count := int(self.across(target).sum()):
            have = "example has a near-duplicate" if count == 1 else "examples have near-duplicates"
            said.append(
                f"{count} test {have} among those that can be trained on: the figures may flatter. "
                "near_duplicates.csv names them, metrics.json has the figures without them; a column that "
                "--group names keeps what belongs together on one side."
            )
        if torn := self.disagreeing(target):
            said.append(
                f"{torn} pairs of near-duplicates outside the test part have different labels: look at "
                "them in near_duplicates.csv, one of each is likely wrong."
            )
        return tuple(said)


def near_duplicates(target: Target, inputs: Inputs) -> NearDuplicates:
    """The near-duplicates among a target's examples; copies byte for byte are not among them.

    Images are compared as the network reads them, texts as they are.
    """
    if isinstance(inputs, ImageInputs):
        small = [thumbnail_of(inputs.pixels[index]) for index in range(len(inputs))]
        pairs, likeness = similar_images(np.stack(small) if small else np.zeros((0, 1)))
    elif target.modality == "text":
        pairs, likeness = similar_texts(target.examples.raw(index) for index in range(len(target)))
    else:
        return NearDuplicates(np.zeros((0, 2), dtype=np.int64), np.zeros(0))
    contents = target.examples.hashes.codes()
    differ = contents[pairs[:, 0]] != contents[pairs[:, 1]]
    return NearDuplicates(pairs[differ], likeness[differ])
