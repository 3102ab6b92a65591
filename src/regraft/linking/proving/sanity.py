"""Sanity: what tensors alone can say about a link whose source has no network. It proves nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import torch
from torch import Tensor, nn

from regraft.core.errors import LinkError
from regraft.linking.link import Link
from regraft.linking.load import load_link
from regraft.linking.network import Call, Given, Network
from regraft.linking.proving.bench import rows_of
from regraft.linking.proving.inputs import FAILURES
from regraft.linking.proving.proof import Proof
from regraft.linking.proving.watching import Run, Step, watch

BLIND = (
    "the source is a checkpoint without a network, so nothing could be run beside the target: swapped values "
    "under right names cannot be seen from a checkpoint alone"
)
FACTOR = 30.0
"""How far the scale of a layer may be from that of the others before it is said."""
DEVIATION = 3.0
"""How many standard deviations the mean of a channel may be off, on average, before it is said."""


def look_at(link: Link, inputs: Sequence[Given], *, tolerance: float) -> Proof:
    """A proof that is never proven, with what the tensors and one run of the target show.

    Looks for tensors that are not finite or constant, for variances below zero, for layers whose scale is far
    from that of the others, for activations that explode or vanish, and, where ``inputs`` are given, for
    batch-norm statistics that do not fit what they see.
    """
    target = link.blueprint.network(load_link(link))
    carried = {name for name, row in rows_of(link, target).items() if row.carried}
    state = {name: tensor for name, tensor in target.module.state_dict().items() if name in carried}
    said = [*check_tensors(state), *check_scales(state)]
    differs: str | None = None
    for run in _runs(target, inputs, said):
        said += check_activations(run)
        if inputs:
            moments = check_moments(target, run)
            said += moments
            differs = differs or (moments[0].split(":")[0] if moments else None)
    reason = BLIND + ("" if said else "; its statistics look sound")
    return Proof(
        proven=False,
        max_relative_difference=math.inf,
        first_difference=None,
        tolerance=tolerance,
        compared="nothing",
        first_module=differs or "",
        reason="; ".join([reason, *said[:3], *([".."] if len(said) > 3 else [])]),
        notes=()
        if inputs
        else ("batch-norm statistics are compared with what given inputs show: there were none",),
        statistics=tuple(dict.fromkeys(said)),
    )


def _runs(target: Network, inputs: Sequence[Given], said: list[str]) -> Iterator[Run]:
    calls = [target.adapt(given) for given in inputs] or [target.example]
    for call in calls:
        run = _run(target, call, given=bool(inputs))
        if isinstance(run, str):
            said.append(run)
        else:
            yield run


def _run(target: Network, call: Call, *, given: bool) -> Run | str:
    try:
        return watch(target, call)
    except FAILURES as error:
        line = (str(error).strip().splitlines() or [""])[0][:160]
        if given:
            raise LinkError(f"the target cannot read the inputs: {line}") from error
        return f"the target cannot read made-up inputs ({line}): hand some over with inputs="


def check_tensors(state: Mapping[str, Tensor]) -> list[str]:
    """Tensors that are broken by themselves."""
    said = []
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        if not bool(tensor.isfinite().all()):
            said.append(f"{name}: holds values that are not finite")
        elif name.endswith("running_var") and bool((tensor < 0).any()):
            said.append(f"{name}: a variance below zero")
        elif tensor.ndim > 1 and tensor.numel() > 8 and bool((tensor == tensor.flatten()[0]).all()):
            said.append(f"{name}: every value is {tensor.flatten()[0].item():g}")
    return said


def check_scales(state: Mapping[str, Tensor]) -> list[str]:
    """Weights whose gain, standard deviation times the root of the fan-in, is far from that of the others."""
    gains = {name: gain for name, tensor in state.items() if (gain := _gain(tensor)) > 0}
    if len(gains) < 4:
        return []
    middle = median(gains.values())
    return [
        f"{name}: gain {gain:.2g}, the median layer has {middle:.2g}"
        for name, gain in gains.items()
        if not middle / FACTOR <= gain <= middle * FACTOR
    ]


def _gain(tensor: Tensor) -> float:
    """Of a linear layer or a convolution: how much it scales noise of unit variance."""
    if tensor.ndim < 2 or not tensor.is_floating_point() or (tensor.ndim == 2 and min(tensor.shape) == 1):
        return 0.0
    gain = tensor.float().std(correction=0).item() * math.sqrt(tensor[0].numel())
    return gain if math.isfinite(gain) else 0.0


def check_activations(run: Run) -> list[str]:
    """Where what passes through stops being a number, explodes or vanishes: the first place of each."""
    said: dict[str, str] = {}
    for step in run.steps:
        if step.leaving is None or step.leaving.numel() == 0:
            continue
        size = step.leaving.float().pow(2).mean().sqrt().item()
        if not math.isfinite(size):
            said.setdefault("broken", f"{step.path}: its outputs are not finite")
        elif size > 1e4:
            said.setdefault("large", f"{step.path}: its outputs explode (root mean square {size:.1g})")
        elif size < 1e-5:
            said.setdefault("small", f"{step.path}: its outputs vanish (root mean square {size:.1g})")
    return list(said.values())


def check_moments(target: Network, run: Run) -> list[str]:
    """Batch norms whose statistics do not fit what enters them, in execution order."""
    said = []
    for step in run.steps:
        module = target.module.get_submodule(step.path)
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            off, ratio = measure_moments(module, step)
            if off > DEVIATION or not 1 / FACTOR < ratio < FACTOR:
                said.append(
                    f"{step.path}: what enters it is {off:.1f} standard deviations off its running mean, "
                    f"its variance {ratio:.2g} times the running one"
                )
    return said


def measure_moments(norm: nn.modules.batchnorm._BatchNorm, step: Step) -> tuple[float, float]:
    """Mean over channels of ``|mean - running mean| / running deviation``, and of the variances' ratio."""
    if step.entering is None or norm.running_mean is None or norm.running_var is None:
        return 0.0, 1.0
    values = step.entering.double().transpose(0, 1).flatten(1)
    deviation = (norm.running_var.double().clamp_min(0) + norm.eps).sqrt()
    off = ((values.mean(1) - norm.running_mean.double()).abs() / deviation).mean().item()
    ratio = torch.log((values.var(1, correction=0) + norm.eps) / deviation.square()).mean().exp().item()
    return (off if math.isfinite(off) else math.inf), ratio
