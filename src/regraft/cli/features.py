"""The command that writes what a source's network gives, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import given, options as o


def features(
    items: Annotated[
        list[str], typer.Argument(help="Files, folders, globs, texts or a table; or a saved dataset.")
    ],
    source: Annotated[
        str,
        typer.Option(
            "--source", help="Pretrained model (`regraft sources` lists them), A+B, or a run's folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
    cut: Annotated[
        str | None, typer.Option(help="Take the activation after this block instead of pooled features.")
    ] = None,
    output: Annotated[str, typer.Option(help="pooled, map or tokens: what the source gives.")] = "pooled",
    column: Annotated[str | None, typer.Option(help="Column of a table that holds the items.")] = None,
    size: o.Size = None,
    builder: o.BuilderOption = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    backend: o.Backend = "auto",
    json: o.AsJson = False,
) -> None:
    """Write what a source's network gives for ITEMS into a safetensors file. No label is read.

    Examples: `regraft features photos/ --source packaged:efficientnet-lite0 --out photos.safetensors`;
    `regraft features reviews.csv --column body --source packaged:minilm --output tokens --out t.safetensors`;
    `regraft features "scans/*.png" --source timm:resnet18 --cut layer3 --out layer3.safetensors`.

    The tensor is `features`: a row for each item in the order given, without those that could not be read.
    Tokens of all texts stand one after the other, and `lengths` says how many each text has. The names are in
    the file's metadata, or in a .json file beside it where they are many.
    """
    from regraft.api.features import features as run_features
    from regraft.core.console import say
    from regraft.engine import Settings

    found = run_features(
        _data(items),
        source,
        out=out,
        cut=cut,
        output=output,
        column=column,
        settings=Settings(device=device, threads=threads, backend=backend),
        **given.source_options(size, builder),
    )
    for item, reason in found.unreadable:
        say(f"{item}: could not be read: {reason}")
    if json:
        given.print_json(found.to_json())
    else:
        sides = " x ".join(f"{side:,}" for side in found.shape)
        about = found.about
        print(f"{found.file}: {sides} ({about['output']}) of {about['source']}, run by {about['backend']}")


def _data(items: list[str]) -> object:
    """A saved dataset is opened as the target it is; everything else are items."""
    from regraft.targets.datasets import is_saved_dataset

    if len(items) != 1 or not Path(items[0]).is_dir() or not is_saved_dataset(Path(items[0])):
        return items
    from regraft.targets import load_target

    return load_target(items[0])
