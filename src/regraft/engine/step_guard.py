"""What stands between a train stage and the memory: slices before the first step and when it runs out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import nn

from regraft.core.errors import NonFiniteLossError, TrainingError
from regraft.core.memory import available_memory, in_bytes, is_out_of_memory
from regraft.core.randomness import torch_randomness
from regraft.engine.heartbeat import Heartbeat
from regraft.engine.memory import (
    MemoryNeed,
    measure_need,
    optimiser_states,
    slices_that_fit,
    too_big,
    try_need,
    weight_copies,
)
from regraft.engine.prefetch import Reader
from regraft.engine.slices import Sizes, Slice, split_batch
from regraft.engine.snapshot import Snapshot

if TYPE_CHECKING:
    from regraft.engine.streams import Stream
    from regraft.engine.train_stage import TrainStageRun

Value = TypeVar("Value")


class StepGuard:
    """Keeps the batches of one train stage small enough, and says how it goes.

    How many slices a batch is computed in is part of the stage's standing, so a checkpoint has it: bits
    depend on it.
    """

    def __init__(self, run: TrainStageRun):
        self.run, self.work = run, run.work
        self.processes = run.work.processes
        self.batch = self._usual(run.leading)
        self.least = 2 if _needs_two(run) else 1
        smallest = min(self._usual(stream) for stream in run.objective.streams.values())
        self.most = self.batch if self.least == 1 else max(smallest // self.least, 1)
        self.heart = Heartbeat(run.work.folder if self.processes.leads else None)
        self._buffers = Snapshot(buffers_of=run.model)

    def begin(self) -> None:
        """Before the first step of this process: what it will need, and after a kill, smaller slices."""
        standing, killed = self.run.standing, self.work.killed
        if killed is not None and killed.stage == self.run.stage.name:
            before = max(killed.slices, standing.slices)
            count = min(2 * before, self.most)
            if count > standing.slices:
                self._change(
                    count, f"The run was killed for lack of memory ({killed.evidence}); it goes on with"
                )
        self.beat(now=True)
        need = try_need(self.predict)
        room = self._room()
        fits = (
            need
            if need is None
            else slices_that_fit(
                need, room, batch=self.batch, most=self.most, start=standing.slices, paired=self._paired()
            )
        )
        if need is None or fits is None:
            raise too_big(need, room, self.run.stage.name, -(-self.batch // self.most))
        fits = max(self.processes.collect(fits))  # bits depend on it, so all compute alike
        if fits > standing.slices:
            self._change(
                fits,
                f"A step over {self.batch} examples would need {in_bytes(need.of(self.batch))} of memory and "
                f"{in_bytes(room)} are free; it is computed with",
            )

    def follow(self, slices: int) -> None:
        """Compute in as many slices as a process that had to take more."""
        if slices > self.run.standing.slices:
            self._change(slices, "The memory of another process ran out; steps are computed with")

    def pieces(self, number: int, share: Slice | None = None) -> tuple[Slice, ...]:
        """The slices that the batch of a step is computed in, here or in the process that has ``share``."""
        share = share or self.run.share
        streams = self.run.objective.streams.values()
        if self.least > 1:  # a short batch is not divided so far that a process has one example
            fewest = min(len(stream.at(number)) for stream in streams)
            share = replace(share, of=min(share.of, max(fewest // self.least, 1)))
            if share.index >= share.of:
                return ()
        sizes = [Sizes(self._usual(one), len(share.take(one.at(number)))) for one in streams]
        count = max(self.run.standing.slices, self.run.combining.parts)
        return split_batch(share, count, sizes, least=self.least)

    def attempt(self, work: Callable[[], Value]) -> Value:
        """Do some work of this stage, again and in smaller slices as long as the memory runs out.

        An attempt that failed leaves nothing behind: gradients are dropped and buffers put back.
        """
        self._buffers.take()
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    self.undo()
                    raise
                if self.run.lockstep.sharded:
                    raise self._no_retry() from error
            # Behind the except block, whose traceback would hold the failed step's tensors.
            self.undo()
            self._halve()

    def beat(self, *, now: bool = False) -> None:
        """Record between two steps where the run stands."""
        standing = self.run.standing
        self.heart.beat(self.run.stage.name, standing.step, standing.slices, now=now)

    def take(self) -> None:
        """Remember the model's buffers of now, for :meth:`undo`."""
        self._buffers.take()

    def undo(self) -> None:
        """Drop gradients and put buffers back, as after a step that failed."""
        self.run.optimiser.zero_grad(set_to_none=True)
        self._buffers.restore()
        if self.work.device.type == "cuda":
            torch.cuda.empty_cache()

    def _halve(self) -> None:
        count = min(2 * self.run.standing.slices, self.most)
        if count <= self.run.standing.slices:
            raise too_big(None, self._room(), self.run.stage.name, -(-self.batch // self.most))
        self._change(count, "The memory ran out; the step is computed again with")
        self.beat(now=True)

    def _change(self, count: int, why: str) -> None:
        standing = self.run.standing
        standing.slices = count
        size = -(-self.batch // count)
        note = f"{why} {size} examples at a time instead of {self.batch}: their gradients add up to the same"
        if self.least > 1:
            note += ", but batch norm looks at so few, so results differ a little"
        self.work.tell(self.run.stage.name, standing.step, "memory", f"{note}.", slices=count)

    def _no_retry(self) -> TrainingError:
        """The error for processes that divide weights: one alone cannot compute a step again."""
        return TrainingError(
            f"the memory of a process ran out in stage {self.run.stage.name!r}, and processes that divide "
            "weights take their steps together: use a smaller batch (--set streams.NAME.batch=..), or more "
            "processes"
        )

    def _paired(self) -> bool:
        """Whether a slice computes its examples' partners beside them, see :mod:`regraft.engine.mixing`."""
        mixers = [stream.mixer for stream in self.run.objective.streams.values()]
        return any(mixer is not None and mixer.late for mixer in mixers)

    def _usual(self, stream: Stream) -> int:
        """How many examples of a stream a process reads at a step."""
        return -(-stream.batch // self.processes.world)

    def _room(self) -> int:
        """Free memory that is this process's: those of one machine share what the CPU has."""
        room = available_memory(self.work.device)
        return room if self.work.device.type == "cuda" else room // self.processes.here

    def _prepare(self) -> None:
        """Before a step that is only tried: what has to be put back, modes, and what is computed once."""
        run = self.run
        self._buffers.take()
        run.freeze.set_modes(run.model)
        for name, stream in run.objective.streams.items():
            frozen = run.objective.others.get(name, run.forward).frozen
            if frozen is not None:
                frozen.prepare(stream.view(0))
        for (_, name), companion in run.objective.companions.items():
            companion.prepare(run.objective.streams[name].view(0))

    def try_step(self, count: int) -> None:
        """Forward and backward over a few examples, in the modes of training, that leaves nothing behind."""
        self._prepare()
        try:
            self._forward_backward(count)
        finally:
            self.undo()

    def predict(self) -> MemoryNeed:
        """What the stage needs beyond what is there now. Leaves the model as it was."""
        run = self.run
        trained = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
        trained += run.parts.parameters()
        self._prepare()
        try:
            return measure_need(
                self._forward_backward,
                trained,
                states=optimiser_states(run.stage.optimiser),
                copies=weight_copies(run.stage, run.work.plan) + run.combining.copies,
            )
        finally:
            self.undo()

    def _forward_backward(self, count: int) -> None:
        """Forward and backward over ``count`` of the examples that take the most."""
        run = self.run
        share = count / run.leading.batch
        few = {name: _largest(stream, share, run) for name, stream in run.objective.streams.items()}
        small = replace(run.objective, streams=few, reader=Reader(run.work.inputs, few))
        # A loss that is not finite is the business of the step that meets it.
        with torch_randomness(run.work.draw.seed, "memory", count), suppress(NonFiniteLossError):
            small(0, 0.0).backward()
        run.optimiser.zero_grad(set_to_none=True)


def _largest(stream: Stream, share: float, run: TrainStageRun) -> Stream:
    """A stream of one batch: ``share`` of the stream's own, of the examples with the costliest pieces."""
    count = max(round(stream.batch * share), 1)
    inputs = stream.other.inputs if stream.other else run.work.inputs
    costs = np.bincount(np.asarray(inputs.owners), weights=1.0 + np.asarray(inputs.buckets))
    chosen = np.sort(stream.examples[np.argsort(-costs[stream.examples], kind="stable")[:count]])
    return replace(stream, examples=chosen, batch=max(len(chosen), 1))


def _needs_two(run: TrainStageRun) -> bool:
    """Whether batch norm in training mode is among what is trained."""
    run.freeze.set_modes(run.model)
    norms = nn.modules.batchnorm._BatchNorm
    return any(isinstance(module, norms) and module.training for module in run.model.modules())
