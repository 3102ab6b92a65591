"""A stage's edits: made before its first step, kept in its checkpoints, merged after its last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regraft.core.errors import PlanError, TrainingError
from regraft.core.randomness import torch_randomness
from regraft.engine.edits.editing import Editing, edited
from regraft.engine.edits.registry import EDITS, edits_at
from regraft.inference import pieces_of
from regraft.plans import Plan, TrainStage

if TYPE_CHECKING:
    from regraft.engine.workspace import Workspace
    from regraft.linking import Grafted

TOLERANCE = 1e-5
"""How far merged features may be from those before, as a share of their size."""
_EXAMPLES = 4
_SEPARATOR = ":"


def try_edits(plan: Plan, models: Mapping[str, Grafted]) -> None:
    """Raise :class:`PlanError` before anything is run for edits that find no layer."""
    for stage in plan.stages:
        if isinstance(stage, TrainStage):
            with edited(models[stage.model], edits_at(plan, stage), stage=stage.name):
                pass


class StageEdits:
    """The edits of one stage, in the model that it trains and in moving averages of it; nothing without any.

    Raises :class:`PlanError` for edits that the network cannot have: where no layer matches, where a changed
    layer is never called, or where the edited network does not begin as the plain one was.
    """

    def __init__(self, stage: TrainStage, work: Workspace):
        self.stage, self.work = stage, work
        self.editings: dict[str, Editing] = {}
        if not stage.edits:
            return
        if work.settings.sharding != "none":
            raise PlanError(
                f"stage {stage.name!r} edits the network, and --sharding {work.settings.sharding} divides "
                "its weights: leave one of the two out"
            )
        followers = [name for name, spec in work.plan.models.items() if spec.average_of == stage.model]
        plain = self._features(stage.model)
        for name in (stage.model, *followers):
            self.editings[name] = Editing(
                work.models[name], stage.edits, seed=work.draw.seed, stage=stage.name
            )
        self._check_start(plain)

    def tensors(self) -> dict[str, Tensor]:
        """What the edits added, for a checkpoint."""
        return {
            f"{model}{_SEPARATOR}{name}": tensor
            for model, editing in self.editings.items()
            for name, tensor in editing.tensors().items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what a checkpoint of this stage held."""
        for model, editing in self.editings.items():
            mine = model + _SEPARATOR
            editing.put({n.removeprefix(mine): value for n, value in tensors.items() if n.startswith(mine)})

    def close(self, trained: frozenset[str]) -> None:
        """Merge what was learned into plain weights, where it can be, and make sure that these compute the
        same.

        ``trained`` are names of trained parameters, as the edited model has them; they are booked by their
        plain names. Raises :class:`TrainingError` where merged and edited layers disagree.
        """
        edited = self.work.models[self.stage.model].edited
        sizes = dict(self.work.models[self.stage.model].named_parameters())
        if self.stage.model == "student":
            merged = {name for name, kind in edited.added.items() if not EDITS[kind].lasts} & trained
            self.work.trained.update(edited.plain(name) for name in trained - merged)
            for name in merged:
                self.work.merged[f"{self.stage.name}: {name}"] = sizes[name].numel()
        for model, editing in self.editings.items():
            before = self._features(model)
            editing.merge()
            apart = _apart(self._features(model), before)
            if not apart <= TOLERANCE:
                raise TrainingError(
                    f"stage {self.stage.name!r}: with its edits merged into plain weights {model!r} "
                    f"computes something else: its features are {apart:.1e} apart (relative), and "
                    f"{TOLERANCE:g} is allowed. The stage's result is not kept. Weights that grew very large "
                    "do this: lower the rates (--set groups.0.rate=VALUE)"
                )

    def _check_start(self, plain: Tensor) -> None:
        """An edit that begins as nothing must do nothing, and be run."""
        editing = self.editings[self.stage.model]
        called: set[str] = set()
        handles = [
            change.now.register_forward_pre_hook(lambda _, __, path=change.path: called.add(path))
            for _, change in editing.changes
        ]
        try:
            apart = _apart(self._features(self.stage.model), plain)
        finally:
            for handle in handles:
                handle.remove()
        around = [change.path for _, change in editing.changes if change.path not in called]
        problem = ""
        if around:
            problem = f"these layers are never called, their weights are read by other code: {around[0]}"
            problem += ", .." if len(around) > 1 else ""
        elif not apart <= TOLERANCE:
            problem = f"it departs from the plain one by {apart:.1e} (relative) before any step"
        if problem:
            names = ", ".join(spec.edit for spec in self.stage.edits)
            for one in self.editings.values():
                one.undo()
            raise PlanError(
                f"stage {self.stage.name!r}: the network cannot be edited like this ({names}): {problem}. "
                "Choose other layers: --set edits=[{edit: .., match: [..]}]"
            )

    @torch.no_grad()
    def _features(self, model: str) -> Tensor:
        """Pooled features of a few training examples in ``eval`` mode, ``Float[examples, width]``."""
        work, grafted = self.work, self.work.models[model]
        examples = work.draw.train[:_EXAMPLES]
        pieces, positions = pieces_of(work.inputs, examples)
        batch = {name: values.to(work.device) for name, values in work.inputs.batch(pieces).items()}
        owners = torch.from_numpy(positions).to(work.device)
        weights = torch.as_tensor(work.inputs.weights)[pieces].to(work.device)
        grafted.eval()
        # Some layers draw in eval() too. cuDNN's convolutions round to fewer digits than are compared here.
        with torch_randomness(0, "edits"), torch.backends.cudnn.flags(enabled=False):
            return grafted.features(batch, owners, weights, len(examples))


def _apart(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).norm() / reference.norm().clamp(min=1e-30))
