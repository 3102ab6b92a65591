"""What strategies share that leave the source's weights alone and train a few beside them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from regraft.core.errors import PlanError
from regraft.plans import EditSpec, GroupSpec, OptimiserSpec, Plan, SolveStage, TrainStage
from regraft.sources.layers import (
    attention_holders,
    attention_layers,
    fold_paths,
    is_convolution,
    is_linear,
    is_pointwise,
)
from regraft.strategies import base
from regraft.strategies.base import EPOCHS, HEAD_RATE, until
from regraft.strategies.choosing import chosen_parameters, patterns_of as patterns_of_parameters
from regraft.strategies.norm_only import is_of_norm
from regraft.strategies.sparse import FEW_RATE
from regraft.strategies.strategy import Situation, supervised_term, target_stream


def edited_plan(
    situation: Situation, strategy: str, edit: EditSpec, rate: float, *, beside: Sequence[str] = ()
) -> Plan:
    """Solve the head, then train it with what an edit adds; the source's weights stay as they are.

    The solved head and frozen batch-norm statistics are those of ``lpft``. What the edit adds gets no weight
    decay: it begins as nothing, or as a factor of 1. ``beside`` are patterns of plain parameters that are
    trained as well. Blocks that nothing carries over to are trained whole.
    """
    new = situation.fresh_blocks
    fresh = (GroupSpec(match=new, rate=base.RATE, weight_decay=base.WEIGHT_DECAY),) if new else ()
    few = (GroupSpec(match=tuple(beside), rate=FEW_RATE),) if beside else ()
    return Plan(
        strategy=strategy,
        seed=situation.seed,
        draw=situation.draw,
        models=situation.student(),
        streams=target_stream(views=1),
        stages=(
            SolveStage(name="head", solver="ridge"),
            TrainStage(
                name="tune",
                terms=supervised_term(),
                edits=(edit,),
                trainable=(*new, edit.edit, *beside, "head"),
                norm_statistics="frozen",
                groups=(
                    GroupSpec(match=("head",), rate=HEAD_RATE),
                    GroupSpec(match=(edit.edit,), rate=rate),
                    *fresh,
                    *few,
                ),
                optimiser=OptimiserSpec(name="adamw", clip=1.0),
                stop=until(EPOCHS),
            ),
        ),
    )


def mixing_layers(situation: Situation, strategy: str) -> tuple[str, ...]:
    """Paths of the layers in which a network mixes its features.

    In a transformer all Linear layers inside attention; in a convolutional network the pointwise convolutions
    where these hold most of the weights, else all ordinary ones; elsewhere every Linear layer.
    """
    network = network_of(situation)
    if found := attention_layers(network):
        return found
    sizes = {
        path: layer.weight.numel()
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Conv1d | nn.Conv2d) and is_convolution(layer, nn.Conv1d, nn.Conv2d)
    }
    pointwise = [path for path in sizes if is_pointwise(network.get_submodule(path))]
    if pointwise and 2 * sum(sizes[path] for path in pointwise) >= sum(sizes.values()):
        return tuple(pointwise)
    linear = [path for path, layer in network.named_modules() if path and is_linear(layer)]
    if not sizes and not linear:
        raise PlanError(
            f"{strategy} adapts Linear layers and convolutions, and the network of "
            f"{situation.link.source.name} has none: use lpft, which trains the last blocks themselves"
        )
    return tuple(sizes) or tuple(linear)


def branch_ends(situation: Situation, strategy: str) -> tuple[str, ...]:
    """Paths of the layers that what a block computes goes through last, before it is added to what it read.

    In a transformer the last Linear layer of each attention and the second one of each feed-forward pair; in
    a convolutional network the last convolution of each block; elsewhere every Linear layer.
    """
    network = network_of(situation)
    if attention := attention_layers(network):
        return tuple(
            path
            for path, _ in network.named_modules()
            if path
            in {*_last_of_each(attention, attention_holders(network)), *second_layers(network, attention)}
        )
    trunk = situation.trunk
    found: dict[str, str] = {}
    for path, layer in network.named_modules():
        if is_convolution(layer, nn.Conv1d, nn.Conv2d) and not _around(path):
            found[trunk.block_of(path)] = path
    return tuple(found.values()) or mixing_layers(situation, strategy)


def _last_of_each(attention: Sequence[str], holders: Sequence[str]) -> set[str]:
    """The last of the Linear layers in each attention that lies in no other."""
    outer = [one for one in holders if not any(one.startswith(f"{other}.") for other in holders)]
    inside = [[path for path in attention if path.startswith(f"{one}.")] for one in outer]
    return {paths[-1] for paths in inside if paths}


def _around(path: str) -> bool:
    """Whether a convolution lies on the way around a block, as its name tells."""
    return any(word in path for word in ("downsample", "shortcut", "skip"))


def second_layers(network: nn.Module, attention: Sequence[str]) -> tuple[str, ...]:
    """Paths of Linear layers outside attention that read more features than they give."""
    return tuple(
        path
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
        and is_linear(layer)
        and path not in attention
        and layer.in_features > layer.out_features
    )


def norms_of(situation: Situation) -> tuple[str, ...]:
    """Patterns of what normalisation layers scale and shift by."""
    return patterns_of_parameters(situation, chosen_parameters(situation, is_of_norm))


def patterns_of(situation: Situation, paths: Sequence[str]) -> tuple[str, ...]:
    """The paths as a plan says them."""
    return fold_paths(paths, [path for path, _ in network_of(situation).named_modules()])


def network_of(situation: Situation) -> nn.Module:
    """The network without its weights."""
    return situation.link.graft.skeleton().trunk.network


def check_rank(strategy: str, argument: str) -> None:
    """Raise :class:`PlanError` for an argument that is no rank."""
    if argument and not (argument.isdigit() and int(argument) > 0):
        raise PlanError(f"{strategy} takes a rank from 1 on behind its colon; got {argument!r}")
