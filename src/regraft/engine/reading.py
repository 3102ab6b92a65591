"""What a train stage reads: its streams, and what runs the model on the examples of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from regraft.core.errors import PlanError
from regraft.engine.channels import channel_axis
from regraft.engine.companions import Companions, open_companions, read_blocks
from regraft.engine.forward import Forward
from regraft.engine.freezing import Freeze
from regraft.engine.frozen import open_frozen
from regraft.engine.mixing import open_mixer
from regraft.engine.streams import Stream, open_stream
from regraft.engine.workspace import Workspace
from regraft.inference import pieces_of
from regraft.plans import TrainStage


@dataclass(frozen=True)
class Reading:
    """Streams and forward passes of one train stage.

    Attributes
    ----------
    streams
        By name, the leading one first: its passes are the stage's epochs.
    forward
        Runs the model on the run's own target.
    others
        By stream, what runs it on other data.
    companions
        By model and stream, what runs the models that the stage reads and does not train.
    """

    streams: dict[str, Stream]
    forward: Forward
    others: dict[str, Forward]
    companions: Companions


def open_reading(stage: TrainStage, work: Workspace, freeze: Freeze) -> Reading:
    """Open a stage's streams; a frozen prefix is computed now for every example that will be read.

    Raises :class:`PlanError` for streams, views and mixtures that the data do not allow.
    """
    plan, kept = work.plan, freeze.cut > 0
    names = dict.fromkeys(name for term in stage.terms for name in term.streams)
    streams = {name: open_stream(name, plan.streams[name], work, kept=kept) for name in names}
    keep = _kept_blocks(stage, work, freeze)
    forward = replace(_own_forward(stage, work, freeze, streams), keep=keep)
    others = {
        name: replace(_other_forward(stage, work, freeze, stream), keep=keep)
        for name, stream in streams.items()
        if stream.other
    }
    for name, stream in streams.items():
        forward_of = others.get(name, forward)
        # A prefix with random layers is run at every step, and then each step has a view of its own.
        settled = replace(stream, kept=forward_of.frozen is not None)
        streams[name] = _mixing(settled, forward_of, work)
    own_forwards = {name: others.get(name, forward) for name in streams}
    return Reading(streams, forward, others, open_companions(stage, work, streams, own_forwards))


def _kept_blocks(stage: TrainStage, work: Workspace, freeze: Freeze) -> tuple[int, ...]:
    """After how many blocks terms read activations; in the frozen prefix they would compare what is equal."""
    numbers = read_blocks(stage, work, stage.model)
    names = work.models[stage.model].trunk.block_names
    frozen = [names[number - 1] for number in numbers if number <= freeze.cut]
    if frozen:
        raise PlanError(
            f"a term of stage {stage.name!r} reads the activations after {', '.join(frozen)}, in the frozen "
            f"prefix, where nothing moves: name blocks behind {stage.frozen_prefix!r}, as in "
            f"options: {{blocks: [{names[freeze.cut] if freeze.cut < len(names) else names[-1]}]}}"
        )
    return numbers


def _own_forward(
    stage: TrainStage, work: Workspace, freeze: Freeze, streams: Mapping[str, Stream]
) -> Forward:
    own = [stream for stream in streams.values() if stream.other is None]
    frozen = open_frozen(work, stage.model, freeze.cut, own, also=work.draw.validation)
    return Forward(work.models[stage.model], work.inputs, work.device, frozen, cut=freeze.cut)


def _other_forward(stage: TrainStage, work: Workspace, freeze: Freeze, stream: Stream) -> Forward:
    assert stream.other is not None
    inputs = stream.other.inputs
    frozen = open_frozen(work, stage.model, freeze.cut, [stream], inputs=inputs)
    return Forward(work.models[stage.model], inputs, work.device, frozen, cut=freeze.cut)


def _mixing(stream: Stream, forward: Forward, work: Workspace) -> Stream:
    """The stream with what mixes it, decided by what its first example looks like."""
    first = stream.examples[:1]
    pieces, _ = pieces_of(forward.inputs, first)
    batch = forward.inputs.batch(pieces[:1], view=stream.view(0))  # says what a view cannot change
    spec = work.plan.streams[stream.name].mix
    if not spec.mixup and not spec.cutmix:
        return stream
    moved = {name: tensor.to(work.device) for name, tensor in batch.items()}
    activation, channels = forward.activation(first, None, moved), None
    if spec.cutmix and activation is not None and activation.ndim == 4:
        channels = channel_axis(forward.model.trunk, forward.cut, moved)
    owners = np.asarray(forward.inputs.owners)
    most = int(np.bincount(owners, minlength=len(forward.inputs))[stream.examples].max())
    mixer = open_mixer(spec, stream.name, stream.seed, batch, activation, most, channels=channels)
    return replace(stream, mixer=mixer)
