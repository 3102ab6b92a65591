"""Trials: hyper-parameters of the target that could be why it computes something else than the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from regraft.linking.fixes.activations import ACTIVATIONS, find_activations
from regraft.linking.fixes.applying import EPSILONS, HEADS, named_number
from regraft.linking.fixes.fix import Fix
from regraft.linking.fixes.padding import padding_of
from regraft.linking.proving.bench import Bench
from regraft.linking.proving.pairing import Pair

_LIKELY = ("relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "hardswish", "relu6")


@dataclass(frozen=True)
class Trial:
    """One thing to try: what to set, and what to say if it helps."""

    fix: Fix
    sentence: str


def list_trials(bench: Bench) -> tuple[Trial, ...]:
    """Everything worth trying, what can be read off both networks first."""
    modules = _paired_modules(bench)
    read_off = [*_epsilons(modules), *_paddings(modules), *_strides(modules), *_heads(bench)]
    return (*read_off, *_norms_first(bench), *_activations(bench))


@dataclass(frozen=True)
class _Modules:
    """A target's module, the source's whose tensors it has, and whether that one reads a wider input."""

    path: str
    source: nn.Module
    target: nn.Module
    padded: bool


def _paired_modules(bench: Bench) -> list[_Modules]:
    theirs = dict(bench.source.module.named_modules())
    ours = dict(bench.target.module.named_modules())
    return [
        _Modules(pair.target.path, theirs[pair.source.path], ours[pair.target.path], _is_padded(pair))
        for pair in bench.compare().pairs
        if pair.target.time == 0
    ]


def _is_padded(pair: Pair) -> bool:
    """Whether the source pads in a step of its own before this one."""
    ours, theirs = pair.target.entering, pair.source.entering
    if ours is None or theirs is None or ours.ndim != 4 or theirs.ndim != 4:
        return False
    return theirs.shape[:2] == ours.shape[:2] and theirs.shape[2:] > ours.shape[2:]


def _epsilons(modules: Sequence[_Modules]) -> Iterator[Trial]:
    groups: dict[tuple[str, float, float], list[str]] = {}
    for one in modules:
        path, source, target = one.path, one.source, one.target
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


def _paddings(modules: Sequence[_Modules]) -> Iterator[Trial]:
    """Only convolutions whose output would differ: SAME is symmetric at stride 1 with an odd kernel."""
    groups: dict[tuple[int, ...] | None, list[tuple[str, Any, bool]]] = {}
    for one in modules:
        path, target = one.path, one.target
        theirs, ours = "same" if one.padded else padding_of(one.source), padding_of(target)
        if theirs is None or ours is None or theirs == ours:
            continue
        assert isinstance(target, nn.Conv2d)
        if "same" in (theirs, ours) and _is_symmetric(target, ours if theirs == "same" else theirs):
            continue
        key = None if isinstance(theirs, str) else tuple(theirs)
        groups.setdefault(key, []).append((path, ours, max(target.stride) > 1))
    for sides, found in groups.items():
        yield _padding("same" if sides is None else list(sides), found)


def _is_symmetric(conv: nn.Conv2d, padding: str | list[int]) -> bool:
    if max(conv.stride) > 1 or isinstance(padding, str):
        return False
    reach = [(size - 1) * step for size, step in zip(conv.kernel_size, conv.dilation, strict=True)]
    return all(length % 2 == 0 for length in reach) and padding == [length // 2 for length in reach]


def _padding(value: str | list[int], found: Sequence[tuple[str, Any, bool]]) -> Trial:
    paths = tuple(path for path, _, _ in found)
    had = [one for _, one, _ in found]
    kind = "strided convolution" if all(strided for _, _, strided in found) else "convolution"
    same = all(one == had[0] for one in had)
    theirs, ours = _say_padding(value), _say_padding(had[0])
    if theirs == ours:
        theirs, ours = f"{theirs} {value}", f"{ours} {had[0] if same else 'of other widths'}"
    sentence = f"padding: {theirs} in the source, {ours} in the target ({_count(paths, kind)})"
    return Trial(Fix("padding", paths, value, had[0] if same else None), sentence)


def _say_padding(value: Any) -> str:
    if value == "same":
        return "SAME (as TensorFlow)"
    return "symmetric" if len(value) == 2 else "asymmetric"


def _strides(modules: Sequence[_Modules]) -> Iterator[Trial]:
    for kind in ("stride", "dilation"):
        groups: dict[tuple[Any, Any], list[str]] = {}
        for one in modules:
            path, theirs, ours = one.path, getattr(one.source, kind, None), getattr(one.target, kind, None)
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
