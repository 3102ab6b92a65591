"""Commands that make a run: demo, fit, resume."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import given, options as o
from regraft.cli.beside_plan import refuse_beside_plan
from regraft.cli.engine import EngineOption
from regraft.cli.results import slice_lines

if TYPE_CHECKING:
    from regraft.engine import Run


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the demo's runs.")] = Path("regraft-demo"),
    json: o.AsJson = False,
) -> None:
    """Real source, real data, a verdict, in minutes: solar cells, where transfer helps, and digits."""
    from regraft.api.demo import demo as run_demo
    from regraft.core.console import say

    shown = run_demo(out, show=say if json else print)
    if json:
        given.print_json(shown)


def fit(
    context: typer.Context,
    data: o.DataPath,
    out: Annotated[Path, typer.Option(help="Folder for the run: model, figures, report.")],
    source: o.SourceName = None,
    network: o.NetworkOption = None,
    strategy: o.StrategyOrAuto = "probe",
    budget: o.Budget = None,
    search: o.Search = None,
    plan: Annotated[Path | None, typer.Option(help="A plan file instead of source and strategy.")] = None,
    label: o.Label = None,
    image: o.Image = None,
    text: o.Text = None,
    group: o.Group = None,
    split: o.Split = None,
    task: o.TaskKind = None,
    drop_rare: o.DropRare = False,
    test_size: o.TestSize = None,
    test_salt: o.TestSalt = "",
    max_unreadable: o.MaxUnreadable = 0.05,
    slices: o.Slices = None,
    per_class: o.PerClass = None,
    train_size: o.TrainSize = None,
    seed: o.Seed = 0,
    size: o.Size = None,
    builder: o.BuilderOption = None,
    maps: o.Maps = None,
    waive: o.Waive = None,
    settings: o.Settings = None,
    stream: o.Streams = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    backend: o.Backend = "auto",
    engine: EngineOption = "local",
    workers: o.Workers = 0,
    precision: o.Precision = "float32",
    cache_limit: o.CacheLimit = None,
    activations: o.Activations = "float32",
    compile_: o.Compile = "auto",
    log: o.Log = None,
    sharding: o.Sharding = "none",
    json: o.AsJson = False,
) -> None:
    """Train a model on DATA and write a run: the model, its figures on held-out data, a report.

    Examples: `regraft fit photos/ --out runs/photos`;
    `regraft fit reviews.csv --text body --label stars --out runs/reviews --strategy lpft`;
    `regraft fit cells=cells/ digits=digits/ --out runs/both --strategy multitask`, one trunk for both;
    `regraft fit photos/ --out runs/photos --strategy auto --budget 5m`, the strategy that suits the data.
    """
    from regraft.core.deadline import Deadline

    refuse_beside_plan(context, plan)
    # Before anything that takes time.
    deadline = Deadline(None if budget is None else given.seconds_of(budget))

    from regraft.api.transfer import transfer
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
    run = transfer(
        target,
        out=out,
        source=source,
        network=network,
        maps=maps or (),
        waivers=waive or (),
        strategy=strategy,
        plan=plan,
        seed=seed,
        per_class=per_class,
        train_size=train_size,
        changes=settings or (),
        streams=given.streams_of(stream),
        settings=Settings(
            device=device,
            threads=threads,
            backend=backend,
            workers=workers,
            precision=precision,
            cache_limit=given.bytes_of(cache_limit),
            activations=activations,
            compile=compile_,
            loggers=tuple(log or ()),
            sharding=sharding,
        ),
        max_unreadable=max_unreadable,
        slices=given.names_of(slices),
        budget=deadline,
        search=search,
        engine=engine,
        command=["regraft", *sys.argv[1:]],
        **given.source_options(size, builder),
    )
    _show(run, json)


def resume(
    folder: o.RunFolder,
    builder: o.BuilderOption = None,
    threads: o.Threads = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Threads that make batches ahead.", rich_help_panel="Compute")
    ] = None,
    compile_: o.CompileAgain = None,
    log: o.Log = None,
    json: o.AsJson = False,
) -> None:
    """Go on with a run that was interrupted or killed; the result is the same to the bit.

    All settings are those that it began with, but those given here. With other --threads or another --compile
    the same bits are no longer promised, which is said. A stage that has begun keeps its choice of --compile.
    """
    from regraft.api.fit import resume as go_on
    from regraft.engine import Run, Settings

    given = {"threads": threads, "workers": workers, "compile": compile_, "loggers": log}
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = Settings(**{**Run.load(folder).facts["settings"], **chosen}) if chosen else None
    _show(go_on(folder, builder=builder, settings=settings), json)


def replay(folder: o.RunFolder, builder: o.BuilderOption = None, json: o.AsJson = False) -> None:
    """Run the step again whose loss was not finite: which block it was, and the loss of each example."""
    from dataclasses import asdict

    from regraft.api.replay import replay as run_again

    found = run_again(folder, builder=builder)
    if json:
        # JSON knows no values that are not finite.
        given.print_json({**asdict(found), "losses": [[name, repr(loss)] for name, loss in found.losses]})
        return
    print(found)


def _show(run: Run, json: bool) -> None:
    if not run.writes:
        return  # the process that wrote it shows it
    if json:
        given.print_json({"folder": str(run.folder), "run": run.facts, "metrics": run.metrics})
        return
    print(run.facts["outcome"])
    for figures in run.metrics["outputs"].values():
        for line in slice_lines(figures):
            print(line)
    print(f"report: {run.folder / 'report.html'}")
    print(f"did it help?  regraft prove {run.folder}")
