"""Applying a link: source tensors are copied into a model that was built without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regraft.core.errors import LinkError
from regraft.core.randomness import torch_randomness
from regraft.linking.blueprint import TRUNK, Blueprint
from regraft.linking.grafted import Grafted
from regraft.linking.row import Row
from regraft.sources import build_trunk, read_weights
from regraft.sources.skeleton import weightless

if TYPE_CHECKING:
    from regraft.linking.link import Link


def load_link(link: Link) -> Grafted:
    """The model with its weights. Only the model's own tensors are allocated; the source's stay on disk.

    Where a trunk tensor starts fresh, the network initialises itself, under randomness keyed by the link's
    seed, and what carries over is copied into it.
    """
    carried = [row for row in link.rows if row.carried]
    with torch_randomness(link.seed, "initialise"):
        model = _start(link)
    tensors = read_weights(link.source) if carried else {}
    places = model.state_dict(keep_vars=True)
    _check(link, carried, places, tensors)
    put = _Put(model)
    for row in carried:
        assert row.source is not None
        put(row.target, _transform(row, tensors[row.source], places[row.target]))
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


def _start(link: Link) -> Grafted:
    if any(row.target.startswith(TRUNK) and not row.carried for row in link.rows):
        return link.blueprint.build()
    with weightless():
        trunk = build_trunk(link.blueprint.source)
    return Grafted(trunk, {task.spec.name: task.head(trunk.width) for task in link.blueprint.tasks})


def _check(
    link: Link, carried: list[Row], places: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """A saved link may meet another model or other weights than those that it was made for."""
    wrong = [f"  the model has no {row.target}" for row in link.rows if row.target not in places]
    named = {row.target for row in link.rows}
    wrong += [f"  the link says nothing about {name}" for name in places if name not in named]
    for row in carried:
        found = tensors.get(row.source or "")
        if found is None:
            wrong.append(f"  the source has no {row.source}")
        elif tuple(found.shape) != row.source_shape:
            wrong.append(f"  {row.source} has shape {tuple(found.shape)} instead of {row.source_shape}")
    if wrong:
        raise LinkError(
            f"this link is not one between {link.source.name} and this model:\n" + "\n".join(wrong)
        )


def _transform(row: Row, tensor: Tensor, place: Tensor) -> Tensor:
    if not row.picks:
        return tensor.to(place.dtype, copy=True)
    adapted = place.detach().clone()
    kept = [index for index, pick in enumerate(row.picks) if pick >= 0]
    adapted[kept] = tensor[[row.picks[index] for index in kept]].to(place.dtype)
    return adapted


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
