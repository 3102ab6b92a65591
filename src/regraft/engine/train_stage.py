"""A train stage: gradient steps, resumable to the bit from any checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from regraft.core.console import Advance, progress, say
from regraft.core.errors import NonFiniteLossError
from regraft.core.randomness import torch_randomness
from regraft.engine.checkpoint import Checkpoint, Tensors
from regraft.engine.combining import Combining
from regraft.engine.edits import StageEdits
from regraft.engine.epoch_line import epoch_line
from regraft.engine.freezing import Freeze, decide_freeze, torn
from regraft.engine.interrupt import Interrupt, graceful_interrupt
from regraft.engine.meter import Meter
from regraft.engine.moving_average import judged_model, open_averages
from regraft.engine.objective import Objective
from regraft.engine.optimiser import (
    make_optimiser,
    optimiser_tensors,
    restore_optimiser,
    set_rates,
)
from regraft.engine.pace import Pace
from regraft.engine.precision import Precision
from regraft.engine.prefetch import Reader
from regraft.engine.processes import Lockstep
from regraft.engine.processes.sharding import check_divisible, whole
from regraft.engine.rate_finder import find_rates, use_rates
from regraft.engine.reading import open_reading
from regraft.engine.replay import keep_step
from regraft.engine.schedules import rate_factor
from regraft.engine.slices import Slice
from regraft.engine.stage_terms import make_terms
from regraft.engine.standing import Standing
from regraft.engine.step_guard import StepGuard
from regraft.engine.streams import Stream
from regraft.engine.suffix_compile import CompiledSuffix, compile_suffix
from regraft.engine.term_parts import open_parts
from regraft.engine.term_states import TermStates
from regraft.engine.validation import Validation, validate
from regraft.engine.workspace import Workspace
from regraft.plans import TrainStage

Save = Callable[[dict[str, Any], dict[str, Tensors]], None]
"""Writes a checkpoint of the whole run, given the stage's own facts and tensors."""


