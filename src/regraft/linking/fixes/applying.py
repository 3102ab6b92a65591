"""Setting a target's hyper-parameters as its fixes say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from regraft.core.errors import LinkError
from regraft.linking.fixes.activations import ACTIVATIONS, set_activation
from regraft.linking.fixes.fix import Fix
from regraft.linking.fixes.padding import set_padding

EPSILONS = ("eps", "variance_epsilon", "epsilon")
"""What libraries call a norm's epsilon."""
HEADS = ("num_heads", "num_attention_heads", "n_heads")
"""What libraries call an attention's number of heads."""


def apply_fixes(module: nn.Module, fixes: Iterable[Fix]) -> None:
    """Set what the fixes say, in order; names in the state dict and tensors stay as they are.

    Raises ``LinkError`` where the module has no such part, or where a value is none that a fix may set.
    """
    for fix in fixes:
        if fix.kind not in SETTERS:
            raise LinkError(f"there is no fix {fix.kind!r}; there are {', '.join(SETTERS)}")
        if not _ALLOWED[fix.kind](fix.value):
            raise LinkError(f"the fix {fix.kind} cannot set {fix.value!r}")
        for path in fix.modules:
            _set(module, path, fix)


def _set(module: nn.Module, path: str, fix: Fix) -> None:
    owner = path.rpartition(".")[0] if fix.kind == "activation" else path
    try:
        part = module.get_submodule(owner)
        if fix.kind == "activation" and not hasattr(part, path.rpartition(".")[2]):
            raise AttributeError(path)
    except AttributeError as error:
        raise LinkError(f"the fix {fix.kind} names {path!r}, which the model does not have") from error
    try:
        SETTERS[fix.kind](module, path, fix.value)
    except (AttributeError, TypeError, ValueError) as error:
        raise LinkError(f"the fix {fix.kind} names {path!r}, {error}") from error


def _set_epsilon(root: nn.Module, path: str, value: Any) -> None:
    part = root.get_submodule(path)
    name = named_number(part, EPSILONS)
    if name is None:
        raise TypeError(f"a {type(part).__name__}, which has no eps")
    setattr(part, name, value)


def _set_numbers(name: str) -> Callable[[nn.Module, str, Any], None]:
    def put(root: nn.Module, path: str, value: Any) -> None:
        part = root.get_submodule(path)
        if not isinstance(getattr(part, name, None), tuple):
            raise TypeError(f"a {type(part).__name__}, which has no {name}")
        setattr(part, name, tuple(value))

    return put


def _set_norm_first(root: nn.Module, path: str, value: Any) -> None:
    part = root.get_submodule(path)
    if not isinstance(getattr(part, "norm_first", None), bool):
        raise TypeError(f"a {type(part).__name__}, which has no norm_first")
    part.norm_first = value


def _set_heads(root: nn.Module, path: str, value: Any) -> None:
    """The number of heads, and what the module made of it: their width and the scale of their scores."""
    part = root.get_submodule(path)
    name = named_number(part, HEADS)
    if name is None:
        raise TypeError(f"a {type(part).__name__}, which has no number of heads")
    before: Any = getattr(part, name)
    for width in ("head_dim", "attention_head_size"):
        old: Any = getattr(part, width, None)
        if not isinstance(old, int):
            continue
        new, left = divmod(old * before, value)
        if left:
            raise ValueError(f"whose width of {old * before} cannot be cut into {value} heads")
        setattr(part, width, new)
        for scale in ("scale", "scaling"):
            if math.isclose(_number(getattr(part, scale, None)), old**-0.5, rel_tol=1e-6):
                setattr(part, scale, new**-0.5)
    setattr(part, name, value)


def named_number(part: nn.Module, names: Iterable[str]) -> str | None:
    """Which of these attributes the module has as a number."""
    return next((name for name in names if not math.isnan(_number(getattr(part, name, None)))), None)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def _are_whole(value: Any, lengths: tuple[int, ...]) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) in lengths
        and all(isinstance(side, int) and 0 <= side < 1024 for side in value)
    )


SETTERS: dict[str, Callable[[nn.Module, str, Any], None]] = {
    "eps": _set_epsilon,
    "padding": set_padding,
    "stride": _set_numbers("stride"),
    "dilation": _set_numbers("dilation"),
    "activation": set_activation,
    "norm_first": _set_norm_first,
    "heads": _set_heads,
}
"""What a fix may set: ``setter(model, path, value)``."""

_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "eps": lambda value: isinstance(value, float) and 0 <= value < 1,
    "padding": lambda value: value == "same" or _are_whole(value, (2, 4)),
    "stride": lambda value: _are_whole(value, (1, 2, 3)) and min(value) > 0,
    "dilation": lambda value: _are_whole(value, (1, 2, 3)) and min(value) > 0,
    "activation": lambda value: isinstance(value, str) and value in ACTIVATIONS,
    "norm_first": lambda value: isinstance(value, bool),
    "heads": lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
}
