"""The command about what is kept between runs."""

from __future__ import annotations

from typing import Annotated

import typer

from regraft.cli import options as o


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove it all; everything can be made again.")
    ] = False,
    json: o.AsJson = False,
) -> None:
    """See, and free, what is kept between runs: decoded images, activations. REGRAFT_CACHE moves it."""
    from regraft.core.files import cache_folder
    from regraft.inference.cache import cache_contents, clear_cache

    freed = clear_cache() if clear else 0
    entries = cache_contents()
    if json:
        rows = [vars(entry) for entry in entries]
        o.print_json({"folder": str(cache_folder()), "entries": rows, "freed": freed})
        return
    print(cache_folder())
    if clear:
        print(f"freed {freed / 1e6:.1f} MB")
    for entry in entries:
        print(f"  {entry.kind:14} {entry.files:6} files {entry.size / 1e6:10.1f} MB")
    if not entries:
        print("  empty")
