"""What strategies share that leave the source's weights alone and train a few beside them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from regraft.core.errors import PlanError
from regraft.plans import EditSpec, GroupSpec, OptimiserSpec, Plan, SolveStage, StopSpec, TrainStage
from regraft.sources.layers import attention_layers, fold_paths, is_convolution, is_linear, is_pointwise
from regraft.strategies.strategy import Situation, supervised_term, target_stream

HEAD_RATE = 1e-4


def adapter_plan(situation: Situation, strategy: str, edit: EditSpec, rate: float) -> Plan:
    """Solve the head, then train it with what an edit adds; the source's weights stay as they are.

    The solved head and frozen batch-norm statistics are those of ``lpft``. What the edit adds gets no weight
    decay: it begins as nothing, or as a factor of 1.
    """
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
                trainable=(edit.edit, "head"),
                norm_statistics="frozen",
                groups=(
                    GroupSpec(match=("head",), rate=HEAD_RATE),
                    GroupSpec(match=(edit.edit,), rate=rate),
                ),
                optimiser=OptimiserSpec(name="adamw", clip=1.0),
                stop=StopSpec(epochs=20, patience=5),
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
