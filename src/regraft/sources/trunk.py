"""Trunk: a source's network as an ordered chain of named blocks that can be cut between any two."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.inputs import Batch
from regraft.sources.added import ADAPTER, AddedLayers
from regraft.sources.cutting.chain import FoundChain

if TYPE_CHECKING:
    from regraft.core.preprocessing import Preprocessing

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

    ``network`` keeps the source's own module, so parameter names are the source's own. Where the chain is
    written down, running its blocks one after the other *is* the forward pass; where it is found, the module
    itself is, and a cut that does not give the same bits is refused. A cut is therefore exact.

    Parameters
    ----------
    network
        The source's own module, its head taken off.
    blocks
        The chain; or how the network is run in one piece: then its blocks are found when they are first
        asked for (``sources/cutting``).
    width
        Number of pooled features.
    passing
        Outputs that a chain that is written down passes on its way to the pooled one: the name (``map``,
        ``tokens``) and the block after which the activation is that output.
    reads
        What the network's inputs go through: of use where the chain has to be found.

    Attributes
    ----------
    added
        Layers that runs added to what the network's builder builds.
    """

    def __init__(
        self,
        network: nn.Module,
        blocks: Sequence[Block] | Run,
        width: int,
        *,
        passing: Mapping[str, str] | None = None,
        reads: Preprocessing | None = None,
    ):
        super().__init__()
        self.network = network
        self.width = width
        self._found = FoundChain(blocks, reads) if callable(blocks) else None
        self._written: Sequence[Block] = () if callable(blocks) else tuple(blocks)
        self._passing = dict(passing or {})
        self.added: tuple[AddedLayers, ...] = ()

    def add(self, layers: AddedLayers) -> None:
        """Add layers to the network."""
        layers.put_into(self.network)
        self.added = (*self.added, layers)

    def added_by(self, parameter: str) -> str | None:
        """The kind of added layers that a parameter, named as in ``network``, belongs to."""
        place, inside, _ = parameter.rpartition(f".{ADAPTER}.")
        return next((one.kind for one in self.added if inside and place in one.places), None)

    def reading(self, steps: Preprocessing) -> Trunk:
        """The trunk, told what its inputs look like."""
        if self._found is not None:
            self._found.reads = steps
        return self

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The chain, stem to head; a single block where the network cannot be cut."""
        if self._found is None:
            return tuple(self._written)
        parts = self._found.outline(self.network).parts
        return tuple(
            Block(part.name, partial(_run_found, self._found, number), part.owns)
            for number, part in enumerate(parts)
        )

    def hold_blocks(self) -> None:
        """Keep the blocks as they are now while layers inside them are changed, until they are released."""
        if self._found is not None:
            self._found.hold(self.network)

    def release_blocks(self) -> None:
        """Let the blocks be those of the network as it is again."""
        if self._found is not None:
            self._found.release()

    @property
    def uncut_reason(self) -> str:
        """Why the network cannot be cut, in a sentence; empty where it can."""
        if self._found is None:
            return ""
        outline = self._found.outline(self.network)
        return outline.reason if len(outline.parts) == 1 else ""

    @property
    def passing(self) -> dict[str, str]:
        """Outputs that the chain passes: the name and the block after which the activation is that output."""
        if self._found is None:
            return self._passing
        return dict(self._found.outline(self.network).passing)

    @property
    def users(self) -> dict[str, frozenset[str]]:
        """Path of a module without parameters and buffers to the blocks that run it: a dropout may stand in
        several, and has one mode. Empty where the chain is written down, or where that is not known.
        """
        if self._found is None:
            return {}
        outline = self._found.outline(self.network)
        names = [part.name for part in outline.parts]
        return {path: frozenset(names[n] for n in users) for path, users in outline.users.items()}

    def chance(self, *, cut: int) -> str | None:
        """What draws random numbers in the first ``cut`` blocks although they are in ``eval`` mode, in words.

        None where nothing does, and where there is no graph that shows it.
        """
        found = {} if self._found is None else self._found.outline(self.network).chance
        return next((found[number] for number in sorted(found) if number < cut), None)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the network can give: ``pooled`` and what the chain passes on its way there."""
        return ("pooled", *self.passing)

    @property
    def stated_outputs(self) -> tuple[str, ...]:
        """Those of :attr:`outputs` that are known without looking for a chain, which takes seconds."""
        return ("pooled", *self._passing)

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks, stem to head."""
        if self._found is None:
            return tuple(block.name for block in self._written)
        return tuple(part.name for part in self._found.outline(self.network).parts)

    def forward(self, inputs: Batch) -> Tensor:
        """Pooled features of every piece."""
        if self._found is not None:
            return self._found.forward(self.network, inputs)
        return self.suffix(None, inputs, cut=0)

    def prefix(self, inputs: Batch, *, cut: int) -> Tensor | None:
        """The activation after the first ``cut`` blocks; None for ``cut`` 0."""
        if self._found is not None:
            return self._found.run(self.network, 0, cut, None, inputs) if cut else None
        activation = None
        for block in self._written[:cut]:
            activation = block.run(self.network, activation, inputs)
        return activation

    def between(self, activation: Tensor | None, inputs: Batch, *, start: int, stop: int) -> Tensor:
        """The activation after the first ``stop`` blocks, from that after the first ``start``."""
        if self._found is not None and start < stop:
            return self._found.run(self.network, start, stop, activation, inputs)
        for block in self._written[start:stop]:
            activation = block.run(self.network, activation, inputs)
        assert activation is not None
        return activation

    def suffix(self, activation: Tensor | None, inputs: Batch, *, cut: int) -> Tensor:
        """Pooled features from the activation after the first ``cut`` blocks."""
        if self._found is not None and cut == 0:
            return self._found.forward(self.network, inputs)
        if self._found is not None:
            assert activation is not None
            return self._found.finish(self.network, cut, activation, inputs)
        for block in self._written[cut:]:
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
        """Number of blocks up to and with the block called ``name``.

        A chain that was found is compared with the network in one piece first, where it has its weights.
        """
        if self._found is not None:
            self._found.prove(self.network)
        names = self.block_names
        if name in names:
            return names.index(name) + 1
        if self.uncut_reason:
            raise PlanError(
                f"there is no block {name!r}: this network cannot be cut, because {self.uncut_reason}. Leave "
                "frozen_prefix out and freeze by names of parameters (trainable=..), or build the network as "
                "an nn.Sequential of its stages"
            )
        raise PlanError(f"there is no block {name!r}; the blocks are {', '.join(fold_names(names))}")

    def block_of(self, parameter: str) -> str:
        """The block that owns a parameter or buffer, named as in ``network``; the longest prefix wins."""
        best, best_length = "", -1
        for name, owns in self._owners():
            for prefix in owns:
                inside = prefix == "" or parameter == prefix or parameter.startswith(prefix + ".")
                if inside and len(prefix) > best_length:
                    best, best_length = name, len(prefix)
        if not best:
            raise PlanError(f"no block owns the parameter {parameter!r}")
        return best

    def _owners(self) -> list[tuple[str, tuple[str, ...]]]:
        if self._found is None:
            return [(block.name, block.owns) for block in self._written]
        return [(part.name, part.owns) for part in self._found.outline(self.network).parts]


def _run_found(
    chain: FoundChain, number: int, network: nn.Module, activation: Tensor | None, inputs: Batch
) -> Tensor:
    return chain.run(network, number, number + 1, activation, inputs)


def fold_names(names: Sequence[str]) -> list[str]:
    """Names that differ in one number only, in a row, as one: ``layers.{0..11}``."""
    folded: list[tuple[str, int, int, str]] = []
    for name in names:
        match = re.search(r"\d+(?=\D*$)", name)
        if match is None:
            folded.append((name, -1, -1, ""))
            continue
        before, number, behind = name[: match.start()], int(match[0]), name[match.end() :]
        last = folded[-1] if folded and folded[-1][1] >= 0 else None
        if last and (last[0], last[3]) == (before, behind) and last[2] == number - 1:
            folded[-1] = (before, last[1], number, behind)
        else:
            folded.append((before, number, number, behind))
    return [
        before
        if first < 0
        else f"{before}{{{first}..{last}}}{behind}"
        if last > first
        else f"{before}{first}{behind}"
        for before, first, last, behind in folded
    ]
