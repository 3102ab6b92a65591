"""Boundaries: a chain of modules, for networks that do not export.

Nothing is rewritten: the network's own forward pass runs. A prefix stops where its last module has given its
output; in a suffix the modules before the cut are not run, the last of them giving the activation at hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from regraft.core.errors import PlanError
from regraft.core.inputs import Batch
from regraft.sources.cutting.exporting import Whole
from regraft.sources.cutting.outline import Part, Splitting, Start, join
from regraft.sources.cutting.piece import Piece, own


class _Reached(Exception):
    """The prefix is done."""

    def __init__(self, value: Any):
        super().__init__()
        self.value = value


@dataclass(frozen=True)
class _Call:
    """One run of a module."""

    frame: str
    given: int
    gave: Any


def run_modules(
    network: nn.Module,
    whole: Whole,
    parts: Sequence[Part],
    start: int,
    stop: int,
    activation: Tensor | None,
    inputs: Batch,
) -> Tensor:
    """The blocks from number ``start`` up to ``stop``."""
    ends = [_end(parts, number) for number in range(1, len(parts))]
    used: list[bool] = []
    with ExitStack() as stack:
        if activation is not None:
            nothing = _nothing_like(activation)
            for end in ends[: start - 1]:
                stack.enter_context(_replaced(network.get_submodule(end), nothing))
            used = stack.enter_context(_replaced(network.get_submodule(ends[start - 1]), activation))
        if stop < len(parts):
            stack.enter_context(_stopping(network.get_submodule(ends[stop - 1])))
        try:
            value: Tensor = whole(network, None, inputs)
        except _Reached as reached:
            value = reached.value
        else:
            if stop < len(parts):
                raise PlanError(_never_runs(ends[stop - 1]))
        if activation is not None and not used:
            raise PlanError(_never_runs(ends[start - 1]))
        return value


def _never_runs(end: str) -> str:
    return (
        f"the network does not run its part {end} on these inputs: which way it takes depends on the data, "
        "so it cannot be cut there. Leave frozen_prefix out"
    )


def _end(parts: Sequence[Part], number: int) -> str:
    """The module whose output crosses the cut in front of a block."""
    start = parts[number].start
    assert start is not None
    return start.frame


def _nothing_like(activation: Tensor) -> Tensor:
    """A tensor without values: what is computed from it has none either, and no branch can be taken on it."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        return torch.empty(activation.shape, dtype=activation.dtype, device=activation.device)


@contextmanager
def _replaced(module: nn.Module, value: Tensor) -> Iterator[list[bool]]:
    """Inside, the module gives this value and does not run; the list says how often it was asked."""
    before = vars(module).get("forward")
    asked: list[bool] = []

    def give(*args: Any, **kwargs: Any) -> Tensor:
        asked.append(True)
        return value

    vars(module)["forward"] = give
    try:
        yield asked
    finally:
        if before is None:
            del vars(module)["forward"]
        else:
            vars(module)["forward"] = before


@contextmanager
def _stopping(module: nn.Module) -> Iterator[None]:
    def stop(module: nn.Module, given: Any, gave: Any) -> None:
        raise _Reached(gave)

    handle = module.register_forward_hook(stop)
    try:
        yield
    finally:
        handle.remove()


def outline_modules(network: nn.Module, whole: Whole, inputs: Batch, *, text: bool) -> tuple[Part, ...]:
    """The blocks between modules whose output is the next one's only input; each cut is tried.

    ``network`` has values of whatever kind, and is in ``eval`` mode; it is run.
    """
    with torch.no_grad():
        expected = whole(network, None, inputs)
        calls = _watch(network, whole, inputs)
        pieces = _pieces(calls, network, text=text)
        chain = [piece.frame for piece in pieces]
        kept: list[str] = []
        for end in chain:
            if _exact(network, whole, [*kept, end], inputs, expected):
                kept.append(end)
    if not kept:
        return (Part("network", None, ("",)),)
    return _named(kept, calls, network)


