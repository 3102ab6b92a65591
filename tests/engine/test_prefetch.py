"""Batches that are made ahead of time are the ones that would have been made anyway."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from regraft.core.errors import DataError
from regraft.core.hashing import hash_tensors
from regraft.core.inputs import View
from regraft.engine import execute
from regraft.engine.prefetch import Reader, Wanted
from regraft.engine.slices import WHOLE, Slice
from regraft.engine.streams import Stream
from tests.engine.conftest import Bench


class Torn:
    """Inputs one of whose examples cannot be read; it counts what is read."""

    def __init__(self, inputs: Any, torn: Sequence[int] = ()):
        self.inputs, self.torn, self.read = inputs, set(torn), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inputs, name)

    def batch(self, pieces: np.ndarray, *, view: View | None = None) -> dict[str, torch.Tensor]:
        self.read += 1
        if self.torn.intersection(pieces.tolist()):
            raise OSError("the disk is gone")
        made: dict[str, torch.Tensor] = self.inputs.batch(pieces, view=view)
        return made


def readers_left() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("regraft-reader")]


def stream(count: int, views: int = 2) -> Stream:
    return Stream("target", np.arange(count), 8, views, 0)


@pytest.mark.parametrize("pieces", [(WHOLE,), (Slice(0, 3), Slice(2, 3))])
def test_threads_make_the_same_batches_in_whatever_order_they_are_asked_for(
    bench: Bench, pieces: tuple[Slice, ...]
) -> None:
    inputs, streams = bench.prepared.inputs, {"target": stream(60)}
    alone = Reader(inputs, streams)
    with Reader(inputs, streams, workers=2, steps=20) as reader:
        for step in (0, 1, 2, 3, 7, 8, 5, 19):
            for piece in pieces:
                wanted = Wanted("target", step, piece)
                assert hash_tensors(dict(reader(wanted))) == hash_tensors(dict(alone(wanted)))
        assert 0 < len(readers_left()) <= 2
    assert readers_left() == []


def test_no_more_is_made_ahead_than_was_said(bench: Bench) -> None:
    inputs = Torn(bench.prepared.inputs)
    with Reader(inputs, {"target": stream(60)}, workers=2, steps=3) as reader:
        reader(Wanted("target", 0, WHOLE))
    assert 1 <= inputs.read <= 3
    with Reader(inputs, {"target": stream(60)}, workers=2) as reader:
        inputs.read = 0
        reader(Wanted("target", 0, WHOLE))
    assert 1 <= inputs.read <= 4


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_is_named_where_its_batch_is_asked_for(bench: Bench, workers: int) -> None:
    inputs, streams = bench.prepared.inputs, {"target": stream(60, views=0)}
    victim = int(streams["target"].at(2)[3])
    with Reader(Torn(inputs, [victim]), streams, workers=workers) as reader:
        reader(Wanted("target", 0, WHOLE))
        reader(Wanted("target", 1, WHOLE))
        name = bench.prepared.inputs.names[victim]
        with pytest.raises(DataError, match=f"{name} could not be read for step 2 .*the disk is gone"):
            reader(Wanted("target", 2, WHOLE))
    assert readers_left() == []


def test_workers_change_no_bit_of_a_trained_network(bench: Bench) -> None:
    changes = ("stop.steps=5", "streams.target.batch=8", "streams.target.views=1", "optimiser.accumulate=2")
    works = [bench.open(bench.plan("full", *changes), workers=workers) for workers in (0, 2)]
    for work in works:
        execute(work)
    alone, ahead = (hash_tensors(work.models["student"].state_dict()) for work in works)
    assert alone == ahead
    assert readers_left() == []


def test_behind_a_cut_no_batch_is_made(bench: Bench) -> None:
    work = bench.open(bench.plan("lpft:2", "stop.steps=2"), workers=2)
    work.inputs = Torn(work.inputs)
    from regraft.engine.train_stage import TrainStageRun

    stage = work.plan.stages[-1]
    run = TrainStageRun(stage, work, None)  # type: ignore[arg-type]
    computed = work.inputs.read
    run.run()
    assert computed > 0
    assert work.inputs.read == computed