class TrainStageRun:
    """One train stage while it runs.

    Parameters
    ----------
    stage, work
        What to do, and on what.
    save
        Called with the stage's facts and tensors when a checkpoint is due; None for trials.
    """

    def __init__(self, stage: TrainStage, work: Workspace, save: Save | None):
        self.stage, self.work, self.save = stage, work, save
        self.model = work.models[stage.model]
        self.edits = StageEdits(stage, work)
        self.freeze: Freeze = decide_freeze(
            self.model,
            stage.trainable,
            stage.frozen_prefix,
            norm_moves=stage.norm_statistics == "move",
        )
        self.freeze.set_gradients(self.model)
        self.lockstep = Lockstep(work.processes, self.model)
        reading = open_reading(stage, work, self.freeze)
        self.forward = reading.forward
        self.leading = next(iter(reading.streams.values()))
        few = self.leading.examples[:2]
        check_divisible(work.settings, work.plan, stage)
        leading = reading.others.get(self.leading.name, self.forward)
        self.lockstep.shard(work.settings.sharding, self.freeze.trainable, lambda: leading(few))
        terms = make_terms(stage, work.tasks, work.others)
        self.parts = open_parts(stage, work, terms, reading.streams, self.lockstep)
        self.optimiser = make_optimiser(self.model, self.freeze, stage.groups, stage.optimiser, self.parts)
        self.averages = open_averages(work, stage.model, self.freeze, self.total_steps)
        self.precision = Precision(work.settings.precision, work.device)
        self.judged = judged_model(stage, work)
        self.reader = self._reader(reading.streams)
        self.states = TermStates([one.term for one in terms], work.processes, work.device)
        self.objective = Objective(
            terms,
            reading.streams,
            self.forward,
            self.reader,
            work,
            stage.name,
            reading.others,
            self.precision,
            companions=reading.companions,
            model=stage.model,
            states=self.states,
        )
        self.combining = self._combining()
        self.share = work.processes.slice
        self.standing = Standing()
        self.pace = Pace(work.settings.checkpoint_seconds)
        self.meter = Meter(work.device)
        self.guard = StepGuard(self)

    def _combining(self) -> Combining:
        """What makes one step of the terms; what it trains itself joins the optimiser."""
        moved = [p for group in self.optimiser.param_groups for p in group["params"]]
        terms, names = self.objective.terms, self.objective.term_names
        found = Combining(self.stage, terms, names, moved, seed=self.work.draw.seed)
        found.check_alone(self.work.processes.world)
        for group in found.groups():
            self.optimiser.add_param_group(group)
        return found

    def _reader(self, streams: dict[str, Stream]) -> Reader:
        """What makes the batches, ahead of time where there are workers."""
        steps, workers = self.total_steps, self.work.settings.workers
        last = None if steps is None else steps * self.stage.optimiser.accumulate
        return Reader(self.work.inputs, streams, workers=workers, steps=last)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the leading stream."""
        return -(-self.leading.batches // self.stage.optimiser.accumulate)

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole stage; None where only time ends it."""
        stop = self.stage.stop
        limits = [stop.steps] if stop.steps else []
        if stop.epochs:
            limits.append(stop.epochs * self.steps_per_epoch)
        return min(limits) if limits else None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this stage; the model's weights are already in place."""
        best = self.lockstep.divided(checkpoint.tensors.get("best", {}))
        self.standing = Standing.of(checkpoint.state["standing"], best)
        if "terms" in checkpoint.state:  # older versions kept the leader's alone, in the standing
            self.standing.epoch_terms = dict(checkpoint.state["terms"][self.work.processes.rank])
        self.parts.load_state_dict(checkpoint.tensors.get("parts", {}))
        self.edits.restore(checkpoint.tensors.get("edits", {}))
        restore_optimiser(self.optimiser, checkpoint.tensors.get("optimiser", {}))
        self.combining.restore(checkpoint.tensors.get("combining", {}))
        self.states.restore(checkpoint.tensors.get("states", {}))
        self.precision.restore(checkpoint.state["precision"])

    def run(self) -> None:
        """Take all steps, keep the weights the plan asks for, and make sure that nothing frozen moved."""
        before = self.freeze.fingerprint(self.model)
        if self.standing.step == 0 and (sentence := torn(self.model, self.freeze)):
            self.work.tell(self.stage.name, 0, "modes", sentence)
        self.guard.begin()
        compile_suffix(self)
        if self.standing.step == 0:
            self.standing.rates = find_rates(self)
        use_rates(self, self.standing.rates)
        start = time.monotonic() - self.standing.seconds
        total = self.total_steps or self.standing.step + 1
        label = f"Training stage {self.stage.name!r}"
        bar = progress(label, total, unit="steps")
        with graceful_interrupt() as interrupt, bar as advance, self.reader:
            advance(self.standing.step)
            if self.standing.step == 0:
                for average in self.averages:
                    average.begin()
                self._judge(self._validate())
            self.freeze.set_modes(self.model)
            self.lockstep.explain(self.stage.name)
            while not self._finished():
                with self.meter.step(self._examples_of_step()):
                    loss = self._step()
                self.standing.seconds = time.monotonic() - start
                self._after_step(loss, advance)
                self.guard.beat()
                self._checkpoint(interrupt)
        if self.stage.stop.judge and self.stage.stop.keep == "last":
            self.model.load_state_dict(self._moving_state(), strict=False)
        if self.stage.stop.keep == "best" and self.standing.best:
            self.model.load_state_dict(self.standing.best, strict=False)
            if not self.moved:
                say(
                    f"Stage {self.stage.name!r} keeps the weights that it began with: no epoch had a lower "
                    f"validation {self.stage.stop.measure}. More epochs, or other rates, may do better."
                )
        self.lockstep.end()
        self.model.eval()
        self.freeze.check(self.model, before)
        self.edits.close(self.freeze.trainable)

    def use_suffix(self, suffix: CompiledSuffix | None) -> None:
        """Have steps run compiled layers behind the cut, or none."""
        self.objective = replace(self.objective, forward=replace(self.forward, suffix=suffix))

    def _finished(self) -> bool:
        stop, standing = self.stage.stop, self.standing
        total = self.total_steps
        out_of_patience = stop.patience is not None and standing.bad_epochs >= stop.patience
        out_of_time = stop.seconds is not None and standing.seconds >= stop.seconds
        return out_of_patience or out_of_time or (total is not None and standing.step >= total)

    def done_share(self) -> float:
        """Share of the stage that is done: of its steps, or of its time where that is all that ends it."""
        if self.total_steps is not None:
            return self.standing.step / self.total_steps
        return min(self.standing.seconds / (self.stage.stop.seconds or 1.0), 1.0)

    def _factor(self) -> float:
        if self.total_steps is not None:
            return rate_factor(self.stage.schedule, self.standing.step, self.total_steps)
        return rate_factor(self.stage.schedule, round(self.done_share() * 1000), 1000)

    def _step(self) -> float:
        """One optimiser step over ``accumulate`` batches; returns its loss."""
        set_rates(self.optimiser, self._factor())
        try:
            total = self.gradients(self.standing.step)
        except NonFiniteLossError as error:
            self.guard.undo()
            keep_step(self, error)
            raise
        if self.precision.step(self.optimiser):
            self.combining.follow()
            self.states.follow(self._batches(self.standing.step))
            for average in self.averages:
                average.follow(self.standing.step)
        return total

    def gradients(self, step: int) -> float:
        """The gradient of one optimiser step, clipped; returns its loss. Moves buffers, but no weight."""
        self.optimiser.zero_grad(set_to_none=True)
        total = self.lockstep.step(lambda: self.guard.attempt(lambda: self._gradients(step)))
        if self.combining.separate:
            shares = self.objective.shares(step, self.stage.optimiser.accumulate)
            self.combining.write(step, self.done_share(), shares)
        if self.precision.unscale(self.optimiser):
            self._clip()
        batches, agree = self.stage.optimiser.accumulate, self.work.processes.agree
        return total + self.combining.pull(self.objective.tally, batches, agree)

    def _gradients(self, step: int) -> float:
        """Add the gradients of the step's batches; returns their mean loss."""
        self.objective.tally.clear()
        self.combining.clear()
        self.states.clear()
        numbers = self._batches(step)
        return sum(self._backward(number) / len(numbers) for number in numbers)

    def _batches(self, step: int) -> range:
        """The numbers of the batches of an optimiser step."""
        accumulate = self.stage.optimiser.accumulate
        return range(step * accumulate, (step + 1) * accumulate)

    def _backward(self, number: int) -> float:
        """Add the gradient of one batch, slice by slice; returns its loss."""
        total = 0.0
        pieces = self.guard.pieces(number)
        if not pieces:
            self.lockstep.allow_nothing()
        for piece in pieces:
            if not self.objective.reads(number, piece):
                self.lockstep.allow_nothing()
                continue  # the last batch of an epoch may have fewer examples than there are slices
            with torch_randomness(self.work.draw.seed, "step", number, *piece.key):
                loss = self._add_gradient(number, piece)
                self.lockstep.watch(self.stage.name)
            total += loss.item()
        return total

    def _add_gradient(self, number: int, piece: Slice) -> Tensor:
        """Add the gradient of a slice, term by term where that is needed; returns its loss."""
        done, accumulate = self.done_share(), self.stage.optimiser.accumulate
        if not self.combining.separate:
            loss = self.objective(number, done, piece)
            self.precision.backward(loss / accumulate)
            return loss
        parts = self.objective.parts(number, done, piece)
        self.combining.add({name: part / accumulate for name, part in parts.items()}, self.precision.scaled)
        return sum(parts.values(), torch.zeros(()))

    def _clip(self) -> None:
        # Weights of terms are no part of the gradient's norm: their slopes have another unit.
        trained = self.combining.parameters
        limit = self.stage.optimiser.clip
        norm = torch.nn.utils.clip_grad_norm_(trained, limit if limit is not None else float("inf"))
        norm = whole(norm)
        if not torch.isfinite(norm):
            first = self.leading.at(self.standing.step)[:8]
            inputs = self.leading.other.inputs if self.leading.other else self.work.inputs
            names = ", ".join(inputs.names[int(i)] for i in first)
            raise NonFiniteLossError(
                f"stage {self.stage.name!r}, step {self.standing.step}: the loss is finite but its gradient "
                f"is not. The step was not taken; the batch began with {names}. "
                "Lower the rates: --set groups.0.rate=VALUE"
            )

    def _after_step(self, loss: float, advance: Advance) -> None:
        standing = self.standing
        standing.step += 1
        standing.epoch_loss += loss
        for name, value in self.objective.tally.items():
            part = value.item() / self.stage.optimiser.accumulate
            standing.epoch_terms[name] = standing.epoch_terms.get(name, 0.0) + part
        position = (standing.step - 1) % self.steps_per_epoch + 1
        note = f"loss {standing.epoch_loss / position:.4f}"
        if position == self.steps_per_epoch or standing.step == self.total_steps:
            note += self._end_epoch(position)
        advance(note=note)

    def _end_epoch(self, steps: int) -> str:
        """After the last of an epoch's steps; a stage may end in the middle of its last epoch."""
        self.lockstep.check()
        found = self._validate()
        self.freeze.set_modes(self.model)
        self._judge(found)
        self.work.history.add(epoch_line(self, steps, found))
        self.standing.epoch_loss, self.standing.epoch_terms = 0.0, {}
        shown = "".join(f", {name} {value:.3f}" for name, value in found.metrics.items())
        measure = self.stage.stop.measure
        return f", validation {measure} {found.by(measure):.4f}{shown}"

    def _validate(self) -> Validation:
        forward = replace(self.forward, model=self.judged, keep=())
        return self.guard.attempt(lambda: validate(forward, self.work, slices=self.standing.slices))

    def _judge(self, found: Validation) -> None:
        """Keep the weights if they are the best so far; those that the stage began with take part."""
        standing = self.standing
        # Where no validation example has a label nothing can be judged: the newest weights are kept.
        value = found.by(self.stage.stop.measure)
        better = standing.best_loss is None or not found.metrics or value < standing.best_loss
        standing.bad_epochs = 0 if better else standing.bad_epochs + 1
        if better:
            standing.best_loss, standing.best_step = value, standing.step
            standing.best = self._moving_state() if self.stage.stop.keep == "best" else {}

    def _examples_of_step(self) -> int:
        return sum(len(self.leading.at(number)) for number in self._batches(self.standing.step))

    @property
    def moved(self) -> bool:
        """Whether it leaves its model otherwise than it found it; asked at its end."""
        return self.stage.stop.keep == "last" or self.standing.best_step != 0

    @property
    def moving_names(self) -> frozenset[str]:
        """Names of the parameters that are trained and of the buffers that move with them."""
        return self.freeze.moving_tensors(self.model)

    def _moving_state(self) -> Tensors:
        """A copy of everything that training moves, in the model that is judged."""
        state, moving = self.judged.state_dict(), self.moving_names
        return {name: value.detach().clone() for name, value in state.items() if name in moving}

    def _checkpoint(self, interrupt: Interrupt) -> None:
        standing = self.standing
        standing.seconds, due, wanted, slices = self.lockstep.pause(
            standing.seconds, self.pace.due, interrupt.wanted, standing.slices
        )
        self.guard.follow(slices)
        if self.save is not None and (due or wanted):
            tensors = {
                "optimiser": optimiser_tensors(self.optimiser),
                "best": standing.best,
                "combining": self.combining.tensors(),
                "parts": self.parts.state_dict(),
                "states": self.states.tensors(),
                "edits": self.edits.tensors(),
            }
            facts = {
                "standing": standing.facts(),
                "terms": self.work.processes.collect(standing.epoch_terms),
                "precision": self.precision.facts(),
            }
            save = self.save
            self.pace.keep(lambda: save(facts, tensors))
        if wanted:
            raise KeyboardInterrupt
