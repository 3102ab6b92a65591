"""A link in words: its table, what is unexplained, what is unused, and the sums."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from regraft.linking.coverage import measure_source
from regraft.linking.showing.folding import fold_names
from regraft.linking.showing.table import format_rows, shorten

if TYPE_CHECKING:
    from regraft.linking.link import Link
    from regraft.linking.proving.proof import Proof

_MOST_UNUSED = 12


def summarise(link: Link, *, width: int = 80, folded: bool = True) -> str:
    """The table, unexplained rows, unused source tensors, coverage, and all that was decided on the way."""
    parts = [
        [f"{link.origin.name} -> {link.blueprint.name}"],
        format_rows(link.rows, width=width, folded=folded),
        _unexplained(link, width, folded),
        _unused(link, width, folded),
        sums(link),
        _decided(link),
    ]
    told = ["\n".join(line for one in lines for line in _fitted(one, width)) for lines in parts if lines]
    return "\n\n".join(told)


def _fitted(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent="  ", break_on_hyphens=False)


def sums(link: Link) -> list[str]:
    """How much carries over, in a few short lines."""
    actions = ("copied", "adapted", "fresh")
    counts = {action: sum(row.action == action for row in link.rows) for action in actions}
    cover = link.coverage
    shared = sum(row.role == "shared" for row in link.rows)
    return [
        ", ".join(f"{count} {action}" for action, count in counts.items())
        + f"; {len(link.unused)} source tensors unused",
        f"{shared} rows are shared with the source, {len(link.rows) - shared} are specific to the target",
        f"of what is shared, {cover.tensors:.1%} of tensors, {cover.parameters:.1%} of parameters",
        f"and {cover.depth:.1%} of blocks carry over",
    ]


def _unexplained(link: Link, width: int, folded: bool) -> list[str]:
    rows = link.uncovered
    if not rows:
        return []
    conflicts = sum(row.conflict for row in rows)
    clash = f", {conflicts} of them because shapes conflict" if conflicts else ""
    title = f"Unexplained: nothing reaches {_counted(len(rows), 'shared tensor')}{clash}"
    return [title, *format_rows(rows, width=width, folded=folded)[2:]]


def _unused(link: Link, width: int, folded: bool) -> list[str]:
    if not link.unused:
        return []
    weights, mass = link.origin.weights(), measure_source(link)
    sizes = {name: tuple(weights.shape(name)) if name in weights else () for name in link.unused}
    told = [
        f"Unused: nothing receives {_counted(len(link.unused), 'source tensor')}, "
        f"{count(mass.unused)} of {count(mass.parameters)} numbers ({mass.share:.1%} of the source)"
    ]
    groups = fold_names(link.unused) if folded else [(name, [name]) for name in link.unused]
    for pattern, names in groups[:_MOST_UNUSED] if folded else groups:
        size = sum(_size(sizes[name]) for name in names)
        told.append(f"  {shorten(pattern, width - 22):<{width - 22}} {len(names):>4} {count(size):>12}")
    if folded and len(groups) > _MOST_UNUSED:
        told.append(f"  and {len(groups) - _MOST_UNUSED} patterns more")
    return told


def _decided(link: Link) -> list[str]:
    told = [f"map: {one}" for one in link.maps] + [f"waived: {one}" for one in link.waivers]
    told += [
        f"set: {fix.kind} of {_counted(len(fix.modules), 'module')} to {fix.value}"
        + ("" if fix.was is None else f" (it was {fix.was})")
        for fix in link.fixes
    ]
    return told + [f"note: {note}" for note in link.notes]


def next_steps(link: Link, proof: Proof | None, *, fixed: bool) -> list[str]:
    """Lines to type next; ``{command}`` stands for the one that was typed."""
    steps = []
    if link.uncovered:
        first = link.uncovered[0].target.removeprefix("trunk.network.")
        steps.append(f"{{command}} --map 'REGEX=>{first}'   # where its weights are in the source")
        steps.append(f"{{command}} --waive '{first}'   # it starts fresh")
    if proof is None and not link.origin.runs:
        steps.append("{command} --builder MODULE:FUNCTION   # the source's own network, to run both")
    elif proof is not None and not proof.proven and not fixed:
        steps.append("{command} --fix   # try the target's hyper-parameters")
    return steps


def count(number: int) -> str:
    """``1.28 M``, ``49.2 k`` or ``640``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def _size(shape: Sequence[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
