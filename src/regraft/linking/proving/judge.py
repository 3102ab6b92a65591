"""Judging a link: what running both networks on all inputs shows, and what it leaves open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from regraft.linking.blueprint import Blueprint
from regraft.linking.network import Whole
from regraft.linking.proving.bench import Bench, Measure
from regraft.linking.proving.compare import relative_difference, spread_of
from regraft.linking.proving.doubts import find_doubt, find_notes
from regraft.linking.proving.proof import Proof
from regraft.linking.proving.unseen import find_unseen
from regraft.sources import Trunk

WEAK = 1e-3
"""Values that depend on the input by less than this share of their size say little by themselves."""


def judge(bench: Bench) -> Proof:
    """Compare both networks on all inputs of the bench.

    Where the outputs hardly depend on the input (a last layer of zeros, random weights whose signal dies
    out), each module is compared by itself as well, and has to agree too.
    """
    bench, measured, unseen = _choose_cut(bench)
    agrees = measured.difference <= bench.tolerance
    weak = measured.spread <= WEAK
    blocks = _block_by_block(bench)
    modules = (
        _module_by_module(bench, len(bench.calls) if weak else 1) if weak or not blocks or not agrees else []
    )
    reason = ""
    if agrees:
        reason = find_doubt(bench, unseen) or (_doubt_modules(bench, modules) if weak else "")
    elif not all(bool(tensor.isfinite().all()) for tensor in bench.run.outputs):
        reason = "the source's outputs are not finite"
    reason = reason or (_doubt_head(bench) if agrees else "")
    lines = blocks or [*modules, _end(bench, measured.difference)]
    proven = agrees and not reason
    first = None if proven else _first(lines, bench.tolerance)
    return Proof(
        proven=proven,
        max_relative_difference=measured.difference,
        first_difference=first[1] if first else None,
        differences=tuple((name, value) for name, _, _, value in lines),
        tolerance=bench.tolerance,
        compared=_say_compared(bench),
        first_module=_module_of(first, modules, bench.tolerance),
        unseen=unseen or (),
        reason=reason,
        notes=(*(_say_weak(modules, measured.spread) if weak and agrees else ()), *find_notes(bench, unseen)),
    )


def _choose_cut(bench: Bench) -> tuple[Bench, Measure, tuple[str, ...] | None]:
    """The bench, what it measures, and the tensors that it does not see.

    Where the outputs hardly depend on the input, and most of the carried parameters could not have changed
    them (a last layer of zeros), the cut moves to what enters the last module.
    """
    carried = [name for name, row in bench.rows.items() if row.carried]
    measured = bench.measure()
    if not measured.difference <= bench.tolerance:
        return bench, measured, ()
    unseen = find_unseen(bench.target, bench.calls[0].target, bench.cut, carried)
    if measured.spread > WEAK or unseen is None or 2 * len(unseen) < len(carried):
        return bench, measured, unseen
    back = _step_back(bench)
    return back, back.measure(), find_unseen(back.target, back.calls[0].target, back.cut, carried)


def _step_back(bench: Bench) -> Bench:
    steps = bench.compare().pairs
    last = steps[-1] if steps else None
    if last is None or bench.cut.head or last.target.entering is None or last.source.entering is None:
        return bench
    free = tuple(range(len(bench.run.outputs)))
    cut = replace(bench.cut, head=last.target.path, native=last.source.path, free=free, new=False)
    return replace(bench, cut=cut)


def _doubt_head(bench: Bench) -> str:
    """Why agreement up to a new head is no proof: nobody said that its tensors may start fresh."""
    head = bench.cut.head + "."
    open_rows = [
        name
        for name, row in bench.rows.items()
        if name.startswith(head) and row.role == "shared" and not row.carried
    ]
    if not bench.cut.new or not open_rows:
        return ""
    return (
        f"both networks give the same up to {bench.cut.head}, whose tensors receive nothing: waive them "
        f"({head}*) if they may start fresh, or say where they come from"
    )


def _doubt_modules(bench: Bench, modules: list[_Line]) -> str:
    """Why modules that were compared by themselves show nothing either; empty where they do."""
    if not any(spread_of([step.leaving]) > WEAK for step in bench.run.steps if step.leaving is not None):
        return (
            "the comparison is empty: both networks give the same for every input (zeros or a constant), "
            "whatever their tensors are"
        )
    departs = _first(modules, bench.tolerance)
    if departs is not None:
        return (
            "the outputs agree, but hardly depend on the input, and the modules differ, first after "
            f"{departs[0]} ({departs[3]:.1e})"
        )
    return ""


def _say_weak(modules: list[_Line], spread: float) -> tuple[str, ...]:
    return (
        f"the outputs hardly depend on the input (by {spread:.0e} of their size): {len(modules)} modules "
        "were compared by themselves as well",
    )


_Line = tuple[str, str, str, float]
"""Name of the line, block, module and relative difference."""


def _block_by_block(bench: Bench) -> list[_Line]:
    """Two trunks with the same blocks are run in step."""
    native, linked = bench.source.module, bench.target.module
    if not isinstance(native, Whole) or not isinstance(linked, Whole) or native.head or linked.head:
        return []
    if native.trunk.block_names != linked.trunk.block_names:
        return []
    worst: dict[str, float] = {}
    with torch.inference_mode():
        for call in bench.calls:
            for name, difference in _run_blocks(native.trunk, linked.trunk, call.source.args[0]):
                worst[name] = max(worst.get(name, 0.0), difference)
    return [(name, name, "", difference) for name, difference in worst.items()]


def _run_blocks(native: Trunk, linked: Trunk, batch: Any) -> list[tuple[str, float]]:
    differences = []
    ours: Tensor | None = None
    theirs: Tensor | None = None
    for mine, other in zip(linked.blocks, native.blocks, strict=True):
        ours = mine.run(linked.network, ours, batch)
        theirs = other.run(native.network, theirs, batch)
        differences.append((mine.name, relative_difference(ours, theirs)))
    return differences


def _module_by_module(bench: Bench, calls: int) -> list[_Line]:
    """What enters or leaves each module that has a counterpart, whichever is further apart."""
    worst: dict[str, _Line] = {}
    for call in bench.calls[:calls]:
        for pair in bench.pairs(call):
            known = [value for value in (pair.entering, pair.leaving) if value is not None]
            step = pair.target
            block = bench.target.blocks(step.names[0]) or step.path
            name = step.path or block
            before = worst[name][3] if name in worst else 0.0
            if known:
                worst[name] = (name, block, step.path, max(before, *known))
    return list(worst.values())


def _first(lines: list[_Line], tolerance: float) -> _Line | None:
    # Not "difference > tolerance": a difference that is not a number has to count as one.
    return next((line for line in lines if not line[3] <= tolerance), None)


def _module_of(first: _Line | None, modules: list[_Line], tolerance: float) -> str:
    """The first module that differs, in whichever way the blocks were compared."""
    found = _first(modules, tolerance) if first is not None else None
    return found[2] if found is not None else ""


def _end(bench: Bench, worst: float) -> _Line:
    """What was compared, behind the last module."""
    name = f"into {bench.cut.head}" if bench.cut.head else "the outputs"
    return (name, name, "", worst)


def _say_compared(bench: Bench) -> str:
    if bench.cut.head:
        return f"what enters its {'new head' if bench.cut.new else 'last layer'} {bench.cut.head}"
    return "features" if isinstance(bench.link.blueprint, Blueprint) else "outputs"
