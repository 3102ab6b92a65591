"""parallel-adapters: pointwise convolutions beside those of a convolutional network, merged at the end."""

from __future__ import annotations

from torch import nn

from regraft.core.errors import PlanError
from regraft.plans import EditSpec, Plan
from regraft.sources.layers import has_centre
from regraft.strategies.editing import edited_plan, network_of, norms_of, patterns_of
from regraft.strategies.strategy import Situation, Strategy

RATE = 3e-4


class ParallelAdapters(Strategy):
    """Start the head at the probe's solution, then train it with 1 x 1 convolutions beside k x k ones, and
    norms.

    ``y = W * x + A x``: of a 3 x 3 convolution a ninth of its numbers is trained. A is added to the centre of
    W at the end, so the result is as large and as fast as the source.

    Source: Rebuffi, Bilen, Vedaldi (2018), "Efficient parametrization of multi-domain deep neural networks",
    whose norms are of each domain's own. Changed for small data: a solved head, A begins at 0, batch-norm
    statistics of the source, 15 epochs.
    """

    name = "parallel-adapters"
    when = "a convolutional network of 3 x 3 convolutions (ResNet, VGG) and more labels than lora can use"
    cite = (
        "Rebuffi, Bilen, Vedaldi: Efficient parametrization of multi-domain deep neural networks. CVPR 2018"
    )

    def plan(self, situation: Situation) -> Plan:
        """A solve stage for the head and a train stage with an edit."""
        edit = EditSpec(edit="parallel", match=patterns_of(situation, self._places(situation)))
        return edited_plan(situation, self.name, edit, RATE, beside=norms_of(situation))

    def _places(self, situation: Situation) -> tuple[str, ...]:
        """Convolutions with a centre, which have to hold most of what the convolutions weigh."""
        layers = {
            path: layer
            for path, layer in network_of(situation).named_modules()
            if isinstance(layer, nn.Conv1d | nn.Conv2d)
        }
        sizes = {path: layer.weight.numel() for path, layer in layers.items()}
        chosen = tuple(path for path, layer in layers.items() if has_centre(layer))
        if not chosen or 2 * sum(sizes[path] for path in chosen) < sum(sizes.values()):
            raise PlanError(
                "parallel-adapters puts 1 x 1 convolutions beside larger ones of one group, and these hold "
                f"{sum(sizes[path] for path in chosen):,} of the {sum(sizes.values()):,} weights that the "
                f"convolutions of {situation.link.graft.source.name} have: use adapters or lora"
            )
        return chosen
