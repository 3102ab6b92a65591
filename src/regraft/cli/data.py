"""The command about what is kept between runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import given, options as o

if TYPE_CHECKING:
    from regraft.inference.cache import CacheEntry


def cache(
    kind: Annotated[
        str | None, typer.Argument(help="Only this kind: activations, images, tokens, tables, compiled.")
    ] = None,
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Remove what nobody is using now; everything can be made again."),
    ] = False,
    limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Make the cache this small now: what was used last stays."),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """See, and free, what is kept between runs: decoded images, activations. REGRAFT_CACHE moves it.

    It stays within REGRAFT_CACHE_LIMIT (20GB), else within 20% of the disk space that there is for it and
    50 GB. What was used least recently goes first; what a run is using stays.
    """
    from regraft.core.files import cache_folder
    from regraft.inference.cache import cache_contents, clear_cache, default_limit, evict

    freed = clear_cache(kind) if clear else 0
    if limit is not None:
        bytes_wanted = given.bytes_of(limit) or 0
        before = sum(entry.size for entry in cache_contents())
        freed += before - evict(bytes_wanted)
    entries = [entry for entry in cache_contents() if kind in (None, entry.kind)]
    if json:
        rows = [vars(entry) for entry in entries]
        shown = {"folder": str(cache_folder()), "entries": rows, "limit": default_limit(), "freed": freed}
        given.print_json(shown)
        return
    print(f"{cache_folder()}: {_size(sum(entry.size for entry in entries))} of {_size(default_limit())}")
    if clear or limit is not None:
        print(f"freed {_size(freed)}")
    for line in _lines(entries):
        print(line)


def _lines(entries: Sequence[CacheEntry]) -> list[str]:
    """A line for each kind and one for each thing in it, the one used last at the end."""
    lines = []
    for kind in sorted({entry.kind for entry in entries}):
        inside = [entry for entry in entries if entry.kind == kind]
        lines.append(f"  {kind:32} {len(inside):6} entries {_size(sum(entry.size for entry in inside)):>10}")
        for entry in inside:
            used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
            named = f"    {entry.name[:16]:30} {entry.files:6} files   {_size(entry.size):>10}  used {used}"
            lines.append(f"{named}  {entry.about}".rstrip())
    return lines or ["  empty"]


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
