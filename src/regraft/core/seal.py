"""The seal on test labels: who may open it has to keep a ledger of having done so."""

from __future__ import annotations

from typing import Protocol


class Ledger(Protocol):
    """Counts how often test labels were read, and what for. Only evidence makes one."""

    def record(self, fingerprint: str, purpose: str) -> None:
        """Note that the test labels of the target with this fingerprint are read now."""
        ...
