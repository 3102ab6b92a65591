"""Cut: which values of the two networks are compared: their outputs, or what enters a head that is new."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regraft.linking.network import Call, Network, outputs_of
from regraft.linking.proving.compare import relative_difference
from regraft.linking.proving.pairing import Places, keep_unmasked
from regraft.linking.proving.watching import Run, Step
from regraft.linking.row import Row


@dataclass(frozen=True)
class Cut:
    """Which values are compared.

    Attributes
    ----------
    head
        The target's last module where what it gives says nothing: what enters it is compared instead. Empty
        where the outputs are.
    free
        The outputs that do not depend on that head.
    native
        The source's last module where nothing of the target has its tensors; empty where there is none.
    new
        Whether the tensors of ``head`` are new, or it is the source's own and gives the same for every input.
    """

    head: str = ""
    free: tuple[int, ...] = ()
    native: str = ""
    new: bool = True

    def ours(self, run: Run) -> list[Tensor]:
        """The target's values."""
        if not self.head:
            return list(run.outputs)
        return [*_entering(run, self.head), *(run.outputs[place] for place in self.free)]

    def theirs(self, run: Run) -> list[list[Tensor]]:
        """The source's values: each list is a candidate."""
        outputs = list(run.outputs)
        before = _entering(run, self.native) if self.native else []
        return [[*before, *outputs], outputs] if before else [outputs]


def difference_of(
    ours: Sequence[Tensor], candidates: Sequence[Sequence[Tensor]], mask: Tensor | None
) -> float:
    """The relative difference to the candidate that is nearest; infinite where none has the same shapes."""
    mine = [keep_unmasked(tensor, mask) for tensor in ours]
    found = [_distance(mine, [keep_unmasked(one, mask) for one in theirs]) for theirs in candidates]
    return min(found, default=math.inf)


def _distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Each of ours against the next of theirs of its shape: the source may give more than the target."""
    rest = iter(theirs)
    worst = 0.0 if ours else math.inf
    for mine in ours:
        other = next((one for one in rest if one.shape == mine.shape), None)
        worst = math.inf if other is None else max(worst, relative_difference(mine, other))
    return worst


def find_cut(
    source: Run, target: Run, network: Network, call: Call, places: Places, rows: Mapping[str, Row]
) -> Cut:
    """Where a target and its source can be compared; ``rows`` by the names of the target's network."""
    last = target.steps[-1] if target.steps else None
    head = last if last is not None and _is_head(last) and _is_new(last, rows) else None
    used = {
        origin
        for step in target.steps
        if step is not head
        for name in step.names
        for origin in places.get(name, ())
    }
    final = source.steps[-1] if source.steps else None
    own = final is not None and _is_head(final) and not used & set(final.names)
    return Cut(
        head.path if head else "",
        _free_outputs(network, call, target, head.path) if head else (),
        final.path if final is not None and own else "",
    )


def _is_head(step: Step) -> bool:
    """A linear layer or a convolution that is run once: not a norm."""
    return step.entering is not None and step.time == 0 and not any("running" in name for name in step.names)


def _is_new(step: Step, rows: Mapping[str, Row]) -> bool:
    own = [rows[name] for name in step.names if name in rows]
    if not any(len(row.target_shape) >= 2 for row in own):
        return False
    return any(not row.carried or _picks_rows(row) for row in own)


def _picks_rows(row: Row) -> bool:
    return row.recipe is not None and any(step.name == "rows" for step in row.recipe.steps)


def _free_outputs(network: Network, call: Call, run: Run, head: str) -> tuple[int, ...]:
    """The outputs that stay the same when the head gives zeros."""

    def hook(module: nn.Module, args: object, given: object) -> object:
        return torch.zeros_like(given) if isinstance(given, Tensor) else given

    handle = network.module.get_submodule(head).register_forward_hook(hook)
    try:
        with torch.no_grad():
            silenced = outputs_of(network.module(*call.args, **call.kwargs))
    finally:
        handle.remove()
    if len(silenced) != len(run.outputs):
        return ()
    return tuple(
        place
        for place, (one, other) in enumerate(zip(run.outputs, silenced, strict=True))
        if relative_difference(other, one) <= 1e-7 and bool(one.any())
    )


def _entering(run: Run, path: str) -> list[Tensor]:
    step = next((step for step in run.steps if step.path == path), None)
    if step is None or step.entering is None:
        return []
    tensor = step.entering
    pooled = tensor.ndim > 2 and tensor.numel() == tensor.shape[0] * max(tensor.shape[1:])
    return [tensor.flatten(1) if pooled else tensor]
