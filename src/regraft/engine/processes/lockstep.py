"""Lockstep: a train stage whose steps all processes take at once, each on its share of every batch.

The plan's batch is that of one process, so a step reads ``world`` times as many examples, and its loss and
gradients are those of one process with that batch: shares add up, because terms divide by counts of the whole
batch. What looks at more than one example inside the network is another matter, and said once: batch norm in
training mode sees its process's share alone, and dropout draws other masks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from regraft.core.console import say
from regraft.core.errors import PlanError, TrainingError
from regraft.core.hashing import hash_tensors
from regraft.engine.processes.group import Processes
from regraft.engine.processes.sharding import Sharded, divided_like, is_divided
from regraft.linking import Grafted


class Lockstep:
    """What the processes do together in one train stage; nothing where there is one.

    Parameters
    ----------
    model
        Its trained parameters and what moves with them are kept equal in all processes.
    """

    def __init__(self, processes: Processes, model: Grafted):
        self.processes, self.model = processes, model
        self._drawn = False
        self.beside: tuple[Tensor, ...] = ()
        """What is trained beside the model, whole in every process."""
        self.sharded: Sharded | None = None
        processes.spread([*model.parameters(), *model.buffers()])

    def shard(self, sharding: str, trained: frozenset[str], probe: Callable[[], dict[str, Tensor]]) -> None:
        """Divide the trained weights among the processes, where that is asked for; before the optimiser."""
        if sharding == "full" and self.processes.many:
            self.model.eval()
            self.sharded = Sharded(self.processes, self.model, trained, probe)

    def allow_nothing(self) -> None:
        """Raise :class:`PlanError` where a process has no example and the others need it for their layers."""
        if self.sharded:
            raise PlanError(
                f"a batch has fewer examples than the {self.processes.world} processes that divide the "
                "weights. Use another batch (--set streams.NAME.batch=..), fewer processes or no --sharding."
            )

    def divided(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors by name, divided as the model's are."""
        if not self.sharded:
            return tensors
        state = self.model.state_dict()
        return {name: divided_like(value, state[name]) for name, value in tensors.items() if name in state}

    def end(self) -> None:
        """Make the model what it was: an ordinary one."""
        if self.sharded:
            self.sharded.undo()
            self.sharded = None

    def explain(self, stage: str) -> None:
        """Say what differs from one process with the whole batch; called with the modes of training set."""
        if not self.processes.many:
            return
        world = self.processes.world
        if _norms(self.model):
            say(
                f"Stage {stage!r} trains batch norm in {world} processes: each takes the statistics of its "
                f"own share of a batch, and the running ones are averaged. One process with {world} times "
                "the batch differs a little. With norm_statistics: frozen they do not."
            )

    def watch(self, stage: str) -> None:
        """Say once if a share's forward pass drew random numbers; called where they are a step's own."""
        if not self.processes.many or self._drawn or not has_drawn(next(self.model.parameters()).device):
            return
        self._drawn = True
        world = self.processes.world
        say(
            f"Stage {stage!r} draws random numbers in its network (dropout, stochastic depth): {world} "
            f"processes draw others than one with {world} times the batch."
        )

    def step(self, compute: Callable[[], float]) -> float:
        """The loss of a step over all shares, with its gradients added up.

        ``compute`` takes this process's share forward and backward. Where it fails in one process, all raise
        that one's error and nobody steps.
        """
        if not self.processes.many:
            return compute()
        loss, failure = 0.0, None
        try:
            loss = compute()
        except Exception as error:  # whatever it is, all have to hear of it
            if self.sharded:
                raise  # the others wait in the middle of a layer: they are told by cut connections
            failure = error
        inside = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        trained: list[Tensor] = [*inside, *self.beside]
        here = [float(parameter.grad is not None) for parameter in trained]
        total, *present = self.processes.settle([loss, *here], failure)
        used = [p for p, count in zip(trained, present, strict=True) if count and not is_divided(p)]
        self._add_up([_gradient(parameter) for parameter in used])
        return total

    def _add_up(self, gradients: list[Tensor]) -> None:
        """Gradients become sums; running statistics of batch norm become means."""
        statistics = [value for norm in _norms(self.model) for value in _running(norm)]
        self.processes.add_up([*gradients, *statistics])
        for value in statistics:
            value.div_(self.processes.world)

    def pause(self, seconds: float, due: bool, wanted: bool, slices: int) -> tuple[float, bool, bool, int]:
        """After a step: the leader's time, whether it wants a checkpoint, whether anybody was interrupted,
        and in how many slices whoever has the least memory computes its share.
        """
        if not self.processes.many:
            return seconds, due, wanted, slices
        leads = float(self.processes.leads)
        own = [float(slices * (rank == self.processes.rank)) for rank in range(self.processes.world)]
        time, is_due, stop, *all_slices = self.processes.agree(
            [seconds * leads, due * leads, float(wanted), *own]
        )
        return time, is_due > 0, stop > 0, int(max(all_slices))

    def check(self) -> None:
        """Raise :class:`TrainingError` where the processes' weights are no longer the same, to the bit."""
        if not self.processes.many or self.sharded:
            return
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        own = hash_tensors(trained)
        others = self.processes.collect(own)
        apart = [str(rank) for rank, other in enumerate(others) if other != others[0]]
        if apart:
            raise TrainingError(
                f"the weights of rank {', '.join(apart)} are no longer those of rank 0. This is a fault in "
                "regraft, or the machines differ; the stage's result is not kept."
            )


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:  # this share did not use it, another one did
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _norms(model: nn.Module) -> list[_NormBase]:
    """Layers that collect statistics now."""
    found = [module for module in model.modules() if isinstance(module, _NormBase)]
    return [norm for norm in found if norm.training and norm.running_mean is not None]


def _running(norm: _NormBase) -> list[Tensor]:
    return [value for value in (norm.running_mean, norm.running_var) if value is not None]


def has_drawn(device: torch.device) -> bool:
    """Whether torch's generator has moved since it was seeded."""
    if device.type == "cuda":
        index = device.index if device.index is not None else torch.cuda.current_device()
        used = torch.cuda.default_generators[index]
        return bool(used.get_offset() != 0)
    fresh = torch.Generator().manual_seed(torch.initial_seed())
    return not torch.equal(fresh.get_state(), torch.get_rng_state())
