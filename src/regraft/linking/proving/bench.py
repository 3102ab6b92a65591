"""Bench: both networks of a link, loaded, with inputs that both read, ready to be run side by side."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from regraft.linking.fixes.applying import apply_fixes
from regraft.linking.fixes.fix import Fix
from regraft.linking.link import Link
from regraft.linking.load import load_link
from regraft.linking.network import Given, Network
from regraft.linking.proving.compare import spread_of
from regraft.linking.proving.cut import Cut, difference_of, find_cut
from regraft.linking.proving.inputs import FAILURES, SharedCall, mask_of, share_inputs
from regraft.linking.proving.pairing import Pair, find_departure, list_mixed, pair_steps, place_tensors
from regraft.linking.proving.watching import Run, watch
from regraft.linking.row import Row
from regraft.linking.whole import WholeBlueprint


@dataclass(frozen=True)
class Comparison:
    """What one run of both networks on the first input showed.

    Attributes
    ----------
    difference
        The relative difference of the values that are compared.
    pairs
        The steps between the input and there.
    first
        The first pair that departs; None where none does.
    """

    difference: float
    pairs: tuple[Pair, ...]
    first: Pair | None

    @property
    def depth(self) -> int:
        """How many pairs agree before the first that departs."""
        return self.pairs.index(self.first) if self.first is not None else len(self.pairs)


@dataclass(frozen=True)
class Bench:
    """Both networks of a link, loaded, with inputs that both read.

    Attributes
    ----------
    model
        The loaded target.
    source, target
        The two as networks that can be run.
    calls
        The inputs: given ones first, then made-up ones.
    run
        The source, watched on the first input.
    cut
        Which values are compared.
    """

    link: Link
    tolerance: float
    model: nn.Module = field(repr=False)
    source: Network = field(repr=False)
    target: Network = field(repr=False)
    calls: tuple[SharedCall, ...] = field(repr=False)
    run: Run = field(repr=False)
    cut: Cut = field(default_factory=Cut)

    @property
    def places(self) -> dict[str, tuple[str, ...]]:
        """Where the target's tensors come from, by the names of the two networks."""
        return place_tensors(self.link.rows, self.source, self.target)

    @property
    def rows(self) -> dict[str, Row]:
        """The link's rows by the names of the target's network."""
        return rows_of(self.link, self.target)

    @property
    def mask(self) -> Tensor | None:
        """Which positions of the first input count."""
        return mask_of(self.source, self.calls[0].source)

    def compare(self) -> Comparison:
        """Run the target on the first input and compare it with the source."""
        run = watch(self.target, self.calls[0].target)
        pairs = pair_steps(self.run, run, self.places, self.mask, list_mixed(self.rows))
        difference = difference_of(self.cut.ours(run), self.cut.theirs(self.run), self.mask)
        return Comparison(difference, pairs, find_departure(pairs, self.tolerance))

    def fixed(self, fixes: Iterable[Fix]) -> Bench:
        """The same with a copy of the target that has these fixes."""
        changed = share_copy(self.model)
        apply_fixes(changed, fixes)
        return replace(self, model=changed, target=self.link.blueprint.network(changed.eval()))

    def try_fixes(self, fixes: Iterable[Fix]) -> Comparison | None:
        """What a copy of the target with these fixes shows; None where it does not run."""
        try:
            return self.fixed(fixes).compare()
        except FAILURES:
            return None

    def values(self, call: SharedCall) -> tuple[list[Tensor], list[list[Tensor]]]:
        """What is compared on one input: the target's values, and candidates of the source's."""
        if not self.cut.head and not self.cut.native:
            return self.target.run(call.target), [self.source.run(call.source)]
        ours, theirs = watch(self.target, call.target), watch(self.source, call.source)
        return self.cut.ours(ours), self.cut.theirs(theirs)

    def measure(self) -> Measure:
        """Run both on every input and compare them where the cut says."""
        found, seen = [], []
        for call in self.calls:
            ours, theirs = self.values(call)
            found.append(difference_of(ours, theirs, mask_of(self.source, call.source)))
            seen.append(ours)
        return Measure(tuple(found), max(map(spread_of, zip(*seen, strict=False)), default=0.0))

    def focused(self, fixes: Sequence[Fix] = ()) -> Bench:
        """The same with the input first on which most is left, once the target has the fixes."""
        found = (self.fixed(fixes) if fixes else self).measure().differences
        place = found.index(max(found))
        if place == 0:
            return self
        calls = (self.calls[place], *self.calls[:place], *self.calls[place + 1 :])
        return replace(self, calls=calls, run=watch(self.source, calls[0].source))

    def pairs(self, call: SharedCall) -> tuple[Pair, ...]:
        """Every step of the target on one input, with its counterpart."""
        source = self.run if call is self.calls[0] else watch(self.source, call.source)
        target = watch(self.target, call.target)
        return pair_steps(
            source, target, self.places, mask_of(self.source, call.source), list_mixed(self.rows)
        )


@dataclass(frozen=True)
class Measure:
    """The relative difference on each input, and how much the values depend on the input."""

    differences: tuple[float, ...]
    spread: float

    @property
    def difference(self) -> float:
        """The largest."""
        return max(self.differences)


def open_bench(link: Link, inputs: Sequence[Given], tolerance: float) -> Bench:
    """Load both networks and find inputs for them.

    Raises ``NotSharedError`` where there are none, ``LinkError`` where the source has no network.
    """
    source = link.origin.native(head=isinstance(link.blueprint, WholeBlueprint))
    model = load_link(link)
    target = link.blueprint.network(model)
    calls = share_inputs(source, target, inputs)
    run = watch(source, calls[0].source)
    bench = Bench(link, tolerance, model, source, target, calls, run)
    own = watch(target, calls[0].target)
    return replace(bench, cut=find_cut(run, own, target, calls[0].target, bench.places, bench.rows))


def rows_of(link: Link, target: Network) -> dict[str, Row]:
    """The link's rows by the names of the target's network."""
    by_slot = {row.target: row for row in link.rows}
    return {name: by_slot[slot] for name, slot in target.keys.items() if slot in by_slot}


def share_copy(model: nn.Module) -> nn.Module:
    """A second model over the same tensors, whose hyper-parameters can be changed by themselves."""
    memo: dict[int, object] = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return copy.deepcopy(model, memo)