def _named(kept: list[str], calls: list[_Call], network: nn.Module) -> tuple[Part, ...]:
    """One block up to the end of each module, and what follows."""
    order = [call.frame for call in calls]
    ends = [order.index(frame) for frame in kept]
    bounds = [0, *(end + 1 for end in ends), len(order)]
    frames = [(frame,) for frame in order]
    tensors: list[frozenset[str]] = [frozenset()] * len(order)
    for frame in order:
        # A module that holds others may use its own tensors before any of these.
        place = next(place for place, one in enumerate(order) if f"{one}.".startswith(f"{frame}."))
        tensors[place] |= frozenset(_tensors(network, frame))
    pieces = [
        Piece(first, last, "", frozenset().union(*tensors[first:last]))
        for first, last in itertools.pairwise(bounds)
    ]
    owned = own(pieces, frames, network)
    names = [*kept, "pool" if not pieces[-1].tensors else "head"]
    starts = [None, *(Start(frame, left=True) for frame in kept)]
    return tuple(Part(name, start, owns) for name, start, owns in zip(names, starts, owned, strict=True))


def _tensors(network: nn.Module, frame: str) -> list[str]:
    module = network.get_submodule(frame)
    names = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [f"{frame}.{name}" for name, _ in names]


def _exact(network: nn.Module, whole: Whole, ends: list[str], inputs: Batch, expected: Tensor) -> bool:
    """Whether the network, cut behind the last of these modules, gives what it gives in one piece."""
    parts = [Part("", None), *(Part("", Start(end, left=True)) for end in ends)]
    try:
        middle = run_modules(network, whole, parts, 0, len(parts) - 1, None, inputs)
        if not isinstance(middle, Tensor) or middle.ndim < 2 or len(middle) != len(expected):
            return False
        found = run_modules(network, whole, parts, len(parts) - 1, len(parts), middle, inputs)
        return type(found) is type(expected) and torch.equal(found, expected)
    except Exception:  # noqa: BLE001 - this runs the user's own code without some of its values
        return False


def _watch(network: nn.Module, whole: Whole, inputs: Batch) -> list[_Call]:
    """The modules that run once, in the order in which they end, with what each is given and gives."""
    calls: list[_Call] = []
    counts: dict[str, int] = {}
    keep: list[Any] = []
    with ExitStack() as stack:
        for path, module in network.named_modules():
            if path:

                def record(module: nn.Module, given: Any, gave: Any, path: str = path) -> None:
                    counts[path] = counts.get(path, 0) + 1
                    keep.extend([given, gave])
                    first = given[0] if len(given) >= 1 else None
                    calls.append(_Call(path, id(first) if isinstance(first, Tensor) else 0, gave))

                stack.callback(module.register_forward_hook(record).remove)
        whole(network, None, inputs)
    return [call for call in calls if counts[call.frame] == 1]


def _pieces(calls: list[_Call], network: nn.Module, *, text: bool) -> list[Piece]:
    """Units that a person recognises whose output is a tensor that a later module is given."""
    inside = [call for call in calls if not list(network.get_submodule(call.frame).children())]
    ran = {call.frame: call for call in calls}
    frames = []
    for call in inside:
        paths = [
            call.frame[:place] for place in range(len(call.frame) + 1) if call.frame[place:][:1] in ("", ".")
        ]
        frames.append(tuple(path for path in paths if path in ran))
    tensors = [frozenset(_tensors(network, call.frame)) for call in inside]
    entered = {call.given for call in calls}

    def crossed(place: int) -> bool:
        if place == 0:
            return True
        # The outermost module that ends before this place gives what another one takes.
        before, behind = frames[place - 1], frames[place]
        ended = [frame for frame in before if frame not in behind]
        gave = ran[ended[0]].gave if ended else None
        return isinstance(gave, Tensor) and id(gave) in entered

    if not inside:
        return []
    pieces = Splitting(frames, tensors, crossed, network).pieces()
    found = []
    for piece in join(pieces, crossed, network, text=text):
        before = frames[piece.stop - 1]
        behind = frames[piece.stop] if piece.stop < len(frames) else ()
        ended = [frame for frame in before if frame not in behind]
        if ended:
            piece.frame = ended[0]
            found.append(piece)
    return found
