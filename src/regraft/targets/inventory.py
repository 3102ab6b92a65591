"""Inventory: what a target consisted of, in few bytes, so that a change can be named example by example."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.files import write_bytes
from regraft.core.hashing import hash_bytes
from regraft.targets.names import are_numbered

if TYPE_CHECKING:
    from regraft.targets.target import Target

_SHOWN = 3
_MOST = 200_000  # examples; of more only that something changed is noticed, for the sake of memory


def write_inventory(target: Target, path: Path) -> None:
    """Names, and shortened hashes of contents and labels; no label itself, for some are sealed.

    Nothing is written of targets with more than 200,000 examples.
    """
    if len(target) > _MOST:
        return
    text = json.dumps(_inventory(target), separators=(",", ":"))
    write_bytes(path, gzip.compress(text.encode(), compresslevel=1, mtime=0))


def inventory_changes(path: Path, target: Target) -> list[str]:
    """What a target has that it had not when the inventory was written, one phrase for each kind of change.

    Empty where there is no inventory, or one that cannot be read.
    """
    try:
        then = json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, ValueError, EOFError):
        return []
    now = _inventory(target)
    if then["tasks"] != now["tasks"]:
        return ["other outputs or classes", *_kinds_of_change(then, now, labels=False)]
    return _kinds_of_change(then, now, labels=True) or ["another order, other groups, or another test part"]


def _inventory(target: Target) -> dict[str, Any]:
    contents = [digest[:16] for digest in target.examples.hashes]
    columns = [target._labels[spec.name] for spec in target.tasks]
    labels = [hash_bytes(b"|".join(c[i].tobytes() for c in columns))[:8] for i in range(len(target))]
    names = target.examples.names
    # The number of a row says nothing once a row is gone: such examples go by their contents.
    keys = _numbered(contents) if are_numbered(names) else list(names)
    return {
        "tasks": [spec.to_json() for spec in target.tasks],
        "names": list(names),
        "keys": keys,
        "contents": contents,
        "labels": labels,
        "parts": target.part.tolist(),
    }


def _numbered(contents: list[str]) -> list[str]:
    seen: Counter[str] = Counter()
    keys = []
    for content in contents:
        seen[content] += 1
        keys.append(f"{content} {seen[content]}")
    return keys


def _kinds_of_change(then: dict[str, Any], now: dict[str, Any], *, labels: bool) -> list[str]:
    before, after = ({key: i for i, key in enumerate(side["keys"])} for side in (then, now))
    both = [(before[key], i) for key, i in after.items() if key in before]
    gone = {then["contents"][i]: i for key, i in before.items() if key not in after}
    new = {now["contents"][i]: i for key, i in after.items() if key not in before}
    moved = gone.keys() & new.keys()
    kinds: list[tuple[str, Iterable[str]]] = [
        ("changed", (now["names"][j] for i, j in both if then["contents"][i] != now["contents"][j])),
        ("moved", (f"{then['names'][gone[c]]} to {now['names'][new[c]]}" for c in sorted(moved))),
        ("gone", (then["names"][i] for content, i in gone.items() if content not in moved)),
        ("new", (now["names"][i] for content, i in new.items() if content not in moved)),
        ("another part", (now["names"][j] for i, j in both if then["parts"][i] != now["parts"][j])),
    ]
    if labels:
        kinds.append(
            ("another label", (now["names"][j] for i, j in both if then["labels"][i] != now["labels"][j]))
        )
    return [f"{kind}: {_shown(names)}" for kind, listed in kinds if (names := list(listed))]


def _shown(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
