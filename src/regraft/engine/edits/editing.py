"""Editing: one model with its edits in place, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from regraft.core.randomness import torch_randomness
from regraft.engine.edits.edit import Change, Edit, replace_module
from regraft.engine.edits.places import find_places
from regraft.engine.edits.registry import find_edit
from regraft.linking import Grafted
from regraft.linking.grafted import UNEDITED, Edited
from regraft.plans import EditSpec


class Editing:
    """A model that is edited until :meth:`merge` or :meth:`undo`.

    Blocks keep their names and bounds while layers inside them change. What edits add that last stays in the
    network after :meth:`merge`, and its trunk says so.

    Parameters
    ----------
    model
        Edited in place; its plain tensors stay the same objects.
    specs
        In the plan's order; each changes what those before it left.
    seed, stage
        What new parameters are drawn by.
    sketched
        For a price; see :meth:`Edit.sketch`.
    """

    def __init__(
        self, model: Grafted, specs: Sequence[EditSpec], *, seed: int, stage: str, sketched: bool = False
    ):
        self.model, self._sketched = model, sketched
        self.changes: list[tuple[Edit, Change]] = []
        self._gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        before = _tensors(model)
        names = {id(tensor): name for name, tensor in before.items()}
        added: dict[str, str] = {}
        renamed: dict[str, str] = {}
        model.trunk.hold_blocks()
        try:
            for number, spec in enumerate(specs):
                edit = find_edit(spec)
                with torch_randomness(seed, "edit", stage, number):
                    self._apply(edit, spec.match)
                now = {n: t for n, t in _tensors(model).items() if n not in before and n not in added}
                added |= {name: edit.name for name, tensor in now.items() if id(tensor) not in names}
                renamed |= {name: names[id(tensor)] for name, tensor in now.items() if id(tensor) in names}
        except BaseException:
            self.undo()
            raise
        model.edited = Edited(added, renamed)

    def _apply(self, edit: Edit, patterns: tuple[str, ...]) -> None:
        taken = [change.path for _, change in self.changes]
        paths = find_places(self.model, edit, patterns, taken)
        network = self.model.trunk.network
        before = {path: network.get_submodule(path) for path in paths}
        try:
            for change in (edit.sketch if self._sketched else edit.apply)(network, paths):
                change.now.train(change.original.training)
                self.changes.append((edit, change))
        except BaseException:
            for path, layer in before.items():
                replace_module(network, path, layer)
            raise

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that the edits added, by name."""
        now = _tensors(self.model)
        return {name: now[name].detach() for name in self.model.edited.added}

    @torch.no_grad()
    def put(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave."""
        now = _tensors(self.model)
        for name, value in tensors.items():
            now[name].copy_(value)

    def merge(self) -> None:
        """Write what was learned into the plain layers and put these back, but for what lasts."""
        for edit, change in self.changes:
            edit.settle(change)
        lasting = [edit for edit in dict.fromkeys(edit for edit, _ in self.changes) if edit.lasts]
        added = tuple(
            edit.added([change.path for one, change in self.changes if one is edit]) for edit in lasting
        )
        self.changes = [(edit, change) for edit, change in self.changes if not edit.lasts]
        self.undo()
        self.model.trunk.added = (*self.model.trunk.added, *added)

    def undo(self) -> None:
        """Put the plain layers back, with the values that they have now."""
        for _, change in reversed(self.changes):
            change.original.train(change.now.training)
            replace_module(self.model.trunk.network, change.path, change.original)
        self.changes = []
        for parameter, wanted in self._gradients:
            parameter.requires_grad_(wanted)
        self.model.edited = UNEDITED
        self.model.trunk.release_blocks()


@contextmanager
def edited(
    model: Grafted, specs: Sequence[EditSpec], *, seed: int = 0, stage: str = "", sketched: bool = False
) -> Iterator[None]:
    """Inside the block the model is edited as a stage would have it; nothing of that is left behind it."""
    if not specs:
        yield
        return
    editing = Editing(model, specs, seed=seed, stage=stage, sketched=sketched)
    try:
        yield
    finally:
        editing.undo()


def _tensors(model: Grafted) -> dict[str, Tensor]:
    """All of a model's own tensors, by every name that they have."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
