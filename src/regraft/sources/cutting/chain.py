"""Chain: the blocks of a network that nobody wrote down, found when they are first asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regraft.core.console import say
from regraft.core.errors import PlanError
from regraft.core.inputs import Batch
from regraft.sources.cutting.boundaries import run_modules
from regraft.sources.cutting.description import describe_network
from regraft.sources.cutting.exporting import ExportError, Shapes, Whole, device_of
from regraft.sources.cutting.finding import find_modules, find_outline
from regraft.sources.cutting.graphs import Call, Graph, Shelf
from regraft.sources.cutting.outline import Outline
from regraft.sources.cutting.proving import gives_the_same, sample_of
from regraft.sources.example import example_of

if TYPE_CHECKING:
    from regraft.core.preprocessing import Preprocessing

_KEPT = 64
_outlines: OrderedDict[Hashable, Outline] = OrderedDict()
_graphs = Shelf()


class FoundChain:
    """A network's blocks, found from its graph, else from its modules.

    It holds neither the network nor a graph of it: both are handed over, or looked up by what they are.

    Parameters
    ----------
    whole
        Runs the network in one piece.
    reads
        What an example of its inputs goes through; without it nothing can be found.
    """

    # What is remembered for speed is no part of what a chain is, which others hash.
    __slots__ = ("__dict__", "_held", "_known")

    def __init__(self, whole: Whole, reads: Preprocessing | None = None):
        self.whole, self.reads = whole, reads
        self._known: tuple[Hashable, Outline] | None = None
        self._held: Outline | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> FoundChain:
        return FoundChain(self.whole, self.reads)

    def outline(self, network: nn.Module) -> Outline:
        """The network's blocks: the same for every mode, shape and process, with weights or without."""
        if self._held is not None:
            return self._held
        # Asked once for each parameter, and describing a network takes milliseconds.
        quick = (tuple(id(module) for module in network.modules()), self.reads)
        if self._known is None or self._known[0] != quick:
            key = (describe_network(network), _recipe(self.whole), self.reads)
            if key not in _outlines:
                self._keep(key, find_outline(network, self.whole, self.reads))
            _outlines.move_to_end(key)
            self._known = (quick, _outlines[key])
        return self._known[1]

    def hold(self, network: nn.Module) -> None:
        """Keep the blocks of now, whatever is changed inside them, until they are released."""
        self._held = self.outline(network)

    def release(self) -> None:
        """Look for the blocks of the network as it is again."""
        self._held = None

    def prove(self, network: nn.Module) -> Outline:
        """The blocks, after they were compared once with the network in one piece, on an example.

        Where they do not give the same to the bit, others are looked for, aloud. A skeleton is not run.
        """
        outline = self.outline(network)
        with steady_attention():
            return self._prove(network, outline)

    def _prove(self, network: nn.Module, outline: Outline) -> Outline:
        has_values = not any(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])
        if outline.how == "graph" and has_values and self.reads is not None:
            device = device_of(network)
            example = {name: one.to(device) for name, one in example_of(self.reads).items()}
            if self._graph(network, outline, 0, None, example) is None:
                return self.outline(network)
        return outline

    def run(
        self, network: nn.Module, start: int, stop: int, activation: Tensor | None, inputs: Batch
    ) -> Tensor:
        """The blocks from number ``start`` up to ``stop``, exactly as the network in one piece runs them."""
        outline = self.outline(network)
        if start == 0 and stop == len(outline.parts):
            return self.forward(network, inputs)
        with steady_attention():
            return self._run(outline, network, start, stop, activation, inputs)

    def forward(self, network: nn.Module, inputs: Batch) -> Tensor:
        """The network in one piece: the module itself."""
        with steady_attention():
            return self.whole(network, None, inputs)

    def _run(
        self,
        outline: Outline,
        network: nn.Module,
        start: int,
        stop: int,
        activation: Tensor | None,
        inputs: Batch,
    ) -> Tensor:
        graph = self._graph(network, outline, start, activation, inputs) if outline.how == "graph" else None
        if graph is None:
            found = self.outline(network)
            self._check_same(outline, found)
            return run_modules(network, self.whole, found.parts, start, stop, activation, inputs)
        segment = graph.segment(start, stop, [part.name for part in outline.parts])
        return segment.run(network, activation, inputs)

    def finish(self, network: nn.Module, start: int, activation: Tensor, inputs: Batch) -> Tensor:
        """All blocks from number ``start`` on."""
        count = len(self.outline(network).parts)
        return activation if start >= count else self.run(network, start, count, activation, inputs)

    def _keep(self, key: Hashable, outline: Outline) -> None:
        _outlines[key] = outline
        while len(_outlines) > _KEPT:
            _outlines.popitem(last=False)

    def _graph(
        self, network: nn.Module, outline: Outline, start: int, activation: Tensor | None, inputs: Batch
    ) -> Graph | None:
        """The network's graph, proven on an example; None where its modules are cut from now on."""
        try:
            call = Call(network, self.whole, outline, start, activation, inputs, self._shapes)
            graph = _graphs.find(call)
            if graph.checked or torch.compiler.is_exporting():
                return graph
            sample = sample_of(graph, self.reads, device_of(network)) or dict(inputs)
            graph.checked = gives_the_same(graph, network, self.whole, sample)
            if graph.checked:
                return graph
            reason = "cut by its graph it does not give the same bits"
        except ExportError as error:
            reason = f"as it is now it does not export ({error})"
        self._fall_back(network, reason)
        return None

    def _fall_back(self, network: nn.Module, reason: str) -> None:
        found = find_modules(network, self.whole, self.reads, reason)
        self._keep((describe_network(network), _recipe(self.whole), self.reads), found)
        self._known = None
        if self._held is not None:
            self._held = found
        count = len(found.parts)
        kind = f"cut between its modules, into {count} blocks" if count > 1 else "not cut at all"
        say(f"{type(network).__name__}: {reason}; it is {kind}.")

    def _check_same(self, before: Outline, found: Outline) -> None:
        names = [part.name for part in found.parts]
        if names != [part.name for part in before.parts]:
            raise PlanError(
                f"the network's blocks are others than they seemed, because {found.reason}. They are "
                f"{', '.join(names)}; name one of these as frozen_prefix"
            )

    def _shapes(self) -> Shapes:
        if self.reads is None:
            return {}
        return {name: (tuple(one.shape), one.dtype) for name, one in example_of(self.reads).items()}


@contextmanager
def steady_attention() -> Iterator[None]:
    """Inside, torch's own attention computes without gradients what it computes with them.

    Its shortcut for ``eval`` mode gives other last bits, and no export follows it.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _recipe(whole: Whole) -> Hashable:
    """What tells two ways of running a network apart."""
    if isinstance(whole, partial):
        return (whole.func, whole.args, tuple(sorted(whole.keywords.items())))
    return whole
