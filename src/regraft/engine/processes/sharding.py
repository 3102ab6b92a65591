"""Sharding (FSDP2): trained weights, their gradients and optimiser state divided among the processes.

Each process holds a share of every trained weight between steps, with its part of the gradients and of the
optimiser's state; a layer's weights are put together while it runs. What is frozen is whole in all of them.
After the stage the model is an ordinary one again: the same modules and parameters, with new values.

Source: Zhao et al. (2023), "PyTorch FSDP: experiences on scaling fully sharded data parallel".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.terms import find_term

if TYPE_CHECKING:
    from regraft.engine.processes.group import Processes
    from regraft.engine.settings import Settings
    from regraft.linking import Grafted
    from regraft.plans import Plan, TrainStage

_FORWARD = "run_from"
_TOLERANCE = 1e-5  # of the largest output
_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
)

Outputs = dict[str, Tensor]


class Sharded:
    """A model whose trained weights are divided, until :meth:`undo`.

    Parameters
    ----------
    trained
        Names of the parameters that are trained.
    probe
        Runs the model on a few examples; from that it is seen which layers are called as a whole and can be
        put together one at a time, and that nothing reaches around them.
    """

    def __init__(
        self, processes: Processes, model: Grafted, trained: frozenset[str], probe: Callable[[], Outputs]
    ):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        self.model = model
        self._whole = {name: p for name, p in model.named_parameters() if name in trained}
        before, called = _called_modules(model, probe)
        layers = [*_layers(model, called, set(self._whole.values())), model]
        self._before = [(module, type(module), _facts(module)) for module in model.modules()]
        device = next(model.parameters()).device.type
        mesh = init_device_mesh(device, (processes.world,))
        frozen = {p for name, p in model.named_parameters() if name not in trained}
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=frozen)
        register_fsdp_forward_method(model, _FORWARD)
        for layer in layers:
            assert isinstance(layer, FSDPModule)
            layer.set_gradient_divide_factor(1.0)  # terms divide by counts of the whole batch already
            layer.set_force_sum_reduction_for_comms(True)
        for parameter in self._whole.values():
            parameter.data = parameter.data.new_empty(0)  # the shards are what there is now
        self.layers = len(layers)
        self._check(before, probe)

    def _check(self, before: Outputs, probe: Callable[[], Outputs]) -> None:
        try:
            after = _run(probe)
            same = all(
                torch.allclose(after[name], value, rtol=0, atol=_TOLERANCE * float(value.abs().max() + 1))
                for name, value in before.items()
            )
        except (RuntimeError, AttributeError, TypeError) as error:
            raise PlanError(_refusal(self.model, f"{type(error).__name__}: {error}")) from error
        if not same:
            raise PlanError(_refusal(self.model, "its outputs are others"))

    def undo(self) -> None:
        """Make the model an ordinary one again; called by all processes."""
        values = {name: whole(p).detach() for name, p in self.model.named_parameters() if name in self._whole}
        for module, kind, facts in self._before:
            module.__class__ = kind
            for key in [key for key in vars(module) if _is_ours(key)]:
                del module.__dict__[key]
            for key, value in facts.items():
                getattr(module, key).clear()
                getattr(module, key).update(value)
        for name, parameter in self._whole.items():
            parameter.data = values[name]
            parameter.grad = None


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with their shards put together; called by all processes."""
    return {name: whole(tensor) for name, tensor in tensors.items()}


def whole(tensor: Tensor) -> Tensor:
    """A tensor with its shards put together."""
    put_together = getattr(tensor, "full_tensor", None)  # a DTensor, whose import takes a while
    return tensor if put_together is None else put_together()


def is_divided(tensor: Tensor) -> bool:
    """Whether a process holds only its share of a tensor."""
    return hasattr(tensor, "full_tensor")


def divided_like(value: Tensor, pattern: Tensor) -> Tensor:
    """A whole tensor, which all processes have, divided as another one is."""
    if not is_divided(pattern) or value.ndim == 0:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(pattern, DTensor)
    return distribute_tensor(
        value.to(pattern.device), pattern.device_mesh, pattern.placements, src_data_rank=None
    )


def check_divisible(settings: Settings, plan: Plan, stage: TrainStage) -> None:
    """Raise :class:`PlanError` for what a stage with divided weights cannot do."""
    if settings.sharding == "none":
        return
    followers = [name for name, spec in plan.models.items() if spec.average_of == stage.model]
    if followers:
        raise PlanError(
            f"the model {followers[0]!r} follows {stage.model!r} by its whole weights, and --sharding "
            f"{settings.sharding} divides them: leave one of the two out"
        )
    reading = [term.computes for term in stage.terms if "weights" in find_term(term.computes).needs]
    if reading:
        raise PlanError(
            f"the term {reading[0]!r} reads whole weights, and --sharding {settings.sharding} divides them: "
            "leave one of the two out"
        )
    if settings.precision == "float16":
        raise PlanError(
            f"--sharding {settings.sharding} with --precision float16: each process would scale its share of "
            "the gradients by itself. Use bfloat16 or float32."
        )


def _called_modules(model: nn.Module, probe: Callable[[], Outputs]) -> tuple[Outputs, set[nn.Module]]:
    called: set[nn.Module] = set()
    handles = [
        module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in model.modules()
    ]
    try:
        return _run(probe), called
    finally:
        for handle in handles:
            handle.remove()


def _run(probe: Callable[[], Outputs]) -> Outputs:
    with torch.no_grad():
        return {name: value.clone() for name, value in probe().items()}


def _layers(model: Grafted, called: set[nn.Module], trained: set[nn.Parameter]) -> Iterator[nn.Module]:
    """Whole layers of the trained blocks: the outermost called ones that do not hold most of the network."""
    total = sum(parameter.numel() for parameter in trained)
    taken: set[str] = set()
    for name, module in model.trunk.network.named_modules():
        inside = any(name == other or name.startswith(f"{other}.") for other in taken)
        size = sum(parameter.numel() for parameter in module.parameters() if parameter in trained)
        if name and module in called and not inside and 0 < size <= total / 2:
            taken.add(name)
            yield module


def _facts(module: nn.Module) -> dict[str, Any]:
    """What sharding changes in a module."""
    kept = {key: dict(getattr(module, key)) for key in _HOOKS if hasattr(module, key)}
    return {"_parameters": dict(module._parameters), **kept}


def _is_ours(key: str) -> bool:
    composable = key.startswith("__composable_api")
    return composable or key in ("_is_fsdp_managed_module", "_fsdp_use_orig_params", _FORWARD)


def _refusal(model: Grafted, why: str) -> str:
    name = type(model.trunk.network).__name__
    return (
        f"the network {name} cannot be sharded: with its layers divided, {why}. "
        "Its code reaches weights without calling the layer that holds them. Leave --sharding out."
    )


@contextmanager
def no_gradients(model: nn.Module) -> Iterator[None]:
    """Inference; weights that are put together on the way may not be marked as made for inference only."""
    with torch.no_grad() if hasattr(model, "unshard") else torch.inference_mode():
        yield
