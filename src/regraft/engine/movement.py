"""Movement: which tensors of a run's models are no longer what the links gave.

A checkpoint stores those only. The rest, often nearly everything, comes from the link again when a run goes
on, and a hash in the checkpoint says whether it still is what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from regraft.core.errors import ResumeError
from regraft.core.hashing import hash_json, hash_tensors
from regraft.engine.checkpoint import Checkpoint, Tensors
from regraft.linking.grafted import UNEDITED, Edited

_GROUP = "model."


class Movement:
    """What moved since the models were linked.

    Parameters
    ----------
    models
        As linked, by the plan's names; the same objects are trained.
    """

    def __init__(self, models: Mapping[str, nn.Module]):
        self._models = models
        self._before = {name: _hashes(model) for name, model in models.items()}
        self._moved: dict[str, set[str]] = {name: set() for name in models}

    def expect(self, model: str, names: Iterable[str]) -> None:
        """These tensors of a model are going to move, as far as they exist."""
        edited = _edited(self._models[model])
        plain = {edited.plain(name) for name in names}
        self._moved[model] |= plain & set(_whole_state(self._models[model]))

    def moved(self, model: str) -> frozenset[str]:
        """Names of the tensors of a model that moved, or are going to."""
        return frozenset(self._moved[model])

    def look(self) -> None:
        """Find by hash whatever differs from what was linked, whoever changed it."""
        for name, model in self._models.items():
            before = self._before[name]
            self._moved[name] |= {key for key, value in _hashes(model).items() if before.get(key) != value}

    def tensors(self) -> dict[str, Tensors]:
        """What moved, as groups of a checkpoint."""
        return {
            _GROUP + name: {
                key: value for key, value in _whole_state(model).items() if key in self._moved[name]
            }
            for name, model in self._models.items()
        }

    def facts(self) -> dict[str, Any]:
        """By model a hash of what did not move."""
        # What is no longer there, as a head that another kind took the place of, cannot be put back.
        there = {name: set(_whole_state(model)) for name, model in self._models.items()}
        return {name: self._rest(name, moved & there[name]) for name, moved in self._moved.items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put back what moved. Raises :class:`ResumeError` where the rest is not what it was."""
        for name, expected in checkpoint.state["rest"].items():
            tensors = checkpoint.tensors.get(_GROUP + name, {})
            if self._rest(name, tensors) != expected:
                raise ResumeError(
                    f"the model {name!r} does not begin with the weights that it began with: its source's "
                    "weights or its network's code have changed, or another version of a package draws fresh "
                    "layers differently. Put them back as they were, or fit into a new folder."
                )
            _put(self._models[name], tensors)
            self._moved[name] = set(tensors)

    def _rest(self, model: str, moved: Iterable[str]) -> str:
        without = set(moved)
        # What a network's code made only later (a table that grew) is no part of what was linked.
        return hash_json({key: value for key, value in self._before[model].items() if key not in without})


def _whole_state(model: nn.Module) -> Tensors:
    """Parameters and all buffers, those included that the network's code does not save.

    By the names that they have between stages; what a stage's edits added is the stage's own.
    """
    edited = _edited(model)
    state = {**dict(model.named_buffers(remove_duplicate=False)), **model.state_dict()}
    return {edited.plain(name): value for name, value in state.items() if name not in edited.added}


def _edited(model: nn.Module) -> Edited:
    return getattr(model, "edited", UNEDITED)


def _hashes(model: nn.Module) -> dict[str, str]:
    return {name: hash_tensors({"": tensor}) for name, tensor in _whole_state(model).items()}


@torch.no_grad()
def _put(model: nn.Module, tensors: Tensors) -> None:
    state, kept = _whole_state(model), set(model.state_dict())
    for name, value in tensors.items():
        # A buffer that the network's code makes anew when it runs may not be there yet.
        if name in kept or (name in state and state[name].shape == value.shape):
            state[name].copy_(value)
