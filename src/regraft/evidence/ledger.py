"""The ledger of who read test labels, and what for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Ledger:
    """Every opening of sealed test labels; ``run.json`` keeps it.

    Attributes
    ----------
    entries
        Pairs of the target's fingerprint and the purpose, in order.
    """

    entries: list[tuple[str, str]] = field(default_factory=list)

    def record(self, fingerprint: str, purpose: str) -> None:
        """Note that the test labels of the target with this fingerprint are read now."""
        self.entries.append((fingerprint, purpose))

    @property
    def count(self) -> int:
        """How often test labels were read."""
        return len(self.entries)

    def to_json(self) -> list[dict[str, str]]:
        """As plain JSON."""
        return [{"fingerprint": fingerprint, "purpose": purpose} for fingerprint, purpose in self.entries]

    @classmethod
    def from_json(cls, data: Sequence[dict[str, Any]]) -> Ledger:
        """From plain JSON."""
        return cls([(str(entry["fingerprint"]), str(entry["purpose"])) for entry in data])
