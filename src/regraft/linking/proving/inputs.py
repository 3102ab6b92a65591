"""Inputs that both networks of a link read: given ones, and made-up ones like them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regraft.core.errors import LinkError
from regraft.core.randomness import torch_generator
from regraft.linking.network import Call, Given, Network, Whole

FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError, AttributeError)
"""What a network raises that cannot read its inputs; ``NotImplementedError`` is a ``RuntimeError``."""
MADE_UP = 2
LOUD = 10.0
"""How much larger one of the made-up inputs is than usual ones."""


@dataclass(frozen=True)
class SharedCall:
    """The same input, as each network takes it."""

    source: Call
    target: Call


class NotSharedError(LinkError):
    """There is no input that both networks read; the message says why."""


def share_inputs(source: Network, target: Network, inputs: Sequence[Given]) -> tuple[SharedCall, ...]:
    """The given inputs, and two made-up ones of their form, or of the form that the networks name.

    Raises :class:`NotSharedError` where one network cannot read what the other does.
    """
    given = [SharedCall(source.adapt(one), target.adapt(one)) for one in inputs]
    for call in given:
        _check(source, target, call)
    if given:
        pattern = given[0].source
        made = [_translate(source, target, redraw(pattern, seed)) for seed in range(MADE_UP)]
        return (*given, *_that_run(source, target, [*made, _loud(source, target, pattern)]))
    first, second = _make_up(source, target)
    loud = _loud(source, target, first.source)
    return (first, *_that_run(source, target, [second, loud]))


def _that_run(source: Network, target: Network, calls: Sequence[SharedCall]) -> list[SharedCall]:
    """Of made-up calls those that both networks can read, and that give finite numbers."""
    kept = []
    for call in calls:
        try:
            outputs = [*source.run(call.source), *target.run(call.target)]
        except FAILURES:
            continue
        if all(bool(output.isfinite().all()) for output in outputs):
            kept.append(call)
    return kept


def _loud(source: Network, target: Network, pattern: Call) -> SharedCall:
    """The same form, ten times as large: it reaches ceilings, as that of ReLU6, that usual inputs do not."""
    return _translate(source, target, redraw(pattern, seed=MADE_UP, scale=LOUD))


def _make_up(source: Network, target: Network) -> list[SharedCall]:
    theirs = _translate(source, target, source.example)
    own = SharedCall(source.adapt(given_of(target, target.example)), target.example)
    try:
        _check(source, target, theirs)
        first = theirs
    except NotSharedError as error:
        try:
            _check(source, target, own)
        except NotSharedError:
            raise error from None
        first = own
    return [first, _translate(source, target, redraw(first.source, seed=1))]


def _check(source: Network, target: Network, call: SharedCall) -> None:
    try:
        source.run(call.source)
    except FAILURES as error:
        raise NotSharedError(f"the source cannot read the inputs: {_say(source, target, error)}") from error
    try:
        target.run(call.target)
    except FAILURES as error:
        reason = _say(source, target, error)
        raise NotSharedError(f"the target cannot read what the source reads: {reason}") from error


def _say(source: Network, target: Network, error: Exception) -> str:
    """The reason in words, where the first layers show it, then what was raised."""
    theirs, ours = _first_layer(source.module), _first_layer(target.module)
    shapes = f"the source reads {theirs}, the target {ours}; " if theirs != ours else ""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{shapes}{type(error).__name__}: {line[:160]}"


def _first_layer(module: nn.Module) -> str:
    for part in module.modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            return f"{part.in_channels} channels"
        if isinstance(part, nn.Embedding):
            return f"{part.num_embeddings} different ids"
        if isinstance(part, nn.Linear):
            return f"rows of {part.in_features}"
    return "something else"


def _translate(source: Network, target: Network, call: Call) -> SharedCall:
    return SharedCall(call, target.adapt(given_of(source, call)))


def given_of(network: Network, call: Call) -> Given:
    """A call's arguments as a person would hand them over."""
    if isinstance(network.module, Whole):
        batch: Mapping[str, Tensor] = call.args[0]
        return batch
    if call.kwargs:
        return call.kwargs
    return call.args[0] if len(call.args) == 1 else call.args


def redraw(call: Call, seed: int, *, scale: float = 1.0) -> Call:
    """Other numbers of the same shapes: noise of the same mean and scale, ids up to the same largest one.

    Masks, integers that are 0 or 1 only, stay as they are.
    """
    generator = torch_generator(seed, "made-up inputs")
    return Call(_redraw(call.args, generator, scale), _redraw(call.kwargs, generator, scale))


def _redraw(value: Any, generator: torch.Generator, factor: float) -> Any:
    if isinstance(value, Mapping):
        return {key: _redraw(one, generator, factor) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_redraw(one, generator, factor) for one in value)
    if not isinstance(value, Tensor) or value.dtype == torch.bool or value.numel() == 0:
        return value
    if value.is_floating_point():
        mean, scale = value.float().mean(), value.float().std(correction=0)
        noise = torch.randn(value.shape, generator=generator)
        return ((noise * (scale if scale > 0 else 1.0) + mean) * factor).to(value.dtype)
    largest = int(value.max())
    if largest <= 1:
        return value
    return torch.randint(largest + 1, value.shape, generator=generator).to(value.dtype)


def mask_of(network: Network, call: Call) -> Tensor | None:
    """Which positions count, ``bool (batch, length)``; None where no mask leaves any out.

    An argument is a mask where the network calls it one: numbers of 0 and 1 may mean anything else.
    """
    found = list(_masks(call.kwargs))
    for argument in call.args:
        if isinstance(argument, Mapping):
            found += list(_masks(argument))
    names = inspect.signature(network.module.forward).parameters
    named = zip(names, call.args, strict=False)
    found += [value for name, value in named if "mask" in name and isinstance(value, Tensor)]
    masks = [mask.bool() for mask in found if not mask.is_floating_point() and int(mask.max()) <= 1]
    return next((mask for mask in masks if mask.ndim == 2 and not bool(mask.all())), None)


def _masks(named: Mapping[str, Any]) -> Iterator[Tensor]:
    mask = named.get("attention_mask")
    if isinstance(mask, Tensor):
        yield mask
