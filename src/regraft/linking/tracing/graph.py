"""Graph: what a network does, operator by operator, read off its export."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regraft.linking.network import Call, Network, outputs_of
from regraft.linking.tracing.operators import Operator, read_operators
from regraft.sources.cutting.exporting import export_quietly, with_fakes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graph:
    """A traced network: its operators, in execution order."""

    operators: tuple[Operator, ...]


def trace(network: Network, call: Call | None = None) -> Graph | None:
    """The operators of a network, exported with its example call or another.

    Parameters may be on the meta device. None where the network cannot be exported; the log says why.
    """
    call = call or network.example
    module = with_fakes(network.module)[0] if _has_meta(network.module) else network.module
    try:
        with torch.no_grad():
            exported = export_quietly(TensorsOnly(module), call.args, kwargs=call.kwargs)
    except Exception as error:  # noqa: BLE001 - an export runs the user's own code, which may raise anything
        _log.info("%s does not export: %s", type(network.module).__name__, error)
        return None
    return Graph(read_operators(exported, TensorsOnly.PREFIX))


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
