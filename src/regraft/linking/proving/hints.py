"""Hints: causes that are named and not mended, because no number of the target could be set."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor

from regraft.linking.proving.bench import Bench, Comparison
from regraft.linking.proving.compare import relative_difference
from regraft.linking.proving.doubts import find_random

_SCALES = re.compile(r"(^|[._])(gamma(_\d)?|ls\d|layer_?scale\d?|lambda\d?|lambda_\d)([._]|$)")
_NORMS = re.compile(r"(^|[._])(norm|ln|layer_?norm|final_norm|ln_f|post_?layer_?norm|fc_norm)([._]|$)", re.I)


def name_causes(bench: Bench, left: Comparison) -> tuple[str, ...]:
    """What else could be the reason of the difference that is left."""
    if left.difference <= bench.tolerance:
        return ()
    return (
        *_fresh_tensors(bench),
        *_layer_scale(bench),
        *_final_norm(bench, left),
        *_input_normalisation(bench, left),
        *_pooling(bench, left),
        *_randomness(bench),
    )


def _fresh_tensors(bench: Bench) -> Iterator[str]:
    head = bench.cut.head
    fresh = [
        name
        for name, row in bench.rows.items()
        if not row.carried and not (head and name.startswith(head + ".")) and "num_batches" not in name
    ]
    if fresh:
        listed = ", ".join(fresh[:4]) + (", .." if len(fresh) > 4 else "")
        yield f"{len(fresh)} tensors of the target start fresh: {listed}"


def _layer_scale(bench: Bench) -> Iterator[str]:
    shapes = bench.link.origin.weights()
    theirs = [name for name in bench.link.unused if _SCALES.search(name) and len(shapes.shape(name)) <= 3]
    ours = [name for name, row in bench.rows.items() if not row.carried and _SCALES.search(name)]
    if theirs:
        yield f"layer-scale in the source only: nothing takes {theirs[0]} ({len(theirs)} tensors)"
    if ours:
        yield f"layer-scale in the target only: {ours[0]} starts fresh ({len(ours)} tensors)"


def _final_norm(bench: Bench, left: Comparison) -> Iterator[str]:
    """Everything that has a counterpart agrees, and one side has a norm more."""
    if left.first is not None and left.depth < len(left.pairs) - 1:
        return
    theirs = [name for name in bench.link.unused if _is_norm(name)]
    ours = [name for name, row in bench.rows.items() if not row.carried and _is_norm(name)]
    if theirs and not ours:
        yield f"final norm: the source has {theirs[0]}, the target has none"
    if ours and not theirs:
        yield f"final norm: the target has {ours[0]}, the source has none"


def _is_norm(name: str) -> bool:
    return bool(_NORMS.search(name)) and name.count(".") <= 3


def _input_normalisation(bench: Bench, left: Comparison) -> Iterator[str]:
    """Whether both first layers read the same but for a scale and a shift by channel."""
    if left.first is None or left.depth > 0 or left.first.entering is None:
        return
    ours, theirs = left.first.target.entering, left.first.source.entering
    if ours is None or theirs is None or ours.shape != theirs.shape or left.first.entering <= bench.tolerance:
        return
    channels = 1 if ours.ndim == 4 else ours.ndim - 1
    x, y = (one.double().movedim(channels, 0).flatten(1) for one in (ours, theirs))
    spread = x.var(dim=1, correction=0)
    factor = ((x - x.mean(1, keepdim=True)) * (y - y.mean(1, keepdim=True))).mean(1) / spread.clamp_min(1e-30)
    shift = y.mean(1) - factor * x.mean(1)
    if relative_difference(x * factor[:, None] + shift[:, None], y) <= max(bench.tolerance, 1e-5):
        yield (
            "input normalisation: what enters the source's first layer is what enters the target's times "
            f"{_numbers(factor)} plus {_numbers(shift)}, by channel"
        )


def _numbers(values: Tensor) -> str:
    return " ".join(f"{value:.4g}" for value in values[:4].tolist()) + (" .." if len(values) > 4 else "")


def _pooling(bench: Bench, left: Comparison) -> Iterator[str]:
    """Everything agrees up to the last layers: how do the two make one vector of many?"""
    ours, theirs = bench.values(bench.calls[0])
    mine = _name_pooling(bench, ours)
    other = next((name for one in theirs if (name := _name_pooling(bench, one))), "")
    if mine and other and mine != other:
        yield f"pooling: {other} in the source, {mine} in the target"


def _name_pooling(bench: Bench, values: list[Tensor]) -> str:
    """How a vector comes about from what leaves one of the source's last steps."""
    for step in reversed(bench.run.steps[-4:]):
        if step.leaving is None or step.leaving.ndim not in (3, 4):
            continue
        for name, pooled in _poolings(step.leaving):
            if any(relative_difference(value, pooled) <= 1e-4 for value in values if value.ndim == 2):
                return name
    return ""


def _poolings(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if tensor.ndim == 4:
        yield "mean over the map", tensor.mean((2, 3))
        yield "largest of the map", tensor.amax((2, 3))
        return
    yield "class token", tensor[:, 0]
    yield "mean of the tokens", tensor.mean(1)
    yield "mean of the tokens but the first", tensor[:, 1:].mean(1)
    yield "last token", tensor[:, -1]
    yield "largest of the tokens", tensor.amax(1)


def _randomness(bench: Bench) -> Iterator[str]:
    for side in find_random(bench):
        yield f"the {side} gives other values each time: dropout or stochastic depth is left on"
