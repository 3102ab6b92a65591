"""Applying a link: source tensors are copied into a model that was built without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regraft.core.errors import LinkError
from regraft.core.randomness import torch_randomness
from regraft.linking.blueprint import TRUNK, Blueprint
from regraft.linking.fixing import apply_fixes
from regraft.linking.grafted import Grafted
from regraft.linking.row import Row
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Checkpoint, build_trunk, open_tensors
from regraft.sources.skeleton import weightless

if TYPE_CHECKING:
    from regraft.linking.link import Link


def load_link(link: Link) -> nn.Module:
    """The model with its weights. Only the model's own tensors are allocated, one source tensor at a time.

    Where a trunk tensor starts fresh, the network initialises itself, under randomness keyed by the link's
    seed, and what carries over is copied into it.
    """
    carried = [row for row in link.rows if row.carried]
    with torch_randomness(link.seed, "initialise"):
        model = _start(link)
    weights = link.origin.weights() if carried else open_tensors({})
    places = model.state_dict(keep_vars=True)
    _check(link, carried, places, weights)
    put = _Put(model)
    for row in carried:
        put(row.target, _make(row, weights, places[row.target]))
    _check_memory(link, model)
    return model.eval()


def restore(blueprint: Blueprint, tensors: Mapping[str, Tensor]) -> Grafted:
    """The blueprint's model with exactly these tensors, named as in its state dict, in ``eval`` mode.

    Raises ``LinkError`` that lists every missing, strange or misshapen tensor.
    """
    model = blueprint.skeleton()
    places = model.state_dict(keep_vars=True)
    wrong = [f"  {name} is missing" for name in places if name not in tensors]
    wrong += [f"  {name} belongs nowhere" for name in tensors if name not in places]
    wrong += [
        f"  {name} has shape {tuple(tensors[name].shape)} instead of {tuple(place.shape)}"
        for name, place in places.items()
        if name in tensors and tensors[name].shape != place.shape
    ]
    if wrong:
        raise LinkError("these tensors are not those of the model:\n" + "\n".join(wrong))
    put = _Put(model)
    for name, place in places.items():
        put(name, tensors[name].to(place.dtype, copy=True))
    return model.eval()


def _start(link: Link) -> nn.Module:
    blueprint = link.blueprint
    if isinstance(blueprint, WholeBlueprint):
        model = blueprint.skeleton() if all(row.carried for row in link.rows) else blueprint.build()
        # Some networks compute a buffer from a parameter, and have none where parameters have no memory.
        return blueprint.build() if any(buffer.is_meta for buffer in model.buffers()) else model
    if any(row.target.startswith(TRUNK) and not row.carried for row in link.rows):
        return blueprint.build()
    with weightless():
        trunk = build_trunk(blueprint.source)
    grafted = Grafted(trunk, {task.spec.name: task.head(trunk.width) for task in blueprint.tasks})
    apply_fixes(grafted, blueprint.fixes)
    return grafted


def _check(link: Link, carried: list[Row], places: Mapping[str, Tensor], weights: Checkpoint) -> None:
    """A saved link may meet another model or other weights than those that it was made for."""
    wrong = [f"  the model has no {row.target}" for row in link.rows if row.target not in places]
    named = {row.target for row in link.rows}
    wrong += [f"  the link says nothing about {name}" for name in places if name not in named]
    for row in carried:
        wrong += [f"  the source has no {name}" for name in row.sources if name not in weights]
        shape = weights.shape(row.source) if row.source is not None and row.source in weights else None
        if shape is not None and shape != row.source_shape:
            wrong.append(f"  {row.source} has shape {shape} instead of {row.source_shape}")
    if wrong:
        raise LinkError(
            f"this link is not one between {link.origin.name} and this model:\n" + "\n".join(wrong)
        )


def _make(row: Row, weights: Checkpoint, place: Tensor) -> Tensor:
    tensors = [weights.read(name) for name in row.sources]
    if row.recipe is None:
        return tensors[0].to(place.dtype)
    try:
        made = row.recipe.apply(tensors, place)
    except (IndexError, RuntimeError) as error:
        raise LinkError(f"{row.target} cannot be made of {', '.join(row.sources)}: {error}") from error
    if made.shape != place.shape:
        raise LinkError(
            f"{row.target} is {tuple(place.shape)}; {', '.join(row.sources)} ({row.recipe.sentence}) gives "
            f"{tuple(made.shape)}"
        )
    return made


def _check_memory(link: Link, model: nn.Module) -> None:
    """A module that was handed over without memory has buffers that no checkpoint can fill."""
    empty = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    if empty:
        raise LinkError(
            f"{link.blueprint.name} has {len(empty)} tensors without memory that no source fills: "
            f"{', '.join(empty[:6])}. Hand over a function that builds the network instead of a module on "
            "the meta device"
        )


class _Put:
    """Sets tensors of a model by name; weights that modules share stay shared."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.twins: dict[int, nn.Parameter] = {}
        self.keep: list[Tensor] = []  # an id is only an identity while its owner lives

    def __call__(self, name: str, tensor: Tensor) -> None:
        path, _, leaf = name.rpartition(".")
        module = self.model.get_submodule(path)
        place = getattr(module, leaf)
        if not isinstance(place, nn.Parameter):
            module._buffers[leaf] = tensor
        elif place.is_meta:
            self.keep.append(place)
            twin = nn.Parameter(tensor, requires_grad=place.requires_grad and tensor.is_floating_point())
            setattr(module, leaf, self.twins.setdefault(id(place), twin))
        else:
            with torch.no_grad():
                place.copy_(tensor)
