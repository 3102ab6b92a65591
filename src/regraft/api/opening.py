"""Opening what a plan or a call names: sources, networks and links; and the folder that a run may go to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.core.errors import PlanError, UsageError
from regraft.core.files import half_written
from regraft.engine import Opened, Run
from regraft.linking import Link
from regraft.plans import ModelSpec, Plan
from regraft.sources import (
    USER,
    Source,
    find,
    find_network,
    find_weights,
    is_source_name,
    own_network,
    reopen_own,
    takes_option,
)
from regraft.tasks import Task


def open_models(
    plan: Plan, given: Mapping[str, Source] | None = None, builder: Any = None, network: Any = None
) -> dict[str, Opened]:
    """The sources of each of the plan's models, handed over or found by name.

    A plan is data that people share, so it may not say which code to run: ``network`` (a Source, or what
    builds one) is the network of a model that names one, and without it ``builder`` is what builds that.
    """
    opened = {}
    # A moving average is a copy of the model that it follows.
    specs = {name: spec for name, spec in plan.models.items() if spec.average_of is None}
    for name, spec in specs.items():
        if "builder" in spec.options or "builder" in spec.network_options:
            raise PlanError(
                f"the model {name!r} of the plan names a builder; hand it over with --builder instead"
            )
        if network is not None and not spec.network and len(specs) == 1:
            raise UsageError("the plan's model has its source's own network: leave network= (--network) out")
        opened[name] = _open_model(spec, given or {}, builder, network)
    return opened


def check_companions(plan: Plan, student: Source) -> None:
    """Raise :class:`SourceError` for a model beside the student that no source is known for.

    Nothing is read of its weights. What a builder of the user's own builds is left to him who hands it over.
    """
    for spec in plan.models.values():
        known = spec.average_of is not None or spec.source == student.name
        if not known and not takes_option(spec.source, "builder"):
            find_network(spec.source, **spec.options)


def _open_model(spec: ModelSpec, given: Mapping[str, Source], builder: Any, network: Any) -> Opened:
    if not spec.network:
        source = given.get(spec.source) or find(spec.source, **_with_builder(spec.options, builder))
        return Opened(source, source)
    handed = spec.network == USER or takes_option(spec.network, "builder")
    # One builder is the network's where that needs one: the source then gives its tensors alone.
    theirs = builder if network is not None or not handed else None
    source = given.get(spec.source) or _open_weights(spec.source, spec.options, theirs)
    return Opened(source, _open_network(spec, source, network, builder))


def _open_weights(name: str, options: Mapping[str, Any], builder: Any) -> Source:
    return find_weights(name, **_with_builder(options, builder))


def _open_network(spec: ModelSpec, source: Source, network: Any, builder: Any) -> Source:
    if isinstance(network, Source):
        return network
    handed = network if network is not None and network != spec.network else builder
    if spec.network == USER:
        return _open_own(spec, source, handed)
    if takes_option(spec.network, "builder"):
        return find_network(spec.network, **_with_builder(spec.network_options, handed))
    if network not in (None, spec.network):
        raise UsageError(f"the plan's network is {spec.network}: leave network= (--network) out, or edit it")
    return find_network(spec.network, **spec.network_options)


def _open_own(spec: ModelSpec, source: Source, builder: Any) -> Source:
    if builder is None:
        raise UsageError(
            "the plan's model has a network of your own: hand its builder over with "
            "builder='module:function' (--builder module:function)"
        )
    return reopen_own(builder, spec.network_options, source)


def _with_builder(options: Mapping[str, Any], builder: Any) -> dict[str, Any]:
    return dict(options) if builder is None else {**options, "builder": builder}


def open_pair(source: str | Source, network: Any = None, options: Mapping[str, Any] | None = None) -> Opened:
    """The source and the network of a call.

    ``network`` is a Source, the name of one (opened without its weights where its adapter allows that), or
    what builds a network of the user's own: ``module:function`` or a function. Without one the network is
    the source's. ``options`` are the source's, but for ``size``, which is the network's where there is one.
    """
    given = dict(options or {})
    if network is None:
        found = find(source, **given)
        return Opened(found, found)
    size, builder = given.pop("size", None), given.pop("builder", None)
    named = isinstance(network, str) and is_source_name(network)
    own = {} if size is None else {"size": size}
    theirs = builder
    if named and takes_option(network, "builder"):
        own, theirs = _with_builder(own, builder), None
    weights = source if isinstance(source, Source) else _open_weights(source, given, theirs)
    if isinstance(network, Source):
        if size is not None:
            raise UsageError(f"{network.name} is open already; open it with size={size} instead")
        return Opened(weights, network)
    return Opened(weights, find_network(network, **own) if named else own_network(network, weights, **own))


def check_folder(folder: Path) -> None:
    """Raise :class:`UsageError` where a run cannot be written into ``folder``."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; give a folder")
    if not folder.is_dir():
        return
    if (folder / "run.json").is_file():
        run = Run.load(folder)
        why = f": {run.facts['outcome']}" if run.status == "failed" else ""
        hint = "" if run.status == "done" else f", or go on with it: regraft resume {folder}"
        raise UsageError(f"{folder} holds a run already ({run.status}{why}). Give another --out{hint}")
    # A run that was killed before its run.json was written leaves no more than these.
    left = {"plan.yaml", "data", "streams", "begun", ".lock", *(path.name for path in half_written(folder))}
    if all(path.name in left for path in folder.iterdir()):
        return
    raise UsageError(f"--out {folder} is not empty and holds no run; give a new folder")


def link_of(plan: Plan, name: str, opened: Opened, tasks: dict[str, Task]) -> Link:
    """The link of one of a plan's models."""
    return opened.link(plan.models[name], tasks, seed=plan.seed)
