"""Which layers of a network an edit changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from regraft.core.errors import PlanError
from regraft.engine.edits.edit import Edit
from regraft.engine.patterns import expand
from regraft.linking import Grafted
from regraft.sources import Trunk
from regraft.sources.layers import fold_paths

_SHOWN = 8


def find_places(
    model: Grafted, edit: Edit, patterns: tuple[str, ...], taken: Iterable[str]
) -> tuple[str, ...]:
    """Paths in the network of the layers that an edit changes, in order.

    A pattern is one over blocks (``layer.{3..5}``) or over the layers' own paths; of what it names, layers
    that the edit cannot change are left as they are. Raises :class:`PlanError` where nothing is left.
    """
    trunk = model.trunk
    there = [path for path in _changeable(trunk, edit) if not _within(path, taken)]
    names = {path: (path, trunk.block_of(path)) for path in there}
    chosen: set[str] = set()
    for pattern in patterns:
        found = [
            path
            for path in there
            for one in expand(pattern)
            if any(fnmatchcase(candidate, one) for candidate in names[path])
        ]
        if not found:
            raise PlanError(_refusal(edit, pattern, there, trunk))
        chosen.update(found)
    return tuple(path for path in there if path in chosen)


def _changeable(trunk: Trunk, edit: Edit) -> list[str]:
    """Paths of layers that the edit can change, each called by its holder and holding tensors of its own."""
    found = []
    modules = list(trunk.network.named_modules(remove_duplicate=False))
    times = Counter(id(module) for _, module in modules)
    shared = Counter(id(p) for _, module in modules for p in module._parameters.values() if p is not None)
    for path, module in modules:
        own = all(shared[id(p)] == 1 for p in module._parameters.values() if p is not None)
        if path and times[id(module)] == 1 and own and edit.can_change(module):
            holder = trunk.network.get_submodule(path.rpartition(".")[0])
            # It reads the weights of the layer that it holds, and never calls the layer.
            if not isinstance(holder, nn.MultiheadAttention) and _in_one_block(trunk, path):
                found.append(path)
    return found


def _in_one_block(trunk: Trunk, path: str) -> bool:
    try:
        trunk.block_of(path)
    except PlanError:
        return False
    return True


def _within(path: str, taken: Iterable[str]) -> bool:
    return any(path == other or path.startswith(f"{other}.") for other in taken)


def _refusal(edit: Edit, pattern: str, there: list[str], trunk: Trunk) -> str:
    if not there:
        kind = type(trunk.network).__name__
        return (
            f"the edit {edit.name!r} changes {edit.changes}, and {kind} has none that is left: use a "
            "strategy that trains its own weights (lpft, full)"
        )
    folded = fold_paths(there, [path for path, _ in trunk.network.named_modules()])
    shown = ", ".join(folded[:_SHOWN]) + (", .." if len(folded) > _SHOWN else "")
    return (
        f"the edit {edit.name!r} is to change {pattern!r}, where it finds no layer that it can change "
        f"({edit.changes}); there are {shown}"
    )
