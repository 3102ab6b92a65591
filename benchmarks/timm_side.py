"""What a person writes with timm: the same network and weights, a frozen or a full fine-tune, plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

NETWORK = "tf_efficientnet_lite0"
LAST_TWO = ("blocks.6", "conv_head", "bn2", "classifier")
"""What regraft's blocks.15, conv_head and the head are called in timm."""

Batches = Iterable[tuple[Tensor, Tensor]]


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The pip package's tensors under timm's names. Both list them in the same order; names differ."""
    import timm

    ours = {name: tensor for name, tensor in weights.items() if not name.startswith("_fc.")}
    ours = {name: tensor for name, tensor in ours.items() if not name.endswith("num_batches_tracked")}
    bare = timm.create_model(NETWORK, pretrained=False, num_classes=0)
    theirs = [name for name in bare.state_dict() if not name.endswith("num_batches_tracked")]
    return {name: tensor.contiguous() for name, tensor in zip(theirs, ours.values(), strict=True)}


def network_of(weights: dict[str, Tensor], classes: int) -> nn.Module:
    """The network of timm with these weights and a classifier that starts at zero."""
    import timm

    network: nn.Module = timm.create_model(NETWORK, pretrained=False, num_classes=classes)
    found = network.load_state_dict(weights, strict=False)
    wrong = [name for name in found.missing_keys if "classifier" not in name and "num_batches" not in name]
    if wrong or found.unexpected_keys:
        raise SystemExit(f"the weights do not fit {NETWORK}: {wrong}, {found.unexpected_keys}")
    for parameter in network.get_submodule("classifier").parameters():
        nn.init.zeros_(parameter)
    return network


def train_last(
    network: nn.Module, batches: Sequence[Callable[[], Batches]], check: Callable[[], Batches], rate: float
) -> list[float]:
    """Freeze all but the last two blocks and the classifier, then train them; the loss of each step.

    ``batches`` holds an epoch each; after each the network is run on the validation examples. AdamW, weight
    decay 0.01 on matrices and kernels, cosine with a tenth of warm-up, clipping at 1, batch norm's statistics
    as they are: the settings that regraft's plan says.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(LAST_TWO))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.01},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=rate,
    )
    steps = sum(1 for epoch in batches for _ in epoch())
    losses: list[float] = []
    network.eval()  # batch norm keeps its statistics; this network has no other layer that minds
    for epoch in batches:
        for pixels, labels in epoch():
            for group in optimiser.param_groups:
                group["lr"] = rate * _factor(len(losses), steps)
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(pixels), labels)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            losses.append(loss.item())
        accuracy(network, check())
    return losses


def _factor(step: int, steps: int) -> float:
    warm = round(0.1 * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


@torch.inference_mode()
def accuracy(network: nn.Module, batches: Batches) -> list[bool]:
    """Whether each example is told rightly."""
    network.eval()
    return [bool(hit) for pixels, labels in batches for hit in network(pixels).argmax(1) == labels]
