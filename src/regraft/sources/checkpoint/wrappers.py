"""What training code puts around a state dict: containers that hold it, copies, prefixes of every name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from regraft.core.errors import SourceError
from regraft.sources.checkpoint.limits import MAX_NAME, MAX_TENSORS

AVERAGED = (
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "params_ema",
    "ema",
    "teacher",
)
"""Copies averaged over training, which are what evaluates; self-distillation calls its own ``teacher``."""
CONTAINERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "module",
    "params",
    "net",
    "network",
    "student",
)
_PREFIXES = ("module.", "_orig_mod.")
_LIGHTNING = ("model.", "net.", "network.", "module.")  # attributes of a LightningModule
_LIGHTNING_KEY = "pytorch-lightning_version"
_RUN = ("trunk.network.", "heads.")  # what a finished run calls its tensors
_COUNTER = "n_averaged"  # beside the weights of torch.optim.swa_utils.AveragedModel
_DEEPEST = 50
_LOOKS = 10_000

T = TypeVar("T")


def unwrap(
    content: Mapping[Any, Any],
    is_tensor: Callable[[Any], bool],
    *,
    prefer: str | None,
    origin: str,
    strips: bool,
) -> tuple[dict[str, Any], list[str]]:
    """The named tensors inside a training checkpoint, and what was decided on the way.

    Raises ``SourceError`` if ``prefer`` names no container or the content is nested without end.
    """
    notes: list[str] = []
    lightning = _LIGHTNING_KEY in content
    content = _descend(content, is_tensor, prefer, origin, notes)
    tensors = dict(_flat(content, is_tensor, origin))
    if strips:
        tensors = strip(tensors, notes, (*_PREFIXES, *(_LIGHTNING if lightning else ())))
    return tensors, notes


def strip(names: Mapping[str, T], notes: list[str], prefixes: tuple[str, ...] = _PREFIXES) -> dict[str, T]:
    """Without the prefixes that every name has; ``notes`` is told of each."""
    stripped = dict(names)
    while prefix := _shared(stripped, prefixes):
        stripped = {
            name.removeprefix(prefix): value for name, value in stripped.items() if name.startswith(prefix)
        }
        notes.append(f"stripped {prefix!r} from every name")
    if stripped and all(name.startswith(_RUN) for name in stripped):
        renamed = {name.removeprefix(_RUN[0]): value for name, value in stripped.items()}
        if len(renamed) == len(stripped) and renamed.keys() != stripped.keys():
            notes.append(f"stripped {_RUN[0]!r} from the names of the trunk")
            stripped = renamed
    return stripped


def _shared(names: Mapping[str, Any], prefixes: tuple[str, ...]) -> str:
    """The prefix of all names, beside the counter of an averaged model."""
    for prefix in prefixes:
        bare = [name for name in names if not name.startswith(prefix)]
        if len(bare) < len(names) and (not bare or bare == [_COUNTER]) and prefix not in names:
            return prefix
    return ""


def _descend(
    content: Mapping[Any, Any],
    is_tensor: Callable[[Any], bool],
    prefer: str | None,
    origin: str,
    notes: list[str],
) -> Mapping[Any, Any]:
    wanted, whole = prefer, content
    for _ in range(_DEEPEST):
        inside = [name for name in (*AVERAGED, *CONTAINERS) if _holds_tensors(content.get(name), is_tensor)]
        if wanted is not None and _holds_tensors(content.get(wanted), is_tensor):
            inside, wanted, reason = [wanted], None, " as asked"
        elif len(inside) > 1 and inside[0] in AVERAGED:
            reason = f", the averaged copy that evaluates, not under {' or '.join(map(repr, inside[1:]))}"
        else:
            reason = ""
        if not inside or ("batch_stats" in content and not reason):
            break
        notes.append(f"took the tensors under {inside[0]!r}{reason}")
        content = content[inside[0]]
    if wanted is not None:
        held = ", ".join(str(name)[:40] for name in list(whole)[:8])
        raise SourceError(f"{origin} holds no tensors under {wanted!r} (prefer={prefer!r}); it holds {held}")
    return content


def _holds_tensors(value: Any, is_tensor: Callable[[Any], bool]) -> bool:
    """Whether there is a tensor among the first things in a container and in the dicts that it holds."""
    waiting, looked = deque([value]), 0
    while waiting and looked < _LOOKS:
        inside = waiting.popleft()
        for item in islice(inside.values(), _LOOKS) if isinstance(inside, Mapping) else ():
            looked += 1
            if is_tensor(item):
                return True
            if isinstance(item, Mapping):
                waiting.append(item)
    return False


def _flat(
    content: Mapping[Any, Any], is_tensor: Callable[[Any], bool], origin: str
) -> Iterator[tuple[str, Any]]:
    """Tensors of nested dicts, names joined by dots, in order. Bounded, for dicts that hold themselves."""
    stack: list[tuple[str, Iterator[tuple[Any, Any]]]] = [("", iter(content.items()))]
    steps = 0
    while stack:
        prefix, items = stack[-1]
        item = next(items, None)
        if item is None:
            stack.pop()
            continue
        name, value = item
        steps += 1
        if steps > 2 * MAX_TENSORS or len(stack) > _DEEPEST:
            raise SourceError(
                f"{origin} nests its dicts without end, {len(stack)} deep after {steps:,} names"
            )
        if len(prefix) + len(str(name)) > MAX_NAME:
            raise SourceError(f"{origin} holds an absurdly long name, {str(name)[:40]!r}..")
        if is_tensor(value):
            yield f"{prefix}{name}", value
        elif isinstance(value, Mapping):
            stack.append((f"{prefix}{name}.", iter(value.items())))
