"""WholeBlueprint: a target model that is a module of any library or of the user's own, its head included."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from regraft.core.errors import UsageError
from regraft.linking.blueprint import Slot, list_tensors
from regraft.linking.examples import example_call
from regraft.linking.fixes.applying import apply_fixes
from regraft.linking.fixes.fix import Fix
from regraft.linking.network import Given, Network, tensors_in
from regraft.linking.outline import block_of_name
from regraft.sources.module import import_builder
from regraft.sources.skeleton import copy_module, weightless


@dataclass(frozen=True)
class WholeBlueprint:
    """A target model that is a module of any library or of the user's own, its head included.

    Attributes
    ----------
    name
        What a person calls it.
    handed
        The module, a function that builds it, or ``module:function``.
    given
        Inputs that it can read; guessed from its first layer where None.
    classes
        What the rows of its last layer stand for; empty where unknown.
    fixes
        Hyper-parameters that are set after it is built.
    """

    name: str
    handed: nn.Module | Callable[[], nn.Module] | str = field(repr=False)
    given: Given | None = field(default=None, repr=False, compare=False)
    classes: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()

    def build(self) -> nn.Module:
        """The module with its fresh weights: as its function initialises them, or as it was handed over."""
        module = copy.deepcopy(self.handed) if isinstance(self.handed, nn.Module) else self._make()
        apply_fixes(module, self.fixes)
        return module

    def skeleton(self) -> nn.Module:
        """The module with its parameters on the meta device and its buffers real."""
        with weightless():
            module = copy_module(self.handed) if isinstance(self.handed, nn.Module) else self._make()
        apply_fixes(module, self.fixes)
        return module

    def slots(self) -> tuple[Slot, ...]:
        """Every tensor that the module stores, in the order of its state dict."""
        return list_tensors(self.skeleton(), block_of_name)

    def network(self, module: nn.Module) -> Network:
        """A built module as one side of a link."""
        names = {name: name for name in tensors_in(module)}
        return Network(module.eval(), names, example_call(module, self.given), block_of_name)

    def fixed(self, fixes: tuple[Fix, ...]) -> WholeBlueprint:
        """With these hyper-parameters set as well."""
        return replace(self, fixes=(*self.fixes, *fixes))

    def _make(self) -> nn.Module:
        function: Any = import_builder(self.handed) if isinstance(self.handed, str) else self.handed
        module = function()
        if not isinstance(module, nn.Module):
            raise UsageError(f"{self.name}: its builder gave a {type(module).__name__}, not an nn.Module")
        return module
