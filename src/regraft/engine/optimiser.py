"""Parameter groups and the optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.optim import SGD, AdamW, Optimizer

from regraft.core.errors import PlanError
from regraft.engine.freezing import Freeze
from regraft.engine.patterns import matches
from regraft.engine.processes.sharding import divided_like
from regraft.linking import Grafted
from regraft.plans import GroupSpec, OptimiserSpec


def make_optimiser(
    model: Grafted,
    freeze: Freeze,
    groups: Sequence[GroupSpec],
    spec: OptimiserSpec,
    parts: torch.nn.Module | None = None,
) -> Optimizer:
    """An optimiser over the trained parameters; each belongs to the first group that matches it.

    Biases and normalisation weights (one dimension) get no weight decay. Raises :class:`PlanError` for a
    trained parameter that no group matches and for a group that matches none.

    The ``parts`` of terms, which are trained beside the model, belong to the group of its heads.
    """
    members: list[list[str]] = [[] for _ in groups]
    homeless: list[str] = []
    for name, _ in model.named_parameters():
        if name not in freeze.trainable:
            continue
        home = next((i for i, group in enumerate(groups) if matches(model, name, group.match)), None)
        (homeless if home is None else members[home]).append(name)
    if homeless:
        raise PlanError(
            f"trained parameters that belong to no group: {', '.join(homeless)}. Add a group for them."
        )
    own = {} if parts is None else dict(parts.named_parameters())
    beside = {f"terms {name}": value for name, value in own.items()}
    parameters = {**dict(model.named_parameters()), **beside}
    if beside:
        head = f"heads.{next(iter(dict(model.heads.named_parameters())))}"
        home = next((i for i, group in enumerate(groups) if matches(model, head, group.match)), None)
        if home is None:
            raise PlanError(
                "a term brings layers of its own, which learn as the head does: add a group for it"
            )
        members[home] += beside
    settings = []
    for number, (group, names) in enumerate(zip(groups, members, strict=True)):
        if not names:
            raise PlanError(f"the group {', '.join(group.match)} matches no trained parameter")
        for decay, dims in ((group.weight_decay, (2, 99)), (0.0, (0, 1))):
            chosen = [parameters[n] for n in names if dims[0] <= parameters[n].ndim <= dims[1]]
            if chosen:
                # A rate that is still to be found is none until then.
                rate = 0.0 if group.rate == "auto" else group.rate
                settings.append(
                    {"params": chosen, "lr": rate, "peak": rate, "weight_decay": decay, "number": number}
                )
    if spec.name == "adamw":
        return AdamW(settings, betas=spec.betas, foreach=False)
    return SGD(settings, momentum=spec.momentum, foreach=False)


def set_peaks(optimiser: Optimizer, peaks: Mapping[int, float]) -> None:
    """Set the peak rates of some of the plan's groups, by their numbers."""
    for group in optimiser.param_groups:
        group["peak"] = peaks.get(group["number"], group["peak"])


def set_rates(optimiser: Optimizer, factor: float) -> None:
    """Set every group's rate to its peak times ``factor``."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def rates_by_group(optimiser: Optimizer, groups: Sequence[GroupSpec]) -> dict[str, float]:
    """The rate of each of the plan's groups now, by the patterns that it matches."""
    rates = {group["number"]: group["lr"] for group in optimiser.param_groups}
    return {", ".join(group.match): rates[number] for number, group in enumerate(groups)}


def optimiser_tensors(optimiser: Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's state as named tensors, by position of the parameter."""
    tensors = {}
    for index, parameter in enumerate(_ordered(optimiser)):
        for key, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
    return tensors


def restore_optimiser(optimiser: Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what :func:`optimiser_tensors` gave."""
    ordered = _ordered(optimiser)
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        parameter = ordered[int(index)]
        # AdamW counts its steps on the CPU whatever the device.
        moved = value if value.ndim == 0 else divided_like(value.to(parameter.device), parameter)
        optimiser.state[parameter][key] = moved.clone()


def _ordered(optimiser: Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
