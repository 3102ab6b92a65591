"""Source: a pretrained model as found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regraft.core.preprocessing import Preprocessing


@dataclass(frozen=True)
class BuilderSpec:
    """How the network is built again: a registered builder's name and JSON options.

    ``user`` stands for a network of the user's own: it is rebuilt only by handing the builder over again.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"name": self.name, "options": self.options}


@dataclass(frozen=True)
class Weights:
    """Where weights lie and what they are: files on this machine, their sha256, size in bytes and licence."""

    files: tuple[Path, ...]
    sha256: str
    size: int
    licence: str


@dataclass(frozen=True)
class Source:
    """A pretrained model as found.

    Attributes
    ----------
    name
        What the user typed, as in ``packaged:efficientnet-lite0``.
    builder
        How the trunk (the network without its head) is built, without weights.
    weights
        None for a network that was never pretrained (only the scratch arm uses those).
    preprocessing
        What an example has to go through before the network reads it.
    outputs
        What the network can give: ``pooled``, ``tokens``, ``map``.
    classes
        Names of the native head's classes in order; empty where unknown.
    head
        Keys of the native head's weight and bias in the state dict; empty where it has none.
    parameters
        Number of parameters of the trunk.
    cite
        The paper or page to cite.
    """

    name: str
    builder: BuilderSpec
    weights: Weights | None
    preprocessing: Preprocessing
    outputs: tuple[str, ...] = ("pooled",)
    classes: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    parameters: int = 0
    cite: str = ""
