"""Coverage: how much of what is shared receives source weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from regraft.linking.row import Row


@dataclass(frozen=True)
class Coverage:
    """Shares between 0 and 1, over shared rows only; 0 where nothing is shared.

    Attributes
    ----------
    tensors
        Of the tensors, parameters and buffers alike.
    parameters
        Of the elements of the parameters.
    depth
        Of the trunk's blocks that hold tensors: those whose tensors all carry over.
    """

    tensors: float
    parameters: float
    depth: float

    def to_json(self) -> dict[str, float]:
        """As plain JSON."""
        return asdict(self)


def measure(rows: Iterable[Row]) -> Coverage:
    """The coverage of these rows."""
    shared = [row for row in rows if row.role == "shared"]
    blocks = {row.block for row in shared if row.block}
    broken = {row.block for row in shared if row.block and not row.carried}
    parameters = [row for row in shared if row.kind == "parameter" and not row.rule.startswith("tied to")]
    return Coverage(
        tensors=_share([1 for row in shared if row.carried], len(shared)),
        parameters=_share(
            [row.size for row in parameters if row.carried], sum(row.size for row in parameters)
        ),
        depth=_share([1 for _ in blocks - broken], len(blocks)),
    )


def _share(parts: Sequence[int], whole: int) -> float:
    return sum(parts) / whole if whole else 0.0
