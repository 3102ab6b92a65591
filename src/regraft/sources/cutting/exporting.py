"""Exporting a network: its operations one after the other, as ``torch.export`` records them."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from regraft.core.inputs import Batch

Whole = Callable[[nn.Module, Any, Batch], Tensor]
"""Runs a network from its inputs to its pooled features: ``whole(network, None, inputs)``."""
Shapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape and kind of each input."""

_log = logging.getLogger(__name__)
_NETWORK = "network"
_LOUD = ("torch.fx.experimental.symbolic_shapes", "torch.export", "torch._export")


class ExportError(Exception):
    """The network does not export; the message is torch's reason, in a line."""


@dataclass(frozen=True, eq=False)
class Exported:
    """A network's operations for one mode and one family of shapes.

    Attributes
    ----------
    program
        What ``torch.export`` gave. Its parameters hold no values: they are looked up by name when it is run.
    tensors
        Placeholder to the name of the network's parameter or buffer that it stands for.
    constants
        Placeholder to a tensor that the network's code makes or keeps by itself.
    inputs
        Placeholder to the name of the input.
    shapes
        Of each input; a number, or an expression of symbols where any number that keeps ``guards`` will do.
    """

    program: torch.export.ExportedProgram
    tensors: Mapping[str, str]
    constants: Mapping[str, Tensor]
    inputs: Mapping[str, str]
    shapes: Mapping[str, tuple[Any, ...]]
    guards: tuple[Any, ...] = ()
    known: dict[Any, bool] = field(default_factory=dict)


def export_quietly(module: nn.Module, args: tuple[Any, ...], **options: Any) -> torch.export.ExportedProgram:
    """``torch.export``, not strict, without its warnings about its own inside."""
    with quiet():
        return torch.export.export(module, args, strict=False, **options)


def export_network(network: nn.Module, whole: Whole, shapes: Shapes, *, evaluate: bool = False) -> Exported:
    """The operations of ``whole`` for inputs of these shapes, and of others where the network allows.

    Parameters of ``network`` may be on the meta device; what its code leaves behind stays in a copy. Raises
    :class:`ExportError`.
    """
    failure = ""
    for dynamic in (True, False):
        try:
            return _read(_export(network, whole, shapes, dynamic, evaluate), shapes)
        except Exception as error:  # noqa: BLE001 - an export runs the user's own code: it may raise anything
            _log.info("%s does not export (dynamic=%s): %s", type(network).__name__, dynamic, error)
            failure = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300]
    raise ExportError(failure)


def _export(
    network: nn.Module, whole: Whole, shapes: Shapes, dynamic: bool, evaluate: bool
) -> torch.export.ExportedProgram:
    """What is copied holds no values, so that no tensor of the export outlives it in the user's module."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        module, _ = with_fakes(network, every_parameter=True)
        if evaluate:
            module.eval()
        device = device_of(network)
        batch = {
            name: torch.zeros(shape, dtype=dtype, device=device) for name, (shape, dtype) in shapes.items()
        }
        options: dict[str, Any] = {}
        if dynamic:
            auto = torch.export.Dim.AUTO
            # Pixels have one size in a run; token ids come in many lengths.
            free = {name: 1 if tensor.is_floating_point() else tensor.ndim for name, tensor in batch.items()}
            options["dynamic_shapes"] = ({name: dict.fromkeys(range(free[name]), auto) for name in batch},)
        with torch.device("cpu"):  # a skeleton may be built under another default
            return export_quietly(_Reading(module, whole), (batch,), **options)


class _Reading(nn.Module):
    """A network that reads a batch."""

    def __init__(self, network: nn.Module, whole: Whole):
        super().__init__()
        self.network, self._whole = network, whole
        self.training = network.training

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self._whole(self.network, None, inputs)


def _read(program: torch.export.ExportedProgram, shapes: Shapes) -> Exported:
    signature = program.graph_signature
    prefix = _NETWORK + "."
    stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = {
        place: program.constants[name] for place, name in signature.inputs_to_lifted_tensor_constants.items()
    }
    places = [node for node in program.graph.nodes if node.op == "placeholder"]
    values = {node.name: node.meta["val"] for node in places}
    inputs = dict(zip(signature.user_inputs, shapes, strict=True))
    environment = next(iter(values.values())).fake_mode.shape_env
    return Exported(
        program=program,
        tensors={place: name.removeprefix(prefix) for place, name in stored.items()},
        constants=lifted,
        inputs={str(place): name for place, name in inputs.items()},
        shapes={
            name: tuple(expression_of(length) for length in values[str(place)].shape)
            for place, name in inputs.items()
        },
        guards=tuple(guard.expr for guard in environment.guards) if environment is not None else (),
    )


def expression_of(length: Any) -> Any:
    """A length as a number, or as a sympy expression."""
    return length.node.expr if isinstance(length, torch.SymInt) else int(length)


def device_of(network: nn.Module) -> torch.device:
    """Where a network's tensors are; the CPU for a skeleton."""
    for tensor in [*network.parameters(), *network.buffers()]:
        if not tensor.is_meta:
            return tensor.device
    return torch.device("cpu")


def with_fakes(module: nn.Module, *, every_parameter: bool = False) -> tuple[nn.Module, FakeTensorMode]:
    """A copy whose tensors without memory are fake ones on the CPU, which an export can follow.

    ``every_parameter`` makes those with memory fake as well, where they are; buffers with memory are shared.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    memo: dict[int, Any] = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        is_parameter = isinstance(tensor, nn.Parameter)
        if not tensor.is_meta and not (every_parameter and is_parameter):
            memo[id(tensor)] = tensor
            continue
        device = "cpu" if tensor.is_meta else tensor.device
        with mode:
            fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        needs = every_parameter and tensor.requires_grad
        memo[id(tensor)] = nn.Parameter(fake, requires_grad=needs) if is_parameter else fake
    return copy.deepcopy(module, memo), mode


@contextmanager
def quiet() -> Iterator[None]:
    """Exports warn about their own inside, and print what they have so far where they fail."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    nowhere = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
