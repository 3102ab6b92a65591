"""adapter: a bottleneck behind each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from regraft.core.errors import PlanError, SourceError
from regraft.engine.edits.edit import Change, Edit
from regraft.sources import AddedLayers
from regraft.sources.added import ADAPTER, can_adapt, check_options


class Adapter(Edit):
    """Weights stay; what each layer gives goes through a narrow pair of layers beside the identity.

        y = h + up(act(down(h))),   h = W x + b,   down: Float[width, out], up: Float[out, width]

    Of a convolution both are pointwise. ``up`` begins at 0, so the network begins as it was. ``width`` is the
    number of features between, ``activation`` gelu, relu or tanh. No plain layer can take such a pair up: it
    stays in the network, and the bundle says so.

    Source: Houlsby et al. (2019), "Parameter-efficient transfer learning for NLP", figure 2.
    """

    name = ADAPTER
    changes = "Linear layers and convolutions of one group"
    takes: ClassVar[dict[str, Any]] = {"width": 16, "activation": "gelu"}
    cite = "Houlsby et al.: Parameter-efficient transfer learning for NLP. ICML 2019"
    lasts = True

    def check(self) -> None:
        """Width and activation."""
        try:
            check_options(self.options)
        except SourceError as error:
            raise PlanError(f"the edit {self.name!r}: {error}") from error

    def can_change(self, layer: nn.Module) -> bool:
        """Linear layers and convolutions."""
        return can_adapt(layer)

    def apply(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """Put bottlenecks behind the layers."""
        before = {path: network.get_submodule(path) for path in paths}
        self.added(paths).put_into(network)
        return tuple(Change(path, layer, network.get_submodule(path)) for path, layer in before.items())

    def added(self, paths: Sequence[str]) -> AddedLayers:
        """What rebuilds the network with them."""
        return AddedLayers(self.name, tuple(paths), dict(self.options))

    def settle(self, change: Change) -> None:
        """Nothing is written: the layer in the original's place has its very tensors."""
