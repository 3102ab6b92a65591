"""Graph: what a network does, operator by operator, read off its export."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from regraft.linking.network import Call, Network, outputs_of
from regraft.linking.tracing.operators import Operator, follows_input, read_operators

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Values:
    """What ran through a network, cloned as it passed.

    Attributes
    ----------
    inputs, outputs
        By an operator's name: the activation that enters it and the one that leaves it.
    final
        The floating-point tensors that the network gives.
    """

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    final: list[Tensor]


@dataclass(frozen=True)
class Graph:
    """A traced network.

    Attributes
    ----------
    operators
        In execution order.
    exported
        The program, made for the shapes of the call that it was traced with.
    """

    operators: tuple[Operator, ...]
    exported: torch.export.ExportedProgram = field(repr=False)

    def values(self, network: Network, call: Call) -> Values:
        """Run the graph with the network's own tensors and keep what enters and leaves every operator."""
        keeper = _Keeper(self)
        state = {TensorsOnly.PREFIX + name: tensor for name, tensor in _state(network.module).items()}
        given = iter(torch.utils._pytree.tree_leaves((call.args, call.kwargs)))
        arguments = [
            state[spec.target] if spec.target in state else self._constant(spec, given)
            for spec in self.exported.graph_signature.input_specs
        ]
        with torch.inference_mode():
            final = keeper.run(*arguments)
        return Values(keeper.inputs, keeper.outputs, outputs_of(final))

    def _constant(self, spec: Any, given: Iterator[Any]) -> Any:
        if spec.target is not None and spec.target in self.exported.constants:
            return self.exported.constants[spec.target]
        return next(given)


def trace(network: Network, call: Call | None = None) -> Graph | None:
    """The operators of a network, exported with its example call or another.

    Parameters may be on the meta device. None where the network cannot be exported; the log says why.
    """
    call = call or network.example
    module = with_fakes(network.module)[0] if _has_meta(network.module) else network.module
    try:
        with torch.no_grad(), _quiet():
            exported = torch.export.export(TensorsOnly(module), call.args, call.kwargs, strict=False)
    except Exception as error:  # noqa: BLE001 - an export runs the user's own code, which may raise anything
        _log.info("%s does not export: %s", type(network.module).__name__, error)
        return None
    return Graph(read_operators(exported, TensorsOnly.PREFIX), exported)


class TensorsOnly(nn.Module):
    """A module of whose output only the tensors are kept: caches and the like do not export."""

    PREFIX = "inner."

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner
        self.training = inner.training

    def forward(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        """The floating-point tensors that the module gives."""
        return outputs_of(self.inner(*args, **kwargs))


def _has_meta(module: nn.Module) -> bool:
    return any(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])


def with_fakes(module: nn.Module) -> tuple[nn.Module, FakeTensorMode]:
    """A copy whose tensors without memory are fake ones on the CPU, which an export can follow."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    memo: dict[int, Any] = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        if not tensor.is_meta:
            memo[id(tensor)] = tensor
            continue
        with mode:
            fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(fake, requires_grad=False) if is_parameter else fake
    return copy.deepcopy(module, memo), mode


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Exports warn about their own inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Keeper(torch.fx.Interpreter):
    """Runs a graph and keeps what enters and leaves its operators, before anything in place changes it."""

    def __init__(self, graph: Graph):
        super().__init__(graph.exported.graph_module)
        self.wanted = {operator.name for operator in graph.operators}
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        self.activations = {node.name for node in follows_input(graph.exported)}

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one node; of an operator keep the first activation that enters it and what it gives."""
        if n.name not in self.wanted:
            return super().run_node(n)
        for node in n.all_input_nodes:
            value = self.env[node]
            if node.name in self.activations and isinstance(value, Tensor):
                self.inputs[n.name] = value.clone()
                break
        result = super().run_node(n)
        first = result[0] if isinstance(result, (tuple, list)) else result
        if isinstance(first, Tensor):
            self.outputs[n.name] = first.clone()
        return result
