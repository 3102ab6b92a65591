"""The command about sources: which one transfers best, how sure that is, and what it costs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.cli import given, options as o
from regraft.cli.beside_plan import typed
from regraft.cli.engine import EngineOption

_OF_DATA = {
    "label": "--label",
    "image": "--image",
    "text": "--text",
    "group": "--group",
    "split": "--split",
    "task": "--task",
    "drop_rare": "--drop-rare",
    "test_size": "--test-size",
    "test_salt": "--test-salt",
    "size": "--size",
}
"""Options that `fit` has to be given as well, by the names of their parameters."""


def rank(
    context: typer.Context,
    data: o.DataPath,
    sources: Annotated[
        str | None,
        typer.Option(
            help="The candidates, with commas between them: timm:resnet18,packaged:minilm,runs/old. "
            "Default: all that `regraft sources` says can be used here offline for such data."
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            help="Time to spend: 90s, 5m, 1h. What does not fit is cut in this order: the race; more "
            "examples; the input size of the first look; its examples; candidates that facts say least for."
        ),
    ] = "5m",
    output: Annotated[
        str | None, typer.Option(help="The output that sources are compared on; the first if not given.")
    ] = None,
    label: o.Label = None,
    image: o.Image = None,
    text: o.Text = None,
    group: o.Group = None,
    split: o.Split = None,
    task: o.TaskKind = None,
    drop_rare: o.DropRare = False,
    test_size: o.TestSize = None,
    test_salt: o.TestSalt = "",
    seed: o.Seed = 0,
    size: o.Size = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    backend: o.Backend = "auto",
    engine: EngineOption = "local",
    cache_limit: o.CacheLimit = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the ranking as a page that opens offline."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the ranking as JSON, as --json prints it."),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Which pretrained model suits DATA best? Ends in a decision, with its uncertainty and its price.

    Examples: `regraft rank photos/`;
    `regraft rank reviews.csv --text body --label stars --sources packaged:minilm,hf:models/other`.

    All candidates are looked at on a few hundred labelled examples; those that may be the best on more; those
    that cannot be told apart are fine-tuned for a few epochs. Accuracy is predicted for fine-tuning (lpft)
    with all labels, with an 80% interval; time is that of this machine. The test part is never looked at.
    What the networks gave is kept: stop it, and it goes on where it was.
    """
    from regraft.api.rank import rank as run_rank
    from regraft.core.console import duration
    from regraft.engine import Settings

    target = given.open_target(
        data,
        label=label,
        image=image,
        text=text,
        group=group,
        split=split,
        task=task,
        drop_rare=drop_rare,
        test_size=test_size,
        test_salt=test_salt,
    )
    board = run_rank(
        target,
        None if sources is None else [name.strip() for name in sources.split(",") if name.strip()],
        budget=given.seconds_of(budget),
        output=output,
        seed=seed,
        engine=engine,
        settings=Settings(
            device=device, threads=threads, backend=backend, cache_limit=given.bytes_of(cache_limit)
        ),
        **given.source_options(size),
    )
    following = _fit_line(context, data, board.rows[0].name)
    _write(board.to_json(), html, out, data=" ".join(data), following=following)
    if json:
        given.print_json(board.to_json())
        return
    print(board.table())
    print()
    print(board.sentence)
    for sentence in board.skipped:
        print(f"skipped: {sentence}")
    print(f"{duration(board.spent_seconds)} of {duration(board.budget_seconds or 0.0)}")
    for place in filter(None, (html, out)):
        print(f"written: {place}")
    print(f"next: {following}")


def _fit_line(context: typer.Context, data: list[str], source: str) -> str:
    """The line that fits the source, with all that was said of the data."""
    words = ["regraft", "fit", *data]
    for name, option in _OF_DATA.items():
        value = context.params.get(name)
        if not typed(context, name):
            continue
        values = value if isinstance(value, list | tuple) else [value]
        words += [option] if value is True else [word for one in values for word in (option, str(one))]
    return shlex.join([*words, "--source", source, "--strategy", "lpft", "--out", "DIR"])


def _write(board: dict[str, Any], html: Path | None, out: Path | None, *, data: str, following: str) -> None:
    """The board in the files that were asked for."""
    from regraft.core.files import write_json
    from regraft.report import write_ranking_page

    if html is not None:
        write_ranking_page(board, html, data=data, next_line=following)
    if out is not None:
        write_json(out, board)
