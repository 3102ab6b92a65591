"""Deciding between rows that fit equally well, by running both networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from regraft.core.errors import LinkError
from regraft.linking.link import Link
from regraft.linking.load import make_tensor
from regraft.linking.network import Given
from regraft.linking.proving.bench import Bench, Comparison, open_bench, share_copy
from regraft.linking.proving.causes import helps
from regraft.linking.proving.inputs import FAILURES, NotSharedError
from regraft.linking.proving.proof import prove
from regraft.linking.proving.rewrite import Change, list_changes
from regraft.linking.row import Row

TRIES = 60
"""Runs of the target that a decision may take."""


def decide(link: Link, inputs: Sequence[Given] = (), *, tolerance: float = 1e-5, tries: int = TRIES) -> Link:
    """The link with those rows changed that make the target compute what the source does.

    Both networks are followed to the first module that departs; other rows of equal shapes are tried there,
    the ones that carry the agreement further are kept, and so on. The link itself comes back where it is
    proven as it is, where nothing helps, and where there is no source network to run. Hyper-parameters are
    not touched: see :meth:`Link.fix`.
    """
    if not link.origin.runs:
        return link
    try:
        bench = open_bench(link, inputs, tolerance)
    except NotSharedError:
        return link
    changed: set[str] = set()
    best = bench.compare()
    while tries > 0 and best.first is not None:
        step, used = _next(bench, best, tries)
        tries -= used
        if step is None:
            break
        change, bench, best = step
        changed |= set(change.rows)
    if not changed:
        return link
    proven = prove(bench.link, inputs, tolerance=tolerance, causes=False).proven
    return _settle(bench.link, changed, proven=proven)


def _next(bench: Bench, best: Comparison, tries: int) -> tuple[tuple[Change, Bench, Comparison] | None, int]:
    """The first change that carries the agreement further."""
    assert best.first is not None
    used = 0
    for change in list_changes(bench, best.pairs, best.first):
        if used >= tries:
            break
        used += 1
        try:
            other = relink(bench, change.rows, change.reason)
            seen = other.compare()
        except (*FAILURES, LinkError):
            continue
        if seen.depth > best.depth or (seen.difference <= bench.tolerance and helps(best, seen)):
            return (change, other, seen), used
    return None, used


def relink(bench: Bench, rows: Mapping[str, Row], reason: str) -> Bench:
    """The bench of a link with these rows instead; the target's other tensors are shared, not copied."""
    named = {name: replace(row, rule=f"comparison: {reason}") for name, row in rows.items()}
    link = replace(bench.link, rows=tuple(named.get(row.target, row) for row in bench.link.rows))
    model = share_copy(bench.model).eval()
    target = bench.link.blueprint.network(model)
    weights = link.origin.weights()
    for name, row in _renamed(target.keys, named):
        owner, _, leaf = name.rpartition(".")
        part = target.module.get_submodule(owner)
        place = getattr(part, leaf)
        made = torch.empty(place.shape, dtype=place.dtype)
        make_tensor(row, weights, place, made)
        if isinstance(place, nn.Parameter):
            part._parameters[leaf] = nn.Parameter(made, requires_grad=False)
        else:
            part._buffers[leaf] = made
    return replace(bench, link=link, model=model, target=target)


def _renamed(keys: Mapping[str, str], rows: Mapping[str, Row]) -> Iterable[tuple[str, Row]]:
    return [(name, rows[slot]) for name, slot in keys.items() if slot in rows]


def _settle(link: Link, changed: set[str], *, proven: bool) -> Link:
    """Sure where the whole is proven, and no surer than before where it is not."""
    rows = tuple(
        replace(row, confidence=1.0 if proven else min(row.confidence, 0.5)) if row.target in changed else row
        for row in link.rows
    )
    used = {name for row in rows for name in row.sources}
    unused = tuple(name for name in link.origin.weights().names() if name not in used)
    return replace(link, rows=rows, unused=unused)
