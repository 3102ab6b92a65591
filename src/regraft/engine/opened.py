"""Opened: a model of a plan with the sources that it names."""

from __future__ import annotations

from dataclasses import dataclass

from regraft.sources import Source


@dataclass(frozen=True)
class Opened:
    """One of a plan's models with its sources opened.

    Attributes
    ----------
    weights
        Whose weights carry over: its name, licence, hash and paper are those of what was transferred.
    network
        Whose network the model has: it decides the preprocessing and rebuilds the model. The same as
        ``weights`` unless the plan names another one.
    """

    weights: Source
    network: Source

    @property
    def differ(self) -> bool:
        """Whether weights and network come from two sources."""
        return not self.network.same_network(self.weights)
