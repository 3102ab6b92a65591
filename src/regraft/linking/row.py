"""Row: what one tensor of the target model receives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from regraft.linking.recipe import Recipe

if TYPE_CHECKING:
    from regraft.linking.blueprint import Slot

Action = Literal["copied", "adapted", "fresh"]
Role = Literal["shared", "specific"]

FROM_SCRATCH, NO_WEIGHTS = "from scratch", "the source has no weights"
MEANT_FRESH = (FROM_SCRATCH, NO_WEIGHTS)
"""Rules of rows that start fresh because somebody asked for it."""


@dataclass(frozen=True)
class Row:
    """What one tensor of the target model receives.

    Attributes
    ----------
    target
        The tensor's name in the model's state dict.
    source
        The source tensor that it receives, the first where it is made of several; None for a fresh one.
    rule
        What found it, or why nothing did.
    transform
        What happens to the source tensor on its way: ``float16 -> float32``, ``3 of 10 rows by class name``.
    target_shape, source_shape
        Shapes; the source's is None where there is no candidate.
    action
        ``copied`` as it is, ``adapted`` by the transform, or ``fresh``: initialised anew.
    role
        ``shared`` with the source, or ``specific`` to the target.
    confidence
        1.0 for equal names, less where the rule could be wrong, 0 for fresh rows.
    alternatives
        Other source tensors that it could have been.
    block
        The trunk's block that owns it; empty for heads.
    kind
        ``parameter`` or ``buffer``.
    recipe
        How the tensor is made of source tensors; None where it is the source tensor as it is, or fresh.
    conflict
        True where a source tensor has the name but does not fit: such a row has to be waived or mapped.
    """

    target: str
    source: str | None
    rule: str
    transform: str
    target_shape: tuple[int, ...]
    source_shape: tuple[int, ...] | None
    action: Action
    role: Role
    confidence: float = 1.0
    alternatives: tuple[str, ...] = ()
    block: str = ""
    kind: str = "parameter"
    recipe: Recipe | None = None
    conflict: bool = False

    @property
    def carried(self) -> bool:
        """Whether the tensor receives source weights."""
        return self.action != "fresh"

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source tensor that it takes; empty for a fresh one."""
        if not self.carried:
            return ()
        if self.recipe is not None:
            return self.recipe.sources
        return (self.source,) if self.source is not None else ()

    @property
    def filled(self) -> float:
        """The share of the tensor that the source fills: less than 1 where some rows stay fresh."""
        if not self.carried:
            return 0.0
        steps = self.recipe.steps if self.recipe else ()
        picks: list[int] = next((step.options["picks"] for step in steps if step.name == "rows"), [])
        return sum(pick >= 0 for pick in picks) / len(picks) if picks else 1.0

    @property
    def size(self) -> int:
        """Number of elements of the target tensor."""
        count = 1
        for length in self.target_shape:
            count *= length
        return count

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {**asdict(self), "recipe": self.recipe.to_json() if self.recipe else None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        """From plain JSON."""
        fields = dict(data)
        for name in ("target_shape", "source_shape", "alternatives"):
            fields[name] = None if fields[name] is None else tuple(fields[name])
        fields["recipe"] = Recipe.from_json(fields["recipe"]) if fields.get("recipe") else None
        return cls(**fields)


def fresh_row(
    slot: Slot,
    rule: str,
    *,
    role: Role,
    source: str | None = None,
    source_shape: tuple[int, ...] | None = None,
) -> Row:
    """A row that receives nothing; ``source`` names a tensor that has the right name and does not fit."""
    return Row(
        target=slot.name,
        source=source,
        rule=rule,
        transform="",
        target_shape=slot.shape,
        source_shape=source_shape,
        action="fresh",
        role=role,
        confidence=0.0,
        block=slot.block,
        kind=slot.kind,
        conflict=source is not None,
    )
