"""Unseen: carried tensors that could not have changed what was compared: agreement shows nothing of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from regraft.core.randomness import torch_generator
from regraft.linking.network import Call, Network
from regraft.linking.proving.cut import Cut
from regraft.linking.proving.inputs import FAILURES
from regraft.linking.proving.watching import Run, watch

_STATISTICS = ("running_mean", "running_var")


def find_unseen(network: Network, call: Call, cut: Cut, carried: Iterable[str]) -> tuple[str, ...] | None:
    """Those of the ``carried`` tensors that could not have changed what is compared; None where not known.

    A parameter is unseen where the gradient of a random projection of the compared values is zero in every
    element: its module is never run, or what it gives is multiplied by zero. Statistics of a batch norm are
    unseen with its bias, or where its weight is zero.
    """
    state = network.module.state_dict(keep_vars=True)
    names = [name for name in carried if name in state]
    parameters = {name: state[name] for name in names if isinstance(state[name], nn.Parameter)}
    parameters = {name: one for name, one in parameters.items() if one.is_floating_point()}
    try:
        run, dead = _find_dead(network, call, cut, parameters)
    except FAILURES:
        return None
    ran = {name for step in run.steps for name in step.names}
    unseen = [
        name
        for name in names
        if name in dead or (name.endswith(_STATISTICS) and _is_idle(name, state, dead, ran))
    ]
    return tuple(unseen)


def _find_dead(network: Network, call: Call, cut: Cut, parameters: dict[str, Tensor]) -> tuple[Run, set[str]]:
    tensors = list({id(one): one for one in parameters.values()}.values())
    before = [one.requires_grad for one in tensors]
    for one in tensors:
        one.requires_grad_(True)
    try:
        run = watch(network, call, gradients=True)
        projected = _project(cut.ours(run))
        found = torch.autograd.grad(projected, tensors, allow_unused=True)
    finally:
        for one, flag in zip(tensors, before, strict=True):
            one.requires_grad_(flag)
    dead = {
        id(one)
        for one, gradient in zip(tensors, found, strict=True)
        if gradient is None or not bool(gradient.any())
    }
    return run, {name for name, one in parameters.items() if id(one) in dead}


def _project(values: Sequence[Tensor]) -> Tensor:
    generator = torch_generator(0, "projection")
    total = torch.zeros((), dtype=torch.float64)
    for value in values:
        direction = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        total = total + (value.double() * direction).sum()
    return total


def _is_idle(name: str, state: dict[str, Tensor], dead: set[str], ran: set[str]) -> bool:
    stem = name.rpartition(".")[0]
    weight, bias = (f"{stem}.{leaf}" if stem else leaf for leaf in ("weight", "bias"))
    if weight in state and not bool(state[weight].detach().any()):
        return True
    return bias in dead or name not in ran
