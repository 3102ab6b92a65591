"""Proving that a cut network gives what it gives in one piece, to the bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regraft.core.inputs import Batch
from regraft.core.randomness import torch_generator
from regraft.sources.cutting.exporting import Whole
from regraft.sources.cutting.graphs import Graph
from regraft.sources.example import example_of

if TYPE_CHECKING:
    from regraft.core.preprocessing import Preprocessing

_PIECES, _LENGTH = 2, 12


def sample_of(graph: Graph, reads: Preprocessing | None, device: torch.device) -> dict[str, Tensor] | None:
    """Made-up inputs, as small as the graph allows; None where nothing is known about them."""
    if reads is None:
        return None
    example = example_of(reads)
    made = {
        name: _resized(example[name], shape).to(device)
        for name, shape in graph.exported.shapes.items()
        if name in example
    }
    fits = len(made) == len(graph.exported.shapes)
    return made if fits and graph.takes({name: tuple(one.shape) for name, one in made.items()}) else None


def _resized(example: Tensor, shape: tuple[object, ...]) -> Tensor:
    """An example with these lengths; a symbol stands for any."""
    free = (_PIECES, _LENGTH)
    lengths = [
        length if isinstance(length, int) else free[place] if place < 2 else example.shape[place]
        for place, length in enumerate(shape)
    ]
    if example.is_floating_point():
        generator = torch_generator(0, "prove a cut")
        return torch.randn(lengths, generator=generator, dtype=example.dtype)
    repeats = [-(-length // there) for length, there in zip(lengths, example.shape, strict=True)]
    return example.repeat(repeats)[tuple(slice(0, length) for length in lengths)].contiguous()


def gives_the_same(graph: Graph, network: nn.Module, whole: Whole, sample: Batch) -> bool:
    """Whether all blocks one after the other, in the modes that the network is in, give what it gives.

    Buffers that it writes must be equal as well; all are put back.
    """
    before = {name: buffer.detach().clone() for name, buffer in network.named_buffers()}
    with torch.no_grad(), _same_chance(sample):
        try:
            torch.manual_seed(0)
            expected = whole(network, None, sample)
            written = {name: buffer.detach().clone() for name, buffer in network.named_buffers()}
            _put_back(network, before)
            torch.manual_seed(0)
            found = _in_steps(graph, network, sample)
            same = {name: _equal(buffer, written[name]) for name, buffer in network.named_buffers()}
        finally:
            _put_back(network, before)
    return _equal(found, expected) and all(same.values())


def _in_steps(graph: Graph, network: nn.Module, sample: Batch) -> Tensor:
    """Through every place that can be cut in these modes."""
    places = [0, *(number for number in range(1, len(graph.places)) if graph.cuts(number)), len(graph.places)]
    value: Tensor | None = None
    for start, stop in itertools.pairwise(places):
        value = graph.segment(start, stop, ()).run(network, value, sample)
    assert value is not None
    return value


@contextmanager
def _same_chance(sample: Batch) -> Iterator[None]:
    """Inside, random numbers may be drawn at will."""
    devices = {one.device.index or 0 for one in sample.values() if one.device.type == "cuda"}
    with torch.random.fork_rng(sorted(devices)):
        yield


def _put_back(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, buffer in network.named_buffers():
        if not _equal(buffer, values[name]):
            buffer.copy_(values[name])


def _equal(one: Tensor, other: Tensor) -> bool:
    """Equal to the bit; what is not a number equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.nan_to_num(), other.nan_to_num()) and torch.equal(one.isnan(), other.isnan())
