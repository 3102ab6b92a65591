"""Whether a frozen prefix is a function of the example alone, so that what it gives can be kept.

It is not where a layer is random although frozen (dropout that its module keeps on, stochastic depth or noise
written into ``forward``), and not where a layer looks at the other examples of the batch (batch norm that
stays in train mode). Both are looked for in the modules' modes, in the network's graph where it has one (it
shows noise that few examples get), and by running a few real examples twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves

from regraft.core.errors import PlanError
from regraft.core.hashing import hash_tensors
from regraft.core.inputs import Batch
from regraft.core.randomness import torch_randomness
from regraft.sources import Trunk

_TOLERANCE = 1e-4
"""Relative difference that is one of last bits, as other examples in the batch make, not of another value."""


def impurity(trunk: Trunk, cut: int, batch: Batch) -> str | None:
    """Why what the first ``cut`` blocks give for an example cannot be kept, in words that follow "because";
    None where it can. The trunk is in ``eval()`` mode; ``batch`` holds a few different examples.
    """
    awake = _awake(trunk, cut)
    if awake:
        return f"{awake} stays in train mode"
    drawing = trunk.chance(cut=cut)
    if drawing:
        return drawing
    first, second = (_run(trunk, cut, batch, seed) for seed in (1, 2))
    if not _same(first, second):
        return f"{_random_layer(trunk, cut, batch) or 'a layer'} gives another value each time it is run"
    half = (len(first) + 1) // 2
    among_others = _run(trunk, cut, {name: _with_others(value, half) for name, value in batch.items()}, 1)
    if not _same(first[:half], among_others[:half], exactly=False):
        return "a layer looks at the other examples of the batch"
    return None


def _with_others(values: Tensor, half: int) -> Tensor:
    """The first ``half`` examples in a batch of the same size whose others are all the first one."""
    return torch.cat([values[:half], values[:1].expand(len(values) - half, *values.shape[1:])])


def _same(one: Tensor, other: Tensor, *, exactly: bool = True) -> bool:
    """Whether two values are equal: to the bit on a CPU, where equal runs give equal bits."""
    one, other = one.nan_to_num(), other.nan_to_num()
    if torch.equal(one, other):
        return True
    scale = float(one.abs().max()) or 1.0
    near = float((one - other).abs().max()) <= _TOLERANCE * scale
    return near and not (exactly and one.device.type == "cpu")


def _awake(trunk: Trunk, cut: int) -> str | None:
    """A random or batch-dependent module of the prefix that is in train mode in spite of ``eval()``."""
    names = set(trunk.block_names[:cut])
    for name, module in trunk.network.named_modules():
        if module.training and isinstance(module, _DropoutNd | nn.RReLU | _BatchNorm):
            try:
                if trunk.block_of(name) in names:
                    return f"{name} ({type(module).__name__})"
            except PlanError:
                continue
    return None


def _run(trunk: Trunk, cut: int, batch: Batch, seed: int) -> Tensor:
    with torch.inference_mode(), torch_randomness(seed, "purity"):
        value = trunk.prefix(batch, cut=cut)
        assert value is not None
        return value


def _random_layer(trunk: Trunk, cut: int, batch: Batch) -> str | None:
    """The innermost module that gives two values for one input, else the block that does."""
    seen = []
    for seed in (1, 2):
        with _watched(trunk.network) as calls:
            _run(trunk, cut, batch, seed)
        seen.append(calls)
    for (name, given, gave), (_, given_again, gave_again) in zip(*seen, strict=False):
        if given == given_again and gave != gave_again:
            kind = type(trunk.network.get_submodule(name)).__name__
            return f"{name} ({kind})" if name else _random_block(trunk, cut, batch)
    return _random_block(trunk, cut, batch)


def _random_block(trunk: Trunk, cut: int, batch: Batch) -> str | None:
    activation: Tensor | None = None
    for block in trunk.blocks[:cut]:
        values = []
        for seed in (1, 2):
            with torch.inference_mode(), torch_randomness(seed, "purity"):
                values.append(block.run(trunk.network, activation, batch))
        if not _same(*values):
            return f"the block {block.name}"
        activation = values[0]
    return None


@contextmanager
def _watched(network: nn.Module) -> Iterator[list[tuple[str, str, str]]]:
    """Every module's calls as they end: its name and the hashes of what it was given and gave."""
    calls: list[tuple[str, str, str]] = []

    def watch(name: str, module: nn.Module) -> Any:
        def note(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            calls.append((name, _hash((args, kwargs)), _hash(output)))

        return module.register_forward_hook(note, with_kwargs=True)

    handles = [watch(name, module) for name, module in network.named_modules()]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _hash(value: Any) -> str:
    tensors = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return hash_tensors({str(number): tensor for number, tensor in enumerate(tensors)})
