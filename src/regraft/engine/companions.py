"""Companions: models that a train stage reads beside the one that it trains.

A moving average of that model runs in every step, without gradients, on what the model itself reads: frozen
layers are equal in both. Any other model is frozen. What it gives for examples that are read as they are, or
in views that are kept, is computed once, and its heads alone run in a step; where views or mixtures differ
from step to step, the whole model runs in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from regraft.core.errors import PlanError
from regraft.engine.forward import Forward
from regraft.engine.frozen import Frozen, open_frozen
from regraft.engine.streams import Stream
from regraft.engine.workspace import Workspace
from regraft.plans import TrainStage
from regraft.terms import find_term

Companions = Mapping[tuple[str, str], Forward]
"""By model and stream, what runs it there."""


def open_companions(
    stage: TrainStage, work: Workspace, streams: Mapping[str, Stream], own: Mapping[str, Forward]
) -> Companions:
    """What runs every model that the stage's terms read, but for its own, on the streams that they name.

    ``own`` is by stream what runs the stage's own model. Raises :class:`PlanError` for examples that are
    mixed where the other model has no such place.
    """
    pairs = dict.fromkeys(
        (model, stream)
        for term in stage.terms
        for model in term.models
        for stream in term.streams
        if model != stage.model
    )
    return {(m, s): _open(stage, work, m, streams[s], own[s]) for m, s in pairs}


def _open(stage: TrainStage, work: Workspace, name: str, stream: Stream, own: Forward) -> Forward:
    model = work.models[name].requires_grad_(False).eval()
    if work.plan.models[name].average_of == stage.model:
        return replace(own, model=model, suffix=None, keep=read_blocks(stage, work, name))
    if stream.mixer is not None and not stream.mixer.late and own.cut > 0:
        raise PlanError(
            f"stage {stage.name!r} reads the model {name!r} on the stream {stream.name!r}, whose examples "
            f"are mixed behind the frozen layers of {stage.model!r}, and {name!r} has no such place: freeze "
            f"no prefix (--set frozen_prefix=null), or do not mix (--set streams.{stream.name}.mix.mixup=0)"
        )
    if stream.other is not None and name in work.own_inputs:
        raise PlanError(
            f"stage {stage.name!r} reads the model {name!r} on the stream {stream.name!r}, whose data are "
            f"prepared for {stage.model!r}, and {name!r} prepares its inputs otherwise: open both sources so "
            "that they read alike (options: {size: ..}), or read the target"
        )
    inputs = work.inputs_of(name) if stream.other is None else stream.other.inputs
    at_inputs = stream.mixer is not None and not stream.mixer.late
    repeats = not at_inputs and (stream.kept or not stream.views)
    numbers = read_blocks(stage, work, name)
    apart = inputs is not own.inputs
    drawn_for = str(own.inputs.preprocessing.fingerprint) if apart else ""
    plain = Forward(model, inputs, work.device, keep=numbers, drawn_for=drawn_for)
    if not repeats:
        return plain
    kept: dict[int, Frozen] = {}
    shorter = None
    last = len(model.trunk.blocks)
    for number in dict.fromkeys((*numbers, last)):
        shorter = open_frozen(work, name, number, [stream], inputs=inputs, through=shorter)
        if shorter is None:  # no function of the example alone
            return plain
        kept[number] = shorter
    maps = {number: kept[number] for number in numbers}
    return replace(plain, frozen=shorter, cut=last, keep=(), kept=maps)


def read_blocks(stage: TrainStage, work: Workspace, name: str) -> tuple[int, ...]:
    """After how many blocks of a model the stage's terms read its activations, ascending."""
    trunk = work.models[name].trunk
    numbers: set[int] = set()
    for spec in stage.terms:
        models = spec.models or (stage.model,)
        term = find_term(spec.computes)(
            models=models, streams=spec.streams, outputs=spec.outputs, options=spec.options
        )
        if name in models:
            numbers.update(trunk.cut_after(block) for block in term.blocks)
    return tuple(sorted(numbers))
