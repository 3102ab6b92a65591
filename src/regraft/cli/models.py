"""Commands about sources, links and plans: nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import given, options as o
from regraft.cli.beside_plan import refuse_beside_plan

if TYPE_CHECKING:
    from regraft.sources.catalogue import Entry


def sources(
    modality: Annotated[str | None, typer.Option(help="Only sources that read this: image or text.")] = None,
    json: o.AsJson = False,
) -> None:
    """List the pretrained models that can be used right now, and what one pip install away would work."""
    from regraft.sources.catalogue import catalogue

    rows = catalogue(modality)
    if json:
        given.print_json({"sources": [row.to_json() for row in rows]})
        return
    for title, works in (("Ready to use", True), ("One install away", False)):
        chosen = [row for row in rows if row.works is works]
        if chosen:
            print(f"{title}\n")
        for row in chosen:
            print(f"  {row.name:28} {_facts(row)}")
            print(f"  {'':28} {row.note}" + ("" if works else f"; pip install '{row.install}'"))
        print()


def _facts(row: Entry) -> str:
    size = f"{row.size:.0f} MB, {row.parameters / 1e6:.1f} M parameters" if row.size else "size by name"
    return f"{row.modality}, {size}, {row.licence}"


def plan(
    context: typer.Context,
    data: Annotated[
        list[str] | None, typer.Argument(help="Data, as for `regraft fit`.", metavar="[DATA]")
    ] = None,
    source: o.SourceName = None,
    network: o.NetworkOption = None,
    strategy: o.StrategyName = "probe",
    plan: Annotated[
        Path | None, typer.Option(help="A plan file, to be checked and priced after an edit.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the strategies and when to use them.")] = False,
    label: o.Label = None,
    image: o.Image = None,
    text: o.Text = None,
    group: o.Group = None,
    split: o.Split = None,
    task: o.TaskKind = None,
    per_class: o.PerClass = None,
    train_size: o.TrainSize = None,
    seed: o.Seed = 0,
    size: o.Size = None,
    builder: o.BuilderOption = None,
    maps: o.Maps = None,
    waive: o.Waive = None,
    settings: o.Settings = None,
    json: o.AsJson = False,
) -> None:
    """Print the plan that a strategy writes for DATA, and what it will cost. Nothing is trained.

    The plan is YAML: keep it (`> plan.yaml`), edit it, look at it again with `--plan plan.yaml`, and
    run it with `regraft fit DATA --plan plan.yaml --out DIR`.
    """
    if list_:
        _list_strategies(json)
        return
    from regraft.api.shape import shape_of_plan
    from regraft.api.transfer import checked_plan, prepare_plan
    from regraft.core.console import say
    from regraft.core.errors import UsageError
    from regraft.engine.price import price
    from regraft.engine.sets import planned_sets
    from regraft.plans import plan_to_yaml

    if not data:
        raise UsageError("regraft plan wants DATA, or --list for the strategies")
    refuse_beside_plan(context, plan)
    target = given.open_target(data, label=label, image=image, text=text, group=group, split=split, task=task)
    if plan is not None:
        made, opened = checked_plan(target, plan, builder=builder, network=network)
    else:
        made, opened = prepare_plan(
            target,
            source=source,
            network=network,
            maps=maps or (),
            waivers=waive or (),
            strategy=strategy,
            seed=seed,
            per_class=per_class,
            train_size=train_size,
            changes=settings or (),
            **given.source_options(size, builder),
        )
    sets = planned_sets(made, opened.graft.skeleton())
    found = price(made, target, opened)
    findings = shape_of_plan(made, target, opened, found)
    if json:
        trained = [one.to_json() for one in sets]
        against = [one.to_json() for one in findings]
        more = {"price": found.to_json(), "trained": trained, "findings": against}
        given.print_json({**made.model_dump(mode="json"), **more})
    else:
        print(plan_to_yaml(made), end="")
    for one in sets:
        say(str(one))
    say(str(found))
    for finding in findings:
        say(str(finding))


def _list_strategies(json: bool) -> None:
    from regraft.strategies import STRATEGIES

    if json:
        rows = [
            {"name": s.name, "takes": s.takes, "when": s.when, "cite": s.cite, "kinds": list(s.kinds)}
            for s in STRATEGIES.values()
        ]
        given.print_json({"strategies": rows})
        return
    width = max(map(len, STRATEGIES)) + len("[:..]")
    for strategy in STRATEGIES.values():
        name = f"{strategy.name}[:..]" if strategy.takes else strategy.name
        takes = f"[:..] {strategy.takes}" if strategy.takes else ""
        for first, text in zip((name, "", ""), (strategy.when, takes, strategy.cite), strict=True):
            if text:
                print(f"{first:{width}} {text}")


def cite(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[STRATEGY|SCORE|RUN]", help="A strategy, a score (logme), or the folder of a run."
        ),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Say what to cite: for a strategy or a score, for all that a run used, or for every one there is."""
    from regraft.api.cite import cite as find_references

    found = find_references(what)
    if json:
        given.print_json({"references": [one.to_json() for one in found]})
        return
    for one in found:
        print(f"{one.kind} {one.name}: {one.cite}")
    if not found:
        print(f"{what} names no paper")
