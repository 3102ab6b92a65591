"""Examples of a stream that reads other data than the run's own target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from regraft.core.inputs import Inputs
from regraft.tasks import Task


@dataclass(frozen=True, eq=False)
class StreamData:
    """Other data, prepared as the model reads them.

    Attributes
    ----------
    name
        The stream's.
    inputs
        Of all readable examples.
    contents
        Per example the hash of its content as it was found.
    labels
        By output, encoded as the run's own tasks encode theirs, or as ``tasks`` do; None for examples without
        labels.
    tasks
        Outputs of its own, by name; empty where it has the run's.
    fingerprint
        Hash over contents and labels of everything that was found.
    examples
        Ascending indices of those that may be read.
    """

    name: str
    inputs: Inputs = field(repr=False)
    contents: Sequence[str] = field(repr=False)
    labels: Mapping[str, np.ndarray] | None = field(repr=False)
    fingerprint: str
    examples: np.ndarray = field(repr=False)
    tasks: Mapping[str, Task] = field(default_factory=dict, repr=False)

    def labels_of(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """Labels of some examples, by output."""
        return {name: values[examples] for name, values in (self.labels or {}).items()}

    def without(self, contents: set[str]) -> StreamData:
        """The same data without the examples of these contents."""
        left = [index for index in self.examples.tolist() if self.contents[index] not in contents]
        return replace(self, examples=np.array(left, dtype=np.int64))
