"""The option that says what tries candidates and strategies."""

from __future__ import annotations

from typing import Annotated

import typer

EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="What tries candidates and strategies: local, one after the other; processes, several at once "
        "on this machine; ray, on the cluster that RAY_ADDRESS names or that runs here, else on one of this "
        "machine (pip install 'regraft[ray]'). processes:4 and ray:4 say how many at once, by default as "
        "many as there are cores. They share the cores out, or have --threads each, with which the result is "
        "that of local.",
        rich_help_panel="Compute",
    ),
]
