"""Finding a network's blocks: from its graph, else from its modules, without its weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from regraft.core.randomness import torch_generator
from regraft.sources.cutting.boundaries import outline_modules
from regraft.sources.cutting.chance import random_blocks
from regraft.sources.cutting.exporting import ExportError, Whole
from regraft.sources.cutting.flow import Flow
from regraft.sources.cutting.graphs import flow_of
from regraft.sources.cutting.outline import Outline, Part, frames_of, outline_graph, places_of
from regraft.sources.cutting.usage import users_by_graph, users_of
from regraft.sources.example import example_of

if TYPE_CHECKING:
    from regraft.core.preprocessing import Preprocessing

_UNCUT = (Part("network", None, ("",)),)


def find_outline(network: nn.Module, whole: Whole, reads: Preprocessing | None) -> Outline:
    """The network's blocks; a single one, with the reason, where none can be found."""
    if reads is None:
        return Outline(_UNCUT, "whole", "it is not known what its inputs look like")
    try:
        example = example_of(reads)
        shapes = {name: (tuple(one.shape), one.dtype) for name, one in example.items()}
        flow = flow_of(network, whole, shapes, evaluate=True)
    except ExportError as error:
        return find_modules(network, whole, reads, f"it does not export ({error})")
    parts = outline_graph(flow, network, text=_reads_text(shapes))
    if len(parts) > 1:
        return Outline(
            parts,
            "graph",
            passing=_passing(flow, parts),
            users=users_by_graph(network, whole, parts, example),
            chance=random_blocks(flow, parts, network),
        )
    reason = "nowhere in its graph is one activation alone alive"
    return find_modules(network, whole, reads, reason)


def find_modules(network: nn.Module, whole: Whole, reads: Preprocessing | None, reason: str) -> Outline:
    """The blocks between its modules; ``reason`` says why not those of its graph."""
    if reads is None:
        return Outline(_UNCUT, "whole", reason)
    example = dict(example_of(reads))
    try:
        filled = _filled(network)
        parts = outline_modules(filled, whole, example, text=_reads_text(example))
    except Exception as error:  # noqa: BLE001 - this runs the user's own code, which may raise anything
        parts = _UNCUT
        reason = f"{reason}, and it does not run on made-up inputs ({type(error).__name__})"
    if len(parts) > 1:
        return Outline(parts, "modules", reason, users=users_of(filled, whole, parts, example))
    return Outline(_UNCUT, "whole", f"{reason}, and none of its modules gives all that the later ones need")


def _reads_text(example: Mapping[str, Any]) -> bool:
    return "input_ids" in example


def _filled(network: nn.Module) -> nn.Module:
    """A copy in ``eval`` mode with made-up values: where it is cut must not depend on its weights."""
    generator = torch_generator(0, "fill a network")
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        values = torch.empty(parameter.shape, dtype=parameter.dtype)
        if parameter.is_floating_point():
            values.normal_(std=0.05, generator=generator)
        memo[id(parameter)] = nn.Parameter(values, requires_grad=False)
    for name, buffer in network.named_buffers():
        if buffer.is_meta:
            memo[id(buffer)] = torch.full(
                buffer.shape, int(name.endswith("running_var")), dtype=buffer.dtype, device="cpu"
            )
    return copy.deepcopy(network, memo).cpu().eval()


def _passing(flow: Flow, parts: tuple[Part, ...]) -> dict[str, str]:
    """Whether the activation before the pooling is a map or tokens: by where its features lie."""
    start = places_of([frames_of(node) for node in flow.main], [part.start for part in parts])[-1]
    crossing = flow.crossing(start) if start is not None else None
    if crossing is None or parts[-1].name != "pool":
        return {}
    shape, width = crossing.meta["val"].shape, flow.output.meta["val"].shape[-1]
    name = parts[-2].name
    if len(shape) == 4 and shape[1] == width and shape[3] != width:
        return {"map": name}
    return {"tokens": name} if len(shape) == 3 and shape[2] == width else {}
