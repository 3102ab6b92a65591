"""Workspace: what the stages of one run share while it is executed."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from regraft.core.inputs import Inputs
from regraft.engine.checkpoint import Checkpoints
from regraft.engine.history import History
from regraft.engine.movement import Movement
from regraft.engine.processes.group import ALONE, Processes
from regraft.engine.processes.shares import compute_shared, outputs_shared
from regraft.engine.settings import Settings
from regraft.engine.stream_data import StreamData
from regraft.inference import Embedder
from regraft.inference.predictor import model_logits
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
    keep
        Whether activations are kept on disk.
    processes
        Those that execute the plan together; trials run in one.
    others
        By stream, the data that it reads where those are not the target.
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
    keep: bool = True
    processes: Processes = ALONE
    others: dict[str, StreamData] = field(default_factory=dict)
    embedders: list[Embedder] = field(default_factory=list)
    trained: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)

    def embedder(self, model: str, cut: int, *, inputs: Inputs | None = None) -> Embedder:
        """The frozen prefix of a model, up to ``cut``, as it is now; of the target, or of other inputs."""
        made = Embedder(
            self.models[model].trunk,
            self.inputs if inputs is None else inputs,
            cut=cut,
            backend=self.settings.backend,
            device=self.device,
            keep=self.keep,
        )
        self.embedders.append(made)
        return made

    @property
    def backends(self) -> tuple[str, ...]:
        """Backends that frozen layers ran on so far."""
        return tuple(sorted({made.backend_name for made in self.embedders}))

    def features(self, model: str, examples: np.ndarray) -> Tensor:
        """Pooled features of examples, ``Float[Tensor, "examples width"]``, computed once."""
        trunk = self.models[model].trunk
        start = time.monotonic()
        frozen = self.embedder(model, len(trunk.blocks))
        compute_shared(self.processes, frozen, examples)
        values = frozen.features(examples)
        self.spend("features", time.monotonic() - start)
        return values

    def labels(self, examples: np.ndarray) -> dict[str, Tensor]:
        """Labels by output, as tensors; raises SealedError for test examples."""
        return {
            name: torch.from_numpy(np.asarray(value)) for name, value in self.target.labels(examples).items()
        }

    def spend(self, what: str, seconds: float) -> None:
        """Book time."""
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def logits(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """What the student's heads give for examples as it is now, ``float32 (examples, K)`` by output.

        Features are kept on disk only where no stage trains the trunk: those of a trained one are read once.
        """
        untrained = not any(isinstance(stage, TrainStage) for stage in self.plan.stages)
        linked = self.plan.models["student"].initialise == "linked"

        def compute(chosen: np.ndarray) -> dict[str, np.ndarray]:
            return model_logits(
                self.models["student"],
                self.inputs,
                chosen,
                backend=self.settings.backend,
                keep=self.keep and untrained and linked,
            )

        return outputs_shared(self.processes, examples, compute)

    @property
    def trained_parameters(self) -> int:
        """How many numbers of the student were fitted or trained by any stage so far."""
        sizes = {name: parameter.numel() for name, parameter in self.models["student"].named_parameters()}
        return sum(sizes[name] for name in self.trained)
