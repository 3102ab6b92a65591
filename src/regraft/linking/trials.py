"""Trials: hyper-parameters of the target that could be why it computes something else than the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from regraft.linking.activations import ACTIVATIONS, find_activations
from regraft.linking.bench import Bench
from regraft.linking.fix import Fix
from regraft.linking.fixing import EPSILONS, HEADS, named_number
from regraft.linking.padding import padding_of

_LIKELY = ("relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "hardswish", "relu6")


@dataclass(frozen=True)
class Trial:
    """One thing to try: what to set, and what to say if it helps."""

    fix: Fix
    sentence: str


_Setting = tuple[str, Any, Any]
"""Path of the target's module, the source's value, the target's value."""


def list_trials(bench: Bench) -> tuple[Trial, ...]:
    """Everything worth trying, what can be read off both networks first."""
    modules = _paired_modules(bench)
    read_off = [*_epsilons(modules), *_paddings(modules), *_strides(modules), *_heads(bench)]
    return (*read_off, *_norms_first(bench), *_activations(bench))


def _paired_modules(bench: Bench) -> list[tuple[str, nn.Module, nn.Module]]:
    """Path of the target's module, it, and the source's module whose tensors it has."""
    theirs = dict(bench.source.module.named_modules())
    ours = dict(bench.target.module.named_modules())
    return [
        (pair.target.path, theirs[pair.source.path], ours[pair.target.path])
        for pair in bench.compare().pairs
        if pair.target.time == 0
    ]


def _epsilons(modules: Sequence[tuple[str, nn.Module, nn.Module]]) -> Iterator[Trial]:
    groups: dict[tuple[str, float, float], list[str]] = {}
    for path, source, target in modules:
        theirs, ours = named_number(source, EPSILONS), named_number(target, EPSILONS)
        if theirs is None or ours is None:
            continue
        given, had = float(getattr(source, theirs)), float(getattr(target, ours))
        if given != had:
            groups.setdefault((_say_norm(target), given, had), []).append(path)
    for (kind, given, had), paths in groups.items():
        sentence = (
            f"{kind} epsilon: {given:g} in the source, {had:g} in the target ({_count(paths, 'layer')})"
        )
        yield Trial(Fix("eps", tuple(paths), given, had), sentence)


def _say_norm(module: nn.Module) -> str:
    kinds = {
        nn.modules.batchnorm._BatchNorm: "batch-norm",
        nn.LayerNorm: "layer-norm",
        nn.GroupNorm: "group-norm",
    }
    return next((words for kind, words in kinds.items() if isinstance(module, kind)), "norm")


def _paddings(modules: Sequence[tuple[str, nn.Module, nn.Module]]) -> Iterator[Trial]:
    """Only convolutions whose output would differ: SAME is symmetric at stride 1 with an odd kernel."""
    groups: dict[tuple[str, tuple[int, ...]], list[tuple[str, Any]]] = {}
    for path, source, target in modules:
        theirs, ours = padding_of(source), padding_of(target)
        if theirs is None or ours is None or theirs == ours:
            continue
        assert isinstance(target, nn.Conv2d)
        if "same" in (theirs, ours) and _is_symmetric(target, ours if theirs == "same" else theirs):
            continue
        key = (str(theirs), () if theirs == "same" else tuple(int(side) for side in theirs))
        groups.setdefault(key, []).append((path, ours))
    for (_, sides), found in groups.items():
        yield _padding(list(sides) or "same", found)


def _is_symmetric(conv: nn.Conv2d, padding: str | list[int]) -> bool:
    if max(conv.stride) > 1 or isinstance(padding, str):
        return False
    reach = [(size - 1) * step for size, step in zip(conv.kernel_size, conv.dilation, strict=True)]
    return all(length % 2 == 0 for length in reach) and padding == [length // 2 for length in reach]


def _padding(value: str | list[int], found: Sequence[tuple[str, Any]]) -> Trial:
    paths = tuple(path for path, _ in found)
    had = found[0][1] if len({str(one) for _, one in found}) == 1 else None
    sentence = (
        f"padding: {_say_padding(value)} in the source, {_say_padding(found[0][1])} in the target "
        f"({_count(paths, 'convolution')})"
    )
    return Trial(Fix("padding", paths, value, had), sentence)


def _say_padding(value: Any) -> str:
    if value == "same":
        return "SAME (as TensorFlow)"
    return f"symmetric {'x'.join(map(str, value))}" if len(value) == 2 else f"{value} pixels"


def _strides(modules: Sequence[tuple[str, nn.Module, nn.Module]]) -> Iterator[Trial]:
    for kind in ("stride", "dilation"):
        groups: dict[tuple[Any, Any], list[str]] = {}
        for path, source, target in modules:
            theirs, ours = getattr(source, kind, None), getattr(target, kind, None)
            if isinstance(theirs, tuple) and isinstance(ours, tuple) and theirs != ours:
                groups.setdefault((theirs, ours), []).append(path)
        for (given, had), paths in groups.items():
            sentence = (
                f"{kind}: {'x'.join(map(str, given))} in the source, {'x'.join(map(str, had))} in the target "
                f"({_count(paths, 'convolution')})"
            )
            yield Trial(Fix(kind, tuple(paths), list(given), list(had)), sentence)


def _heads(bench: Bench) -> Iterator[Trial]:
    """Numbers of heads that the source has anywhere and the target has not."""
    theirs = {number for _, number in _find_heads(bench.source.module)}
    groups: dict[int, list[str]] = {}
    for path, number in _find_heads(bench.target.module):
        groups.setdefault(number, []).append(path)
    for had, paths in groups.items():
        for given in sorted(theirs - {had}):
            sentence = (
                f"attention heads: {given} in the source, {had} in the target ({_count(paths, 'layer')})"
            )
            yield Trial(Fix("heads", tuple(paths), given, had), sentence)


def _find_heads(module: nn.Module) -> Iterator[tuple[str, int]]:
    for path, part in module.named_modules():
        name = named_number(part, HEADS)
        number: Any = getattr(part, name) if name else None
        if path and isinstance(number, int):
            yield path, number


def _norms_first(bench: Bench) -> Iterator[Trial]:
    layers = {
        path: part.norm_first
        for path, part in bench.target.module.named_modules()
        if isinstance(part, nn.TransformerEncoderLayer)
    }
    for had in sorted(set(layers.values())):
        paths = tuple(path for path, first in layers.items() if first is had)
        words = ("behind each layer (post-norm)", "before each layer (pre-norm)")
        sentence = (
            f"norms: {words[not had]} in the source, {words[had]} in the target ({_count(paths, 'layer')})"
        )
        yield Trial(Fix("norm_first", paths, not had, had), sentence)


def _activations(bench: Bench) -> Iterator[Trial]:
    """Each kind of activation of the target, in its place each kind that the source has, then likely ones."""
    theirs = list(dict.fromkeys(find_activations(bench.source.module).values()))
    groups: dict[str, list[str]] = {}
    for path, name in find_activations(bench.target.module).items():
        groups.setdefault(name, []).append(path)
    missing = [name for name in theirs if name not in groups]
    order = list(dict.fromkeys([*missing, *theirs, *_LIKELY]))
    for given in (name for name in order if name in ACTIVATIONS):
        for had, paths in groups.items():
            if had != given:
                counted = _count(paths, "place")
                sentence = f"activation: {given} in the source, {had} in the target ({counted})"
                yield Trial(Fix("activation", tuple(paths), given, had), sentence)


def _count(found: Sequence[Any], word: str) -> str:
    return f"{len(found)} {word}" + ("s" if len(found) != 1 else "")
