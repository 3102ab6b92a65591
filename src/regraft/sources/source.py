"""Source: a pretrained model as found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.preprocessing import Preprocessing
from regraft.core.task_spec import TaskKind
from regraft.sources.added import AddedLayers

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BuilderSpec:
    """How the network is built again: a registered builder's name and JSON options.

    ``user`` stands for a network of the user's own: it is rebuilt only by handing the builder over again.
    ``added`` is what runs added to what the builder builds.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    added: tuple[AddedLayers, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        added = {"added": [layers.to_json() for layers in self.added]} if self.added else {}
        return {"name": self.name, "options": self.options, **added}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BuilderSpec:
        """From plain JSON."""
        added = tuple(AddedLayers.from_json(one) for one in data.get("added", ()))
        return cls(name=data["name"], options=dict(data["options"]), added=added)


@dataclass(frozen=True)
class Weights:
    """Where weights lie and what they are: files on this machine, their sha256, size in bytes and licence.

    No file is named for weights that live in memory, in a module that the user handed over.
    """

    files: tuple[Path, ...]
    sha256: str
    size: int
    licence: str


@dataclass(frozen=True)
class NativeHead:
    """A head that comes with the source.

    Attributes
    ----------
    weight, bias
        Keys in the source's state dict; ``bias`` is empty where there is none.
    classes
        What the rows stand for, in order; empty where unknown.
    output
        The named output of a finished run; empty for a network's one native head.
    kind
        What kind of task it solves.
    """

    weight: str
    bias: str = ""
    classes: tuple[str, ...] = ()
    output: str = ""
    kind: TaskKind = "multiclass"

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys in the source's state dict."""
        return (self.weight, self.bias) if self.bias else (self.weight,)


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
        None for a network that was never pretrained: for the scratch arm, or as a target model's network.
    preprocessing
        What an example has to go through before the network reads it.
    outputs
        What the network is known to give: ``pooled``, ``tokens``, ``map``; see ``Trunk.output``. Where a
        chain has yet to be found, its trunk may give more.
    heads
        The heads that come with it.
    parameters
        Number of parameters of the trunk.
    cite
        The paper or page to cite.
    options
        What it was opened with, as in ``size=96``; never which code to run.
    handed
        A network of the user's own, in memory only: it is never written to a file.
    parts
        The sources that a joined one is made of, as they were found.
    """

    name: str
    builder: BuilderSpec
    weights: Weights | None
    preprocessing: Preprocessing
    outputs: tuple[str, ...] = ("pooled",)
    heads: tuple[NativeHead, ...] = ()
    parameters: int = 0
    cite: str = ""
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    handed: nn.Module | Callable[[], nn.Module] | str | None = field(default=None, repr=False, compare=False)
    parts: tuple[Source, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def find(cls, name: str, **options: Any) -> Source:
        """The source of this name, ``packaged:efficientnet-lite0``; see :func:`regraft.sources.find`."""
        from regraft.sources.registry import find

        return find(name, **options)

    @classmethod
    def from_module(cls, module: nn.Module, preprocessing: Preprocessing, **options: Any) -> Source:
        """A network of your own, in memory; see :func:`regraft.sources.from_module`."""
        from regraft.sources.module import from_module

        return from_module(module, preprocessing, **options)

    @classmethod
    def from_builder(
        cls, builder: Callable[[], nn.Module] | str, preprocessing: Preprocessing, **options: Any
    ) -> Source:
        """A network of your own without weights; see :func:`regraft.sources.from_builder`."""
        from regraft.sources.own import from_builder

        return from_builder(builder, preprocessing, **options)

    @property
    def modality(self) -> str:
        """What the network reads: ``image`` or ``text``."""
        return self.preprocessing.modality

    @property
    def buildable(self) -> bool:
        """Whether its network can be built here: one of the user's own needs its builder."""
        return self.builder.name != "user" or self.handed is not None

    def same_network(self, other: Source) -> bool:
        """Whether both name one network with one preprocessing, whatever their weights."""
        mine, theirs = ((one.name, one.builder, one.preprocessing) for one in (self, other))
        return self is other or (mine == theirs and self.handed == other.handed)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the first native head's classes in order; empty where unknown."""
        return self.heads[0].classes if self.heads else ()

    @property
    def head(self) -> tuple[str, ...]:
        """Keys of the first native head in the state dict; empty where it has none."""
        return self.heads[0].keys if self.heads else ()

    def summary(self) -> dict[str, Any]:
        """As plain JSON for ``run.json``."""
        return {
            "name": self.name,
            "modality": self.modality,
            "parameters": self.parameters,
            "licence": self.weights.licence if self.weights else "",
            "cite": self.cite,
            "sha256": self.weights.sha256 if self.weights else "",
        }
