"""Other data beside the target: found, kept where a run finds them again, prepared as the model reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from regraft.api.whereabouts import find_stream_data
from regraft.core.console import say
from regraft.core.errors import BundleError, DataError, PlanError, ResumeError, UnreadableError, UsageError
from regraft.core.hashing import hash_bytes
from regraft.core.preprocessing import Preprocessing
from regraft.core.task_spec import TaskSpec
from regraft.engine import Run
from regraft.engine.stream_data import StreamData
from regraft.plans import Plan, StreamSpec
from regraft.targets import Target, load_target, prepare, read_items
from regraft.targets.known import encoded_as
from regraft.tasks import make_task

_OTHER = ("source", "unlabelled")


@dataclass(frozen=True)
class OtherData:
    """The data of one stream, as found.

    Attributes
    ----------
    data
        A target where there are labels, or where one was handed over; else items without labels.
    origin
        JSON from which they are found again; None for what lives in memory only.
    """

    data: Any
    origin: dict[str, Any] | None


def find_streams(
    plan: Plan, given: Mapping[str, Any] | None, folder: Path | None = None
) -> dict[str, OtherData]:
    """The data of every stream that reads other data than the target: handed over, or where the plan says.

    Data in memory are written below ``folder``, if one is given.
    Raises ``UsageError`` for data whose name no stream has, ``PlanError`` for a stream without data.
    """
    given = given or {}
    wanted = {name: spec for name, spec in plan.streams.items() if spec.reads in _OTHER}
    strange = [name for name in given if name not in wanted]
    if strange:
        raise UsageError(
            f"data were handed over for the stream {', '.join(strange)}, and the streams of the plan that "
            f"read other data are: {', '.join(wanted) or 'none'}"
        )
    found = {}
    for name, spec in wanted.items():
        data = given.get(name, spec.data)
        if data is None:
            raise PlanError(
                f"the stream {name!r} reads other data, and there are none: name them in the plan "
                f"(streams.{name}.data: PATH), or hand them over, fit(.., streams={{{name!r}: data}})"
            )
        place = None if folder is None else folder / "streams" / name
        found[name] = _found(name, spec, data, place)
    return found


def _found(name: str, spec: StreamSpec, data: Any, place: Path | None) -> OtherData:
    if spec.reads == "source" or isinstance(data, Target):
        target = load_target(data, **spec.options)
        kept = target if place is None else target.save(place)
        return OtherData(kept, {"target": kept.origin})
    strange = [option for option in spec.options if option != "column"]
    if strange:
        raise PlanError(
            f"the stream {name!r} has no labels; of options it takes column (the texts or the images of a "
            f"table), not {', '.join(strange)}"
        )
    if isinstance(data, str | Path):
        path = str(Path(data).expanduser().absolute())
        return OtherData(path, {"items": path})
    return OtherData(data, None)


def find_streams_again(run: Run, given: Mapping[str, Any] | None, again: str) -> dict[str, OtherData]:
    """The data of the streams of a run that was begun before; what lived in memory is handed over anew.

    ``again`` is the line to type once data that are no longer in their place are back.
    """
    plan, begun, handed = run.plan, run.facts.get("streams", {}), dict(given or {})
    for name, facts in begun.items():
        if name in handed or facts["origin"] is None:
            continue
        handed[name] = find_stream_data(run, name, facts["origin"], again)
    missing = [name for name in begun if name not in handed]
    if missing:
        raise ResumeError(
            f"the data of the stream {', '.join(missing)} lived in memory only: hand them over again, "
            f"streams={{{missing[0]!r}: data}}"
        )
    found = find_streams(plan, handed)
    return {
        name: replace(one, origin=begun[name]["origin"]) if name in begun else one
        for name, one in found.items()
    }


def prepare_streams(
    found: Mapping[str, OtherData],
    plan: Plan,
    specs: tuple[TaskSpec, ...],
    preprocessing: Preprocessing,
    *,
    max_unreadable: float,
) -> dict[str, StreamData]:
    """The streams' data as the model reads them.

    Labels are encoded by the names of the run's own classes, or by their own where the stream has its heads.
    """
    made = {}
    for name, other in found.items():
        spec = plan.streams[name]
        if isinstance(other.data, Target) and spec.heads == "own":
            made[name] = _with_heads(name, other.data, preprocessing, max_unreadable)
        elif isinstance(other.data, Target):
            labelled = spec.reads == "source"
            made[name] = _of_target(name, other.data, specs, preprocessing, max_unreadable, labelled)
        else:
            column = plan.streams[name].options.get("column")
            made[name] = _of_items(name, other.data, column, preprocessing, max_unreadable)
    return made


def _of_target(
    name: str,
    target: Target,
    specs: tuple[TaskSpec, ...],
    preprocessing: Preprocessing,
    max_unreadable: float,
    labelled: bool,
) -> StreamData:
    if labelled:
        try:
            target = encoded_as(target, specs)
        except DataError as error:
            raise PlanError(
                f"the stream {name!r} has other labels than the run's own outputs: {error}. Give it heads of "
                f"its own (streams.{name}.heads: own; --set streams.{name}.heads=own)"
            ) from error
    # All of it is read: what may not be is known by its content, not by a part of these data.
    prepared = prepare(
        replace(target, part=np.zeros_like(target.part)), preprocessing, max_unreadable=max_unreadable
    )
    read, every = prepared.target, np.arange(len(prepared.target), dtype=np.int64)
    labels = read.labels(every) if labelled else None
    print_ = read.fingerprint if labelled else hash_bytes(read.examples.hashes.array.data)
    return StreamData(name, prepared.inputs, read.examples.hashes, labels, print_, every)


def _with_heads(name: str, target: Target, preprocessing: Preprocessing, max_unreadable: float) -> StreamData:
    """Data whose outputs are their own, ``NAME.OUTPUT``, and so are their classes."""
    data = _of_target(name, target, target.tasks, preprocessing, max_unreadable, labelled=True)
    labels = {f"{name}.{output}": values for output, values in (data.labels or {}).items()}
    specs = [replace(spec, name=f"{name}.{spec.name}") for spec in target.tasks]
    tasks = {spec.name: make_task(spec).fitted(labels[spec.name]) for spec in specs}
    return replace(data, labels=labels, tasks=tasks)


def _of_items(
    name: str, items: Any, column: str | None, preprocessing: Preprocessing, max_unreadable: float
) -> StreamData:
    found = read_items(items, preprocessing, column=column)
    if len(found.errors) > max_unreadable * len(found.names) or len(found.readable) == 0:
        bad = [(found.names[index], reason) for index, reason in found.errors.items()]
        told = f"; the first one, {bad[0][0]}: {bad[0][1]}" if bad else ""
        raise UnreadableError(
            f"{len(bad)} of {len(found.names)} examples of the stream {name!r} cannot be read{told}", bad
        )
    if found.errors:
        say(f"{len(found.errors)} examples of the stream {name!r} cannot be read and are left out.")
    every = np.arange(len(found.inputs), dtype=np.int64)
    return StreamData(name, found.inputs, found.hashes, None, hash_bytes(found.hashes.array.data), every)


def check_streams(run: Run, made: Mapping[str, StreamData], error: type[BundleError] = BundleError) -> None:
    """Raise ``error`` where the data of a stream are no longer those that the run read."""
    begun = run.facts.get("streams", {})
    for name, data in made.items():
        then = begun.get(name, {}).get("fingerprint", data.fingerprint)
        if then != data.fingerprint:
            raise error(
                f"the data of the stream {name!r} changed since the run began (hash {then[:12]} then, "
                f"{data.fingerprint[:12]} now). Put them back as they were, or fit into a new folder."
            )


def record_streams(run: Run, found: Mapping[str, OtherData], made: Mapping[str, StreamData]) -> None:
    """Write what the streams read into ``run.json``; raise ``ResumeError`` where that has changed."""
    check_streams(run, made, ResumeError)
    if made:
        run.note(
            streams={
                name: {
                    "origin": found[name].origin,
                    "fingerprint": data.fingerprint,
                    "examples": len(data.contents),
                    "labelled": data.labels is not None,
                }
                for name, data in made.items()
            }
        )
