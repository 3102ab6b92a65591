"""Freezing that is real: weights and buffers stay as they are, to the bit, and so does the mode.

A frozen layer goes to ``eval()`` too: batch-norm statistics would move and dropout would stay on without any
gradient. A module without tensors that several blocks run has one mode for all of them: it is in training
mode where one of them moves, and in ``eval()`` while the frozen prefix is run. Modes are set anew after every
validation, because whoever calls ``eval()`` once and ``train()`` never trains the rest of the run in the
wrong mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from regraft.core.errors import PlanError, TrainingError
from regraft.core.hashing import hash_tensors
from regraft.engine.patterns import HEAD, block_of, selected
from regraft.linking import Grafted


@dataclass(frozen=True)
class Freeze:
    """What is trained and what is not, for one model in one stage."""

    trainable: frozenset[str]
    """Names of trained parameters."""
    moving: frozenset[str]
    """Names of blocks that hold at least one of them, and of those without parameters behind such a block:
    their buffers and modes follow training."""
    cut: int
    """Number of blocks in the frozen prefix that is computed once."""
    norm_moves: bool = True
    """Whether batch norm in moving blocks collects statistics."""

    def set_gradients(self, model: Grafted) -> None:
        """Only trained parameters get gradients."""
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.trainable)

    def set_modes(self, model: Grafted) -> None:
        """Training mode for moving blocks, ``eval()`` for all the rest."""
        model.eval()
        owners = {name: block_of(model, f"trunk.network.{name}") for name in _parameters_of(model)}
        users = model.trunk.users
        for name, module in model.trunk.network.named_modules():
            if users[name] & self.moving if name in users else self._moves(model, name, owners):
                module.training = self.norm_moves or not isinstance(module, _BatchNorm)
        if HEAD in self.moving:
            model.heads.train()

    def _moves(self, model: Grafted, name: str, owners: Mapping[str, str]) -> bool:
        """Whether a submodule is in training mode: a container that spans blocks is where all of them are."""
        owner = _owner(model, name)
        if owner is not None:
            return owner in self.moving
        inside = {block for tensor, block in owners.items() if not name or tensor.startswith(name + ".")}
        return bool(inside) and inside <= self.moving

    def frozen_tensors(self, model: Grafted) -> dict[str, Tensor]:
        """Parameters that are not trained, and buffers of blocks that do not move."""
        parameters = {n: p for n, p in model.named_parameters() if n not in self.trainable}
        buffers = {n: b for n, b in model.named_buffers() if block_of(model, n) not in self.moving}
        return {**parameters, **buffers}

    def moving_tensors(self, model: Grafted) -> frozenset[str]:
        """Names of all tensors that are not among the frozen ones."""
        buffers = dict(model.named_buffers(remove_duplicate=False))
        return frozenset({**model.state_dict(), **buffers}).difference(self.frozen_tensors(model))

    def fingerprint(self, model: Grafted) -> str:
        """Hash of everything that has to stay as it is."""
        return hash_tensors(self.frozen_tensors(model))

    def check(self, model: Grafted, before: str) -> None:
        """Raise :class:`TrainingError` if a frozen weight or buffer moved."""
        if self.fingerprint(model) != before:
            raise TrainingError(
                "a frozen weight or buffer changed during training. This is a fault in regraft or in the "
                "network's own code (a buffer written in eval mode); the stage's result is not kept."
            )


def torn(model: Grafted, freeze: Freeze) -> str:
    """What is in training mode in blocks that are frozen and run at every step, in a sentence; or nothing."""
    network, behind = model.trunk.network, frozenset(model.trunk.block_names[freeze.cut :])
    for name, users in sorted(model.trunk.users.items()):
        module, still = network.get_submodule(name), sorted(users & behind - freeze.moving)
        code = getattr(type(module).forward, "__code__", None)
        reads_mode = "training" in getattr(code, "co_names", ())
        if still and users & freeze.moving and reads_mode:
            return (
                f"{name} ({type(module).__name__}) is run by {', '.join(sorted(users & freeze.moving))}, "
                f"which train, and by {', '.join(still)}, which are frozen: it has one mode and is on in all "
                "of them. Give each block one of its own, or end the frozen prefix behind the frozen ones "
                "(--set frozen_prefix=BLOCK)."
            )
    return ""


def _owner(model: Grafted, module: str) -> str | None:
    """The block that a submodule lies in; None for a container that spans several."""
    try:
        return model.trunk.block_of(module)
    except PlanError:
        return None


def decide_freeze(
    model: Grafted, trainable: tuple[str, ...], frozen_prefix: str | None, *, norm_moves: bool = True
) -> Freeze:
    """Read a train stage's patterns. Raises :class:`PlanError` where prefix and patterns contradict."""
    names = frozenset(selected(model, trainable, purpose="trainable"))
    moving = frozenset(block_of(model, name) for name in names)
    cut = 0 if frozen_prefix is None else model.trunk.cut_after(frozen_prefix)
    contradiction = moving.intersection(model.trunk.block_names[:cut])
    if contradiction:
        raise PlanError(
            f"the frozen prefix ends with {frozen_prefix!r} but holds layers that are to be trained: "
            f"{', '.join(sorted(contradiction))}. Move frozen_prefix in front of them, or train less."
        )
    return Freeze(names, moving | _followers(model, moving), cut, norm_moves)


def _followers(model: Grafted, moving: frozenset[str]) -> frozenset[str]:
    """Blocks without parameters that come behind a moving one: a dropout or a pooling at the end."""
    holding = {model.trunk.block_of(name) for name in _parameters_of(model)}
    found: set[str] = set()
    follows = False
    for name in model.trunk.block_names:
        follows = name in moving if name in holding else follows
        if follows:
            found.add(name)
    return frozenset(found)


def _parameters_of(model: Grafted) -> list[str]:
    return [name for name, _ in model.trunk.network.named_parameters()]
