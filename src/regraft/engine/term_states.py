"""Term states: what terms remember from one step to the next, as a queue of keys.

While a step is computed, its terms say by slice what it leaves for their states; only when the step is taken
do these change, by all that the whole batch left, in its order. So a step that is tried, computed again in
smaller slices, or not taken leaves nothing behind, and slices and processes make no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.engine.processes.group import Processes
from regraft.terms import Term

Rows = Mapping[str, Tensor]
"""By name, a row for each example of a slice."""


class TermStates:
    """The states of a stage's terms.

    Parameters
    ----------
    terms
        In the plan's order; those without a state are passed over.
    """

    def __init__(self, terms: Sequence[Term], processes: Processes, device: torch.device):
        self.terms, self.processes, self.device = tuple(terms), processes, device
        self._left: dict[tuple[int, int], list[Rows]] = {}

    def clear(self) -> None:
        """Forget what the step left so far."""
        self._left.clear()

    def note(self, term: int, batch: int, left: Rows) -> None:
        """What a slice of a batch left for the state of the term with this number."""
        if self.terms[term].state:
            self._left.setdefault((term, batch), []).append(left)

    def follow(self, batches: Iterable[int]) -> None:
        """The step over these batches was taken: change the states; called by all processes at once."""
        steps = tuple(batches)
        for number, term in enumerate(self.terms):
            if not term.state:
                continue
            whole = [self._whole(self._left.get((number, batch), [])) for batch in steps]
            left = _joined([one for one in whole if one])
            if left:
                term.state = term.after_step(left)
        self.clear()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        return {
            f"{number}.{name}": value
            for number, term in enumerate(self.terms)
            for name, value in term.state.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave."""
        for number, term in enumerate(self.terms):
            term.state = {name: tensors[f"{number}.{name}"].to(self.device, copy=True) for name in term.state}

    def _whole(self, slices: Sequence[Rows]) -> dict[str, Tensor]:
        """What the slices of all processes left, in the order of the batch."""
        own = _joined(slices)
        if not self.processes.many:
            return own
        said = self.processes.collect({name: [str(v.dtype), *v.shape[1:]] for name, v in own.items()})
        outline: dict[str, list[Any]] = next((one for one in said if one), {})
        arrays = {name: _array(own.get(name), *shape) for name, shape in outline.items()}
        joined = self.processes.join(arrays)
        return {name: torch.from_numpy(rows).to(self.device) for name, rows in joined.items()}


def _joined(parts: Sequence[Rows]) -> dict[str, Tensor]:
    """Rows of one part after the other."""
    return {name: torch.cat([part[name] for part in parts]) for name in (parts[0] if parts else ())}


def _array(rows: Tensor | None, dtype: str, *shape: int) -> np.ndarray:
    """Rows as an array; none of that type and shape where a process has no share of a short batch."""
    if rows is None:
        rows = torch.empty((0, *shape), dtype=getattr(torch, dtype.removeprefix("torch.")))
    return np.asarray(rows.detach().cpu().numpy())
