"""The order in which a network's modules run, for networks that cannot be exported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch
from torch import nn

from regraft.linking.finding.unit import Shape, Unit
from regraft.linking.finding.units import named_units
from regraft.linking.network import Network
from regraft.sources.cutting.exporting import with_fakes

_log = logging.getLogger(__name__)


def executed_units(network: Network, shapes: Mapping[str, Shape]) -> list[Unit]:
    """The units that names tell of, in the order in which their modules run, else in definition order.

    ``shapes`` are those of the tensors by their names in the link.
    """
    names = {key: name for name, key in network.keys.items() if key in shapes}
    ran = _run_order(network)
    last = len(ran)

    def place(key: str) -> int:
        path = names[key].rpartition(".")[0]
        while path and path not in ran:
            path = path.rpartition(".")[0]
        return ran.get(path, last)

    ordered = sorted(names, key=place)
    return named_units({key: shapes[key] for key in ordered})


def _run_order(network: Network) -> dict[str, int]:
    """Paths of the modules that own tensors, numbered as they first run, as far as the run goes."""
    module, mode = with_fakes(network.module)
    order: dict[str, int] = {}
    with ExitStack() as stack:
        for path, part in module.named_modules():
            if path and any(True for _ in part.parameters(recurse=False)):
                handle = part.register_forward_pre_hook(_recorder(order, path))
                stack.callback(handle.remove)
        try:
            with torch.no_grad(), mode:
                module(*network.example.args, **network.example.kwargs)
        except Exception as error:  # noqa: BLE001 - this runs the user's own code, which may raise anything
            _log.info("%s runs only so far: %s", type(network.module).__name__, error)
    return order


def _recorder(order: dict[str, int], path: str) -> Callable[[nn.Module, object], None]:
    def record(module: nn.Module, given: object) -> None:
        order.setdefault(path, len(order))

    return record
