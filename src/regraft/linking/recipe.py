"""Recipe: what happens to source tensors on their way into a target tensor, decided before it is applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Step:
    """One step of a recipe: the name of an entry of :data:`STEPS` and its options, plain JSON."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Source tensors, and the steps that make one target tensor of them.

    Attributes
    ----------
    sources
        Keys of the source's tensors, in the order in which the first step reads them.
    steps
        Run one after the other; the last one gives the tensor. None: the source tensor as it is.
    """

    sources: tuple[str, ...]
    steps: tuple[Step, ...] = ()

    @property
    def sentence(self) -> str:
        """The steps in words; empty where there are none."""
        return ", ".join(_WORDS[step.name](step.options) for step in self.steps)

    def apply(self, tensors: Sequence[Tensor], place: Tensor) -> Tensor:
        """The target tensor, of the dtype of ``place``.

        ``place`` is the target tensor as its own code initialised it: rows without a source stay as they are
        there.
        """
        made = list(tensors)
        for step in self.steps:
            made = [STEPS[step.name](made, place, **step.options)]
        return made[0].to(place.dtype)

    def then(self, name: str, **options: Any) -> Recipe:
        """With one more step."""
        return Recipe(self.sources, (*self.steps, Step(name, options)))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        steps = [{"name": step.name, **step.options} for step in self.steps]
        return {"sources": list(self.sources), "steps": steps}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Recipe:
        """From plain JSON; raises ``ValueError`` for a step that nobody knows."""
        steps = []
        for entry in data["steps"]:
            options = dict(entry)
            name = options.pop("name")
            if name not in STEPS:
                raise ValueError(f"there is no step {name!r}; there are {', '.join(STEPS)}")
            steps.append(Step(name, options))
        return cls(tuple(data["sources"]), tuple(steps))


def permute(tensors: list[Tensor], place: Tensor, *, dims: list[int]) -> Tensor:
    """Axes in another order: a transposed linear layer, a convolution stored channels last."""
    return tensors[0].permute(dims).contiguous()


def reshape(tensors: list[Tensor], place: Tensor, *, shape: list[int]) -> Tensor:
    """The same numbers in another shape: a linear layer as a 1x1 convolution."""
    return tensors[0].reshape(shape)


def concatenate(tensors: list[Tensor], place: Tensor) -> Tensor:
    """Several tensors one below the other: q, k and v fused."""
    return torch.cat(tensors, dim=0)


def rows(tensors: list[Tensor], place: Tensor, *, picks: list[int], axis: int = 0) -> Tensor:
    """Rows by number; -1 keeps the row that the target initialised."""
    given = tensors[0].movedim(axis, 0)
    kept = [index for index, pick in enumerate(picks) if pick >= 0]
    taken = given[[picks[index] for index in kept]].to(place.dtype)
    if len(kept) == len(picks):
        return taken.movedim(0, axis).contiguous()
    made = place.detach().clone().movedim(axis, 0)
    made[kept] = taken
    return made.movedim(0, axis).contiguous()


def grid(
    tensors: list[Tensor], place: Tensor, *, size: list[int], to: list[int], extra: int, extra_to: int
) -> Tensor:
    """A table of positions resampled from ``size`` to ``to`` patches, bicubic with anti-aliasing.

    The first ``extra`` rows (class token, registers) stay; of ``extra_to`` the missing ones are zero.
    """
    table = tensors[0].float().reshape(-1, tensors[0].shape[-1])
    first, patches = table[:extra], table[extra:]
    width = table.shape[1]
    image = patches.reshape(1, *size, width).permute(0, 3, 1, 2)
    if list(size) != list(to):
        image = functional.interpolate(image, size=to, mode="bicubic", antialias=True, align_corners=False)
    patches = image.permute(0, 2, 3, 1).reshape(-1, width)
    head = torch.zeros(extra_to, width)
    kept = min(extra, extra_to)
    head[:kept] = first[:kept]
    return torch.cat([head, patches]).reshape(place.shape)


def bias_table(tensors: list[Tensor], place: Tensor, *, size: list[int], to: list[int]) -> Tensor:
    """A table of relative positions ``(height * width, heads)`` resampled, bicubic."""
    table = tensors[0].float()
    image = table.reshape(1, *size, table.shape[1]).permute(0, 3, 1, 2)
    image = functional.interpolate(image, size=to, mode="bicubic", align_corners=False)
    return image.permute(0, 2, 3, 1).reshape(-1, table.shape[1])


def channels(tensors: list[Tensor], place: Tensor, *, to: int) -> Tensor:
    """Another number of input channels: their sum for one, else repeated in turn and scaled by old / new.

    The convention of timm (``adapt_input_conv``): activations keep their size. Where the new number is a
    multiple of the old one, copies of the old channels give what they gave before.
    """
    weight = tensors[0].float()
    old = weight.shape[1]
    if to == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, math.ceil(to / old), *([1] * (weight.ndim - 2)))[:, :to]
    return repeated * (old / to)


def fold_norm(tensors: list[Tensor], place: Tensor, *, part: str, eps: float, biased: bool) -> Tensor:
    """A convolution with the batch norm behind it folded in.

    Reads weight, bias where ``biased``, then the norm's weight, bias, running mean and running variance. With
    ``g = gamma / sqrt(var + eps)`` the weight is ``w g`` and the bias ``(b - mean) g + beta``.
    """
    weight, *rest = [tensor.double() for tensor in tensors]
    bias = rest.pop(0) if biased else torch.zeros_like(rest[0])
    gamma, beta, mean, variance = rest
    factor = gamma / torch.sqrt(variance + eps)
    if part == "bias":
        return ((bias - mean) * factor + beta).float()
    return (weight * factor.reshape(-1, *([1] * (weight.ndim - 1)))).float()


def constant(tensors: list[Tensor], place: Tensor, *, value: float) -> Tensor:
    """One number everywhere: the norm that changes nothing, where the source has folded its own."""
    return torch.full(place.shape, value)


STEPS: dict[str, Callable[..., Tensor]] = {
    "permute": permute,
    "reshape": reshape,
    "concatenate": concatenate,
    "rows": rows,
    "grid": grid,
    "bias_table": bias_table,
    "channels": channels,
    "fold_norm": fold_norm,
    "constant": constant,
}
"""What a recipe may do: ``step(tensors, place, **options) -> tensor``."""


def _shape(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _say_rows(options: dict[str, Any]) -> str:
    picks = options["picks"]
    taken = sum(pick >= 0 for pick in picks)
    return f"{taken} of {len(picks)} rows" if taken < len(picks) else "rows reordered"


def _say_grid(options: dict[str, Any]) -> str:
    words = []
    if options["size"] != options["to"]:
        words.append(f"positions resampled {_shape(options['size'])} -> {_shape(options['to'])}")
    if options["extra"] != options["extra_to"]:
        words.append(f"positions before the patches: {options['extra']} -> {options['extra_to']}")
    return ", ".join(words)


_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "permute": lambda options: (
        "transposed" if options["dims"] == [1, 0] else f"axes {','.join(map(str, options['dims']))}"
    ),
    "reshape": lambda options: f"reshaped to {_shape(options['shape'])}",
    "concatenate": lambda options: "fused",
    "rows": _say_rows,
    "grid": _say_grid,
    "bias_table": lambda options: (
        f"relative positions resampled {_shape(options['size'])} -> {_shape(options['to'])}"
    ),
    "channels": lambda options: f"input channels -> {options['to']}",
    "fold_norm": lambda options: "batch norm folded in",
    "constant": lambda options: f"constant {options['value']:.6g}",
}
