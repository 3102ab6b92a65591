"""Layers of a network, by what they compute, and short names for many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

_NUMBER = "{}"


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer computes what ``nn.Linear`` computes."""
    return isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward


def is_convolution(layer: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a layer computes an ordinary convolution: one group, no gaps, padding of zeros.

    A class with a forward pass of its own is one where no padding can come into it: one pixel to one pixel.
    One that holds parameters of other layers, as adapters do, computes more.
    """
    if not isinstance(layer, kinds) or not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return False
    if any(True for child in layer.children() for _ in child.parameters()):
        return False
    usual = layer.groups == 1 and set(layer.dilation) == {1} and layer.padding_mode == "zeros"
    if usual and any(type(layer).forward is kind.forward for kind in kinds):
        return True
    return usual and is_pointwise(layer) and set(layer.padding) == {0}


def is_pointwise(layer: nn.Module) -> bool:
    """Whether a convolution computes each pixel from the one in its place."""
    return isinstance(layer, nn.Conv1d | nn.Conv2d) and {*layer.kernel_size, *layer.stride} == {1}


def has_centre(layer: nn.Module) -> bool:
    """Whether a layer is an ordinary 2-d convolution to whose kernel one of 1 x 1 beside it can be added."""
    return (
        isinstance(layer, nn.Conv2d)
        and is_convolution(layer, nn.Conv2d)
        and max(layer.kernel_size) > 1
        and all(size % 2 == 1 for size in layer.kernel_size)
        and layer.padding == tuple(size // 2 for size in layer.kernel_size)
    )


def attention_holders(network: nn.Module) -> tuple[str, ...]:
    """Paths of the modules that compute attention, those inside others too, as their names tell it."""
    return tuple(
        path
        for path, module in network.named_modules()
        if "attention" in type(module).__name__.lower()
        or path.rpartition(".")[2].lower() in ("attn", "attention", "self_attn")
    )


def attention_layers(network: nn.Module) -> tuple[str, ...]:
    """Paths of the Linear layers inside attention, as the names of classes and modules tell it.

    Those that ``nn.MultiheadAttention`` holds are not among them: it never calls them.
    """
    inside = attention_holders(network)
    torchs = [path for path, module in network.named_modules() if isinstance(module, nn.MultiheadAttention)]
    return tuple(
        path
        for path, module in network.named_modules()
        if is_linear(module) and _under(path, inside) and not _under(path, torchs)
    )


def _under(path: str, holders: Iterable[str]) -> bool:
    return any(path.startswith(f"{holder}.") for holder in holders if holder)


def fold_paths(paths: Sequence[str], among: Iterable[str]) -> tuple[str, ...]:
    """Patterns that name just these paths ``among`` those of a network: ``layer.{0..5}.output.dense``."""
    wanted = set(paths)
    others: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
    for path in among:
        if path not in wanted:
            others.setdefault(_shape(path), []).append(_numbers(path))
    groups: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        groups.setdefault(_shape(path), []).append(path)
    found: list[str] = []
    for shape, members in groups.items():
        spans = [(min(column), max(column)) for column in zip(*map(_numbers, members), strict=True)]
        strangers = [
            numbers
            for numbers in others.get(shape, [])
            if all(low <= n <= high for n, (low, high) in zip(numbers, spans, strict=True))
        ]
        found += members if strangers else [_pattern(shape, spans)]
    return tuple(found)


def _shape(path: str) -> tuple[str, ...]:
    return tuple(_NUMBER if part.isdigit() else part for part in path.split("."))


def _numbers(path: str) -> tuple[int, ...]:
    return tuple(int(part) for part in path.split(".") if part.isdigit())


def _pattern(shape: tuple[str, ...], spans: Sequence[tuple[int, int]]) -> str:
    ranges = iter(spans)
    parts = []
    for part in shape:
        if part == _NUMBER:
            low, high = next(ranges)
            part = str(low) if low == high else f"{{{low}..{high}}}"
        parts.append(part)
    return ".".join(parts)
