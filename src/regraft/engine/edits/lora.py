"""lora and dora: a change of low rank beside each weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from regraft.core.errors import PlanError
from regraft.engine.edits.edit import Change, Edit
from regraft.engine.edits.peft_layers import inject, merge, peft
from regraft.engine.edits.sketch import LowRank, sketched
from regraft.sources.layers import is_convolution, is_linear


class LoRA(Edit):
    """Weights stay; beside each one a product of two narrow matrices is trained.

        W' = W + (alpha / r) B A,   A: Float[r, in], B: Float[out, r]

    ``rank`` is r. A is drawn at random and B is 0, so the network begins as it was. Of a convolution, A has
    its kernel and B is pointwise. ``alpha`` is 2 r where it is not given; ``dropout`` is that of what A
    reads. At the end of the stage W' takes the place of W.

    Source: Hu et al. (2022), "LoRA: Low-rank adaptation of large language models", section 4.1.
    """

    name = "lora"
    changes = "Linear layers and convolutions of one group"
    takes: ClassVar[dict[str, Any]] = {"rank": 8, "alpha": None, "dropout": 0.0}
    cite = "Hu et al.: LoRA: Low-rank adaptation of large language models. ICLR 2022"

    _magnitude = False

    def check(self) -> None:
        """Rank, alpha and dropout."""
        rank = self.options["rank"]
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise PlanError(
                f"the rank of the edit {self.name!r} is a whole number from 1 on; got {rank!r}. To train "
                "none of the network use probe"
            )
        if self.options["alpha"] is not None:
            self.number("alpha", "above 0", lambda alpha: alpha > 0)
        self.number("dropout", "from 0 on and below 1", lambda dropout: 0 <= dropout < 1)

    def can_change(self, layer: nn.Module) -> bool:
        """Linear layers and convolutions."""
        return is_linear(layer) or is_convolution(layer, nn.Conv1d, nn.Conv2d)

    def apply(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """Put low-rank adapters around the layers."""
        rank, alpha = self.options["rank"], self.options["alpha"]
        config = peft().LoraConfig(
            r=rank,
            lora_alpha=2 * rank if alpha is None else alpha,
            lora_dropout=float(self.options["dropout"]),
            use_dora=self._magnitude,
        )
        return inject(config, network, paths)

    def sketch(self, network: nn.Module, paths: Sequence[str]) -> tuple[Change, ...]:
        """The same without peft."""
        rank = self.options["rank"]
        return sketched(network, paths, lambda path, layer: LowRank(layer, rank, magnitude=self._magnitude))

    def settle(self, change: Change) -> None:
        """Add the product to the weight."""
        merge(change)


class DoRA(LoRA):
    """LoRA of a weight's direction, with its magnitude trained beside it.

        W' = m (W + (alpha / r) B A) / |W + (alpha / r) B A|,   m: Float[out], |.| the norm of each row

    m begins as the norms of W. The norm below is a constant to the gradient (section 4.3 of the paper).

    Source: Liu et al. (2024), "DoRA: Weight-decomposed low-rank adaptation", equation 5.
    """

    name = "dora"
    cite = "Liu et al.: DoRA: Weight-decomposed low-rank adaptation. ICML 2024"

    _magnitude = True
