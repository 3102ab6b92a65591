"""Edit: one way to change layers of a network for a stage."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from regraft.core.errors import PlanError
from regraft.plans import EditSpec, TrainStage
from regraft.sources import AddedLayers


@dataclass(frozen=True)
class Change:
    """One layer that was replaced.

    Attributes
    ----------
    path
        Where it is in the network.
    original
        The layer as the network had it. The layer in its place uses the original's own tensors.
    now
        The layer that stands in its place.
    """

    path: str
    original: nn.Module
    now: nn.Module


class Edit(abc.ABC):
    """One way to change layers for a stage.

    At the start of the stage an edit computes what the plain network computed, or nearly; at its end
    :meth:`settle` writes what was learned into the plain layers, which then take their places again.

    Parameters
    ----------
    options
        Those of the plan; :class:`PlanError` for one that it does not take.
    """

    name: ClassVar[str]
    """As plans say it, and as ``trainable`` and groups call the parameters that it adds."""
    changes: ClassVar[str]
    """Which layers it can change, for people."""
    takes: ClassVar[Mapping[str, Any]]
    """Its options and their values where they are not given."""
    cite: ClassVar[str]
    """The paper."""
    lasts: ClassVar[bool] = False
    """Whether what it adds stays in the network, because no plain layer can take it up."""

    def __init__(self, options: Mapping[str, Any]):
        strange = [option for option in options if option not in self.takes]
        if strange:
            raise PlanError(
                f"the edit {self.name!r} takes no option {', '.join(strange)}; "
                f"it takes {', '.join(self.takes)}"
            )
        self.options = {**self.takes, **options}
        self.check()

    @abc.abstractmethod
    def check(self) -> None:
        """Raise :class:`PlanError` for options that have no meaning."""

    def check_stage(self, stage: TrainStage) -> None:  # noqa: B027 - most edits have nothing to say
        """Raise :class:`PlanError` for a stage in which the edit would do nothing."""

    @abc.abstractmethod
    def can_change(self, layer: nn.Module) -> bool:
        """Whether it knows how to change such a layer."""

    @abc.abstractmethod
    def apply(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """Change the layers at these paths."""

    def sketch(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """As :meth:`apply`, for a price: the same new tensors by the same names, and about the same work.

        For edits whose own layers come from a library that takes seconds to import.
        """
        return self.apply(network, paths)

    def added(self, paths: Sequence[str]) -> AddedLayers:
        """Of an edit that lasts: what rebuilds the network with the layers that it added there."""
        raise NotImplementedError

    @abc.abstractmethod
    def settle(self, change: Change) -> None:
        """Write what a changed layer has learned into the tensors of the original."""

    def number(self, option: str, bounds: str, holds: Callable[[float], bool]) -> None:
        """Raise :class:`PlanError` for an option that is no number within its ``bounds``, told in words."""
        value = self.options[option]
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise PlanError(f"{option} of the edit {self.name!r} is {bounds}; got {value!r}")


def replace_module(network: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path."""
    parent, _, leaf = path.rpartition(".")
    network.get_submodule(parent)._modules[leaf] = module


def options_of(spec: EditSpec) -> dict[str, Any]:
    """An edit's options, without those that are not given."""
    return {key: value for key, value in spec.options.items() if value is not None}
