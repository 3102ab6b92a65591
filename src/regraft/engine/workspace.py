"""Workspace: what the stages of one run share while it is executed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regraft.core.console import say
from regraft.core.inputs import Inputs
from regraft.engine.checkpoint import Checkpoints
from regraft.engine.heartbeat import Killed
from regraft.engine.history import History
from regraft.engine.leavings import Leavings
from regraft.engine.movement import Movement
from regraft.engine.processes.group import ALONE, Processes
from regraft.engine.processes.shares import compute_shared, outputs_shared
from regraft.engine.settings import Settings
from regraft.engine.starts import Start
from regraft.engine.stream_data import StreamData
from regraft.inference import Embedder
from regraft.inference.predictor import heads_on
from regraft.linking import Grafted
from regraft.plans import Plan, TrainStage
from regraft.targets import Draw, Target
from regraft.tasks import Task


@dataclass
class Workspace:
    """Models, data and records of a run.

    Attributes
    ----------
    models
        By the plan's names; their weights are what the stages change.
    tasks
        By output name, fitted to the training labels.
    inputs
        What networks read, aligned with ``target``'s examples.
    checkpoints
        None for trials that are never resumed.
    movement
        What the stages moved so far, where checkpoints are written.
    leavings
        What earlier stages left, for averages; there once the plan is executed.
    keep
        Whether activations are kept on disk.
    processes
        Those that execute the plan together; trials run in one.
    others
        By stream, the data that it reads where those are not the target.
    own_inputs
        By model, the target's examples as it reads them, where that is not how the student does.
    starts
        By model, how it began: what the link gave, as far as a term compares with it.
    trained
        Names of the student's parameters that were fitted or trained.
    moved
        Names of the models that a train stage left otherwise than it found them.
    merged
        How many numbers each parameter had that a stage's edits added and that was trained: it is merged into
        others by now.
    killed
        What a process before this one was killed for, where it ran out of memory.
    notes
        What happened that whoever reads the run should know; they go into ``run.json``.
    """

    plan: Plan
    target: Target
    inputs: Inputs
    draw: Draw
    tasks: dict[str, Task]
    models: dict[str, Grafted]
    settings: Settings
    device: torch.device
    history: History = field(default_factory=History)
    checkpoints: Checkpoints | None = None
    movement: Movement | None = None
    leavings: Leavings | None = None
    keep: bool = True
    processes: Processes = ALONE
    others: dict[str, StreamData] = field(default_factory=dict)
    own_inputs: dict[str, Inputs] = field(default_factory=dict)
    starts: dict[str, Start] = field(default_factory=dict)
    embedders: list[Embedder] = field(default_factory=list)
    trained: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    merged: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    killed: Killed | None = None
    notes: list[str] = field(default_factory=list)

    def inputs_of(self, model: str) -> Inputs:
        """The target's examples as a model reads them."""
        return self.own_inputs.get(model, self.inputs)

    def seen_by(self, model: str) -> Workspace:
        """The same workspace with the target's examples as a model reads them."""
        inputs = self.inputs_of(model)
        return self if inputs is self.inputs else replace(self, inputs=inputs)

    def embedder(
        self,
        model: str,
        cut: int,
        *,
        inputs: Inputs | None = None,
        through: Embedder | None = None,
        keep: bool = True,
    ) -> Embedder:
        """The frozen prefix of a model, up to ``cut``, as it is now: the same one again while it is the same.

        It reads the target, or other ``inputs``; ``through`` and ``keep`` are those of
        :class:`regraft.inference.Embedder`.
        """
        made = Embedder(
            self.models[model].trunk,
            self.inputs_of(model) if inputs is None else inputs,
            cut=cut,
            backend=self.settings.backend,
            device=self.device,
            keep=self.keep and keep,
            activations=self.settings.activations,
            limit=self.settings.cache_limit,
            through=through,
            title=self.plan.models[model].source,
        )
        same = next((one for one in self.embedders if one.same_as(made)), None)
        if same is None:
            self.embedders.append(made)
        return same or made

    @property
    def backends(self) -> tuple[str, ...]:
        """Backends that frozen layers ran on so far."""
        return tuple(sorted({made.backend_name for made in self.embedders}))

    def features(self, model: str, examples: np.ndarray, *, inputs: Inputs | None = None) -> Tensor:
        """Pooled features of examples, ``Float[Tensor, "examples width"]``, computed once.

        They are the target's, or those of other ``inputs``.

        Where a stage of the plan freezes the model up to a cut, what stands in front of the cut is run for
        both: the features come from the activations that the stage reads.
        """
        with self.spending("features"):
            frozen = self._whole(model, examples, keep=True, inputs=inputs)
            compute_shared(self.processes, frozen, examples)
            return frozen.features(examples)

    def _whole(
        self, model: str, examples: np.ndarray, *, keep: bool, inputs: Inputs | None = None
    ) -> Embedder:
        """The whole trunk of a model, run behind what is kept of it."""
        last = len(self.models[model].trunk.blocks)
        prefix = self._common_prefix(model, examples, inputs)
        return self.embedder(model, last, inputs=inputs, through=prefix, keep=keep)

    def _common_prefix(self, model: str, examples: np.ndarray, inputs: Inputs | None) -> Embedder | None:
        """The prefix that the plan's first stage with one keeps; a function of the plan, so bits repeat."""
        trunk = self.models[model].trunk
        ends = (
            stage.frozen_prefix
            for stage in self.plan.stages
            if isinstance(stage, TrainStage) and stage.model == model
        )
        end = next((end for end in ends if end is not None), None)
        if end is None or trunk.cut_after(end) == len(trunk.blocks):
            return None
        found = self.embedder(model, trunk.cut_after(end), inputs=inputs)
        return found if found.kept(examples) else None

    def labels(self, examples: np.ndarray) -> dict[str, Tensor]:
        """Labels by output, as tensors; raises SealedError for test examples."""
        return {
            name: torch.from_numpy(np.asarray(value)) for name, value in self.target.labels(examples).items()
        }

    @property
    def folder(self) -> Path | None:
        """The run's folder; None for a trial."""
        return self.checkpoints.folder.parent if self.checkpoints else None

    def tell(self, stage: str, step: int, kind: str, note: str, **facts: Any) -> None:
        """Say what happened, and keep it in the history and in the run's notes."""
        say(note)
        self.history.add({"stage": stage, "kind": kind, "step": step, "note": note, **facts})
        self.notes.append(note)

    def spend(self, what: str, seconds: float) -> None:
        """Book time."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Book the time that the block takes, but for what it books under another name."""
        start, booked = time.monotonic(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - booked
            self.spend(what, time.monotonic() - start - inside)

    def logits(self, examples: np.ndarray, *, model: str = "student") -> dict[str, np.ndarray]:
        """What a model's heads give for examples as it is now, ``float32 (examples, K)`` by output.

        Features are kept on disk only where no stage trains the trunk: those of a trained one are read once.
        """
        untrained = not any(isinstance(stage, TrainStage) for stage in self.plan.stages)
        linked = self.plan.models[model].initialise == "linked"
        grafted = self.models[model].eval()
        if len(examples) == 0:
            return {name: np.zeros((0, 1), np.float32) for name in grafted.outputs}

        def compute(chosen: np.ndarray) -> dict[str, np.ndarray]:
            whole = self._whole(model, chosen, keep=untrained and linked)
            return heads_on(grafted, whole.features(chosen))

        return outputs_shared(self.processes, examples, compute)

    @property
    def kept_as(self) -> list[dict[str, Any]]:
        """How what frozen layers gave was kept, by cut, for ``run.json``."""
        return [made.summary() for made in self.embedders]

    @property
    def trained_parameters(self) -> int:
        """How many numbers of the student were fitted or trained by any stage so far."""
        sizes = {name: parameter.numel() for name, parameter in self.models["student"].named_parameters()}
        return sum(sizes[name] for name in self.trained) + sum(self.merged.values())
