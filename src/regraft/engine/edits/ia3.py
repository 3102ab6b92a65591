"""ia3: learned factors for what layers give."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from torch import nn

from regraft.core.errors import PlanError
from regraft.engine.edits.edit import Change, Edit
from regraft.engine.edits.peft_layers import inject, merge, peft
from regraft.engine.edits.sketch import Factors, sketched
from regraft.engine.patterns import expand
from regraft.sources.layers import is_convolution, is_linear


class IA3(Edit):
    """Weights stay; each layer's outputs, or its inputs, are multiplied by learned factors.

        y = l * (W x + b),   l: Float[out];   of layers in ``inputs``: y = W (l * x) + b,   l: Float[in]

    Factors begin at 1, so the network begins as it was. ``inputs`` are patterns over the paths of the edited
    layers: the paper multiplies keys, values and what the second layer of a feed-forward pair reads. Factors
    get no weight decay from strategies: it would pull them to 0. At the end of the stage they are multiplied
    into weights and biases.

    Source: Liu et al. (2022), "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context
    learning", section 3.3.
    """

    name = "ia3"
    changes = "Linear layers and 2-d convolutions of one group"
    takes: ClassVar[dict[str, Any]] = {"inputs": ()}
    cite = (
        "Liu et al.: Few-shot parameter-efficient fine-tuning is better and cheaper than in-context "
        "learning. NeurIPS 2022"
    )

    def check(self) -> None:
        """Patterns."""
        inputs = self.options["inputs"]
        if isinstance(inputs, str) or not all(isinstance(one, str) for one in inputs):
            raise PlanError(f"inputs of the edit 'ia3' is a list of patterns over layers; got {inputs!r}")

    def can_change(self, layer: nn.Module) -> bool:
        """Linear layers and 2-d convolutions."""
        return is_linear(layer) or is_convolution(layer, nn.Conv2d)

    def apply(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """Put factors around the layers."""
        reading = self._reading(paths)
        return inject(
            peft().IA3Config(target_modules=list(paths), feedforward_modules=reading), network, paths
        )

    def sketch(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """The same without peft."""
        reading = self._reading(paths)
        return sketched(network, paths, lambda path, layer: Factors(layer, inputs=path in reading))

    def _reading(self, paths: Sequence[str]) -> list[str]:
        """The layers of which inputs are multiplied."""
        before: list[str] = []
        for pattern in self.options["inputs"]:
            found = [path for path in paths for one in expand(pattern) if fnmatchcase(path, one)]
            if not found:
                raise PlanError(
                    f"inputs of the edit 'ia3' names {pattern!r}, which is none of the edited layers; "
                    f"these are {', '.join(paths[:8])}{', ..' if len(paths) > 8 else ''}"
                )
            before += found
        return sorted(set(before))

    def settle(self, change: Change) -> None:
        """Multiply weight and bias."""
        merge(change)
