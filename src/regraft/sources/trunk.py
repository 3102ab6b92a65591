"""Trunk: a source's network as an ordered chain of named blocks that can be cut between any two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.inputs import Batch

Run = Callable[[nn.Module, Tensor | None, Batch], Tensor]


@dataclass(frozen=True)
class Block:
    """One step of the chain.

    Parameters
    ----------
    name
        What a person calls it: ``stem``, ``blocks.3``, ``pool``.
    run
        ``run(network, activation, inputs) -> activation``. The first block gets None as activation. Masks and
        other functions of ``inputs`` are recomputed here, so that one activation is all that a cut carries.
    owns
        Prefixes of the names of ``network``'s submodules whose parameters and buffers belong to this block.
    """

    name: str
    run: Run
    owns: tuple[str, ...] = ()


class Trunk(nn.Module):
    """A network without its head: ``forward(inputs)`` gives pooled features ``Float[Tensor, "pieces
    width"]``.

    ``network`` keeps the source's own module, so parameter names are the source's own. Running the blocks one
    after the other *is* the forward pass; a cut is therefore exact.

    Parameters
    ----------
    network
        The source's own module, its head taken off.
    blocks
        The chain.
    width
        Number of pooled features.
    passing
        Outputs that the chain passes on its way to the pooled one: the name (``map``, ``tokens``) and the
        block after which the activation is that output.
    """

    def __init__(
        self,
        network: nn.Module,
        blocks: Sequence[Block],
        width: int,
        *,
        passing: Mapping[str, str] | None = None,
    ):
        super().__init__()
        self.network = network
        self.blocks = tuple(blocks)
        self.width = width
        self.passing = dict(passing or {})

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the network can give: ``pooled`` and what the chain passes on its way there."""
        return ("pooled", *self.passing)

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks, stem to head."""
        return tuple(block.name for block in self.blocks)

    def forward(self, inputs: Batch) -> Tensor:
        """Pooled features of every piece."""
        return self.suffix(None, inputs, cut=0)

    def prefix(self, inputs: Batch, *, cut: int) -> Tensor | None:
        """The activation after the first ``cut`` blocks; None for ``cut`` 0."""
        activation = None
        for block in self.blocks[:cut]:
            activation = block.run(self.network, activation, inputs)
        return activation

    def suffix(self, activation: Tensor | None, inputs: Batch, *, cut: int) -> Tensor:
        """Pooled features from the activation after the first ``cut`` blocks."""
        for block in self.blocks[cut:]:
            activation = block.run(self.network, activation, inputs)
        assert activation is not None
        return activation

    def output(self, inputs: Batch, name: str) -> Tensor:
        """One of :attr:`outputs`.

        ``pooled`` is ``(pieces, width)``, ``map`` ``(pieces, channels, height, width)``, ``tokens``
        ``(pieces, length, width)``.
        """
        if name == "pooled":
            return self.forward(inputs)
        if name not in self.passing:
            raise PlanError(f"the source gives {', '.join(self.outputs)}, not {name!r}")
        activation = self.prefix(inputs, cut=self.cut_after(self.passing[name]))
        assert activation is not None
        return activation

    def cut_after(self, name: str) -> int:
        """Number of blocks up to and with the block called ``name``."""
        if name not in self.block_names:
            raise PlanError(f"there is no block {name!r}; the blocks are {', '.join(self.block_names)}")
        return self.block_names.index(name) + 1

    def block_of(self, parameter: str) -> str:
        """The block that owns a parameter or buffer, named as in ``network``; the longest prefix wins."""
        best, best_length = "", -1
        for block in self.blocks:
            for prefix in block.owns:
                inside = prefix == "" or parameter == prefix or parameter.startswith(prefix + ".")
                if inside and len(prefix) > best_length:
                    best, best_length = block.name, len(prefix)
        if not best:
            raise PlanError(f"no block owns the parameter {parameter!r}")
        return best
