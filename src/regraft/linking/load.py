"""Applying a link: source tensors are copied into a model that was built without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regraft.core.errors import LinkError
from regraft.core.randomness import torch_randomness
from regraft.linking.blueprint import Blueprint
from regraft.linking.grafted import Grafted
from regraft.linking.network import tensors_in
from regraft.linking.recipe import Recipe
from regraft.linking.row import Row
from regraft.linking.sparing import build_sparing
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Checkpoint, open_tensors

if TYPE_CHECKING:
    from regraft.linking.link import Link


class NotFiniteError(LinkError):
    """A source tensor holds values that no training can start from."""


def load_link(link: Link) -> nn.Module:
    """The model with its weights. Only the model's own tensors are allocated, one source tensor at a time.

    Where a trunk tensor starts fresh, the network initialises itself, under randomness keyed by the link's
    seed, and what carries over is copied into it.
    """
    carried = [row for row in link.rows if row.carried]
    with torch_randomness(link.seed, "initialise"):
        model = _start(link)
    weights = link.origin.weights() if carried else open_tensors({})
    places = tensors_in(model)
    _check(link, carried, places, weights)
    _fill(_Put(model), carried, places, weights)
    _check_memory(link, model)
    return model.eval()


def restore(blueprint: Blueprint, tensors: Mapping[str, Tensor]) -> Grafted:
    """The blueprint's model with exactly these tensors, named as in its state dict, in ``eval`` mode.

    Raises ``LinkError`` that lists every missing, strange or misshapen tensor.
    """
    model = blueprint.skeleton()
    places = tensors_in(model)
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
        put([name], tensors[name].to(place.dtype, copy=True))
    return model.eval()


def _start(link: Link) -> nn.Module:
    """The model with memory for what keeps the values that its own code gives it, and for little else."""
    blueprint = link.blueprint
    kept = {row.target for row in link.rows if row.filled < 1}
    if len(kept) == len(link.rows) or (kept and _holds_module(blueprint)):
        return blueprint.build()
    model = build_sparing(blueprint.build, kept) if kept else blueprint.skeleton()
    # Some networks compute a buffer from a parameter, and have none where parameters have no memory.
    return blueprint.build() if any(buffer.is_meta for buffer in model.buffers()) else model


def _holds_module(blueprint: Blueprint | WholeBlueprint) -> bool:
    """Whether the model is a module that was handed over: what is fresh there is what it holds."""
    return isinstance(blueprint, WholeBlueprint) and isinstance(blueprint.handed, nn.Module)


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
        place = places.get(row.target)
        if row.recipe is None and place is not None and shape is not None and shape != tuple(place.shape):
            wrong.append(
                f"  {row.target} is {tuple(place.shape)}, and {row.source}, copied as it is, {shape}"
            )
    wrong += _torn(carried, places)
    if wrong:
        raise LinkError(
            f"this link is not one between {link.origin.name} and this model:\n" + "\n".join(wrong)
        )


def _torn(carried: list[Row], places: Mapping[str, Tensor]) -> list[str]:
    """Names of one tensor, which modules share, that would receive different things."""
    first: dict[int, Row] = {}
    wrong = []
    for row in carried:
        if row.target not in places:
            continue
        other = first.setdefault(id(places[row.target]), row)
        if (row.sources, row.recipe) != (other.sources, other.recipe):
            wrong.append(
                f"  {other.target} and {row.target} are one tensor and would receive different things"
            )
    return wrong


def _fill(put: _Put, carried: list[Row], places: Mapping[str, Tensor], weights: Checkpoint) -> None:
    """Put what each row names into the model.

    What is copied as it is comes first, read into the memory where it stays. The memory of all other tensors
    is set aside before the first of them is made: what is needed for one on the way is then gone when the
    next one is made, and leaves no holes between tensors that stay.
    """
    names: dict[int, list[str]] = {}
    for row in carried:
        names.setdefault(id(places[row.target]), []).append(row.target)
    rows = [row for row in carried if row.target == names[id(places[row.target])][0]]
    made = [row for row in rows if row.recipe or weights.dtype(row.sources[0]) != places[row.target].dtype]
    whole = {row.target for row in made}
    for row in rows:
        if row.target not in whole:
            put(names[id(places[row.target])], _read(weights, row.sources[0], row))
    aside = [_set_aside(places[row.target]) for row in made]
    for row, tensor in zip(made, aside, strict=True):
        make_tensor(row, weights, places[row.target], tensor)
        put(names[id(places[row.target])], tensor)


def _read(weights: Checkpoint, name: str, row: Row) -> Tensor:
    """A source tensor; raises ``NotFiniteError`` where it holds values that no training can start from."""
    tensor = weights.read(name)
    learned = row.kind == "parameter" or name.endswith(("running_mean", "running_var"))
    # A sum is one cheap pass, and not finite if anything in it is not; it may also overflow.
    if not learned or not tensor.is_floating_point():
        return tensor
    # Eight-bit floats cannot be added up.
    total = (tensor.float() if tensor.itemsize == 1 else tensor).sum()
    if bool(torch.isfinite(total)):
        return tensor
    count = int((~torch.isfinite(tensor.float())).sum())
    if count == 0:
        return tensor
    raise NotFiniteError(
        f"{name} of the source holds {count} values that are not finite (NaN or infinite), of "
        f"{tensor.numel()}: the checkpoint is damaged or its training diverged. Take an earlier checkpoint"
    )


def _set_aside(place: Tensor) -> Tensor:
    """Memory for a tensor, which costs nothing until it is written to."""
    return torch.empty(place.shape, dtype=place.dtype) if place.is_meta else place.detach()


def make_tensor(row: Row, weights: Checkpoint, place: Tensor, into: Tensor) -> None:
    """Write into ``into`` what a row makes of its sources.

    ``place`` is the tensor as the target initialised it. Raises ``LinkError`` where the sources do not fit.
    """
    recipe = row.recipe or Recipe(row.sources)
    if [step.name for step in recipe.steps] == ["concatenate"] and _stacks(row, weights, into):
        start = 0
        for name in row.sources:
            part = _read(weights, name, row)
            into.narrow(0, start, len(part)).copy_(part)
            start += len(part)
        return
    try:
        tensors = [_read(weights, name, row) for name in row.sources]
        # What is only cast is cast on its way into its place.
        made = recipe.apply(tensors, place) if recipe.steps else tensors[0]
    except (IndexError, RuntimeError) as error:
        raise LinkError(f"{row.target} cannot be made of {', '.join(row.sources)}: {error}") from error
    if made.shape != into.shape:
        raise LinkError(
            f"{row.target} is {tuple(into.shape)}; {', '.join(row.sources)} ({recipe.sentence}) gives "
            f"{tuple(made.shape)}"
        )
    into.copy_(made)


def _stacks(row: Row, weights: Checkpoint, into: Tensor) -> bool:
    """Whether the sources, one below the other, are as large as the tensor."""
    shapes = [weights.shape(name) for name in row.sources]
    fits = all(len(shape) == into.ndim and shape[1:] == tuple(into.shape[1:]) for shape in shapes)
    return into.ndim > 0 and fits and sum(shape[0] for shape in shapes) == into.shape[0]


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

    def __call__(self, names: list[str], tensor: Tensor) -> None:
        for name in names:
            self._put(name, tensor)

    def _put(self, name: str, tensor: Tensor) -> None:
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
            if tensor.data_ptr() != place.data_ptr():  # else it was made in place
                with torch.no_grad():
                    place.copy_(tensor)
