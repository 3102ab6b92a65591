"""Targets: examples, labels, splits, and how examples become what a network reads.

Names are imported when they are first used, so that the processes that decode images start fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regraft.targets.inventory import inventory_changes, write_inventory
    from regraft.targets.items import Items, list_items, read_items
    from regraft.targets.loading import load_target, reload
    from regraft.targets.plain import PlainBaseline, plain_baseline
    from regraft.targets.prepared import Prepared, check_reads, list_target, prepare
    from regraft.targets.summary import label_in_words
    from regraft.targets.target import Draw, Labels, Target, Unreadable
    from regraft.targets.thumbnails import thumbnail

__all__ = [
    "Draw",
    "Items",
    "Labels",
    "PlainBaseline",
    "Prepared",
    "Target",
    "Unreadable",
    "check_reads",
    "inventory_changes",
    "label_in_words",
    "list_items",
    "list_target",
    "load_target",
    "plain_baseline",
    "prepare",
    "read_items",
    "reload",
    "thumbnail",
    "write_inventory",
]

_PLACES = {
    "Draw": "target",
    "Items": "items",
    "Labels": "target",
    "PlainBaseline": "plain",
    "Prepared": "prepared",
    "Target": "target",
    "Unreadable": "target",
    "check_reads": "prepared",
    "inventory_changes": "inventory",
    "label_in_words": "summary",
    "list_items": "items",
    "list_target": "prepared",
    "load_target": "loading",
    "plain_baseline": "plain",
    "prepare": "prepared",
    "read_items": "items",
    "reload": "loading",
    "thumbnail": "thumbnails",
    "write_inventory": "inventory",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
