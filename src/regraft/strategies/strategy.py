"""Strategy: reads a link, writes a Plan. It runs nothing."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

from regraft.core.errors import PlanError
from regraft.core.task_spec import TASK_KINDS, TaskKind
from regraft.linking import Link
from regraft.plans import DrawSpec, ModelSpec, Plan, StreamSpec, TermSpec
from regraft.sources import USER, is_own, own_options
from regraft.sources.trunk import Trunk


@dataclass(frozen=True)
class Situation:
    """What a strategy may read before it writes its plan.

    Attributes
    ----------
    link
        What carries over from the source.
    blocks
        Names of the trunk's blocks that hold parameters, stem to head.
    all_blocks
        Names of all blocks, those without parameters too.
    trunk
        The network without its head, without weights.
    """

    link: Link
    blocks: tuple[str, ...]
    all_blocks: tuple[str, ...]
    trunk: Trunk
    seed: int
    draw: DrawSpec

    @property
    def fresh_blocks(self) -> tuple[str, ...]:
        """Blocks that hold a parameter that receives nothing from the source, stem to head."""
        fresh = {row.block for row in self.link.rows if row.kind == "parameter" and not row.carried}
        return tuple(name for name in self.blocks if name in fresh)

    def student(self, *, fresh: bool = False) -> dict[str, ModelSpec]:
        """The one model of most plans: the linked one, or the same network with fresh weights."""
        spec = ModelSpec(
            source=self.link.source.name,
            options=self.link.source.options,
            **_network(self.link),
            initialise="fresh" if fresh else "linked",
            require=0.0 if fresh else 1.0,
            map=self.link.maps,
            waive=self.link.waivers,
        )
        return {"student": spec}

    def native(self, strategy: str) -> ModelSpec:
        """The source as it is, with its own heads. Raises :class:`PlanError` where it brings none."""
        source = self.link.source
        if not source.heads:
            raise PlanError(
                f"{strategy} needs what the source itself tells apart, and {source.name} brings no head of "
                "its own: take a source with one, or l2sp, bss or delta, which need none"
            )
        return ModelSpec(source=source.name, options=source.options, heads="source")

    @property
    def exclusive(self) -> tuple[str, ...]:
        """Names of the outputs whose classes exclude each other."""
        specs = [task.spec for task in self.link.graft.tasks]
        return tuple(spec.name for spec in specs if spec.kind in ("binary", "multiclass"))


def _network(link: Link) -> dict[str, Any]:
    """How a plan names the model's network, where it is not the source's own."""
    network = link.graft.source
    if network.same_network(link.source):
        return {}
    if is_own(network):
        return {"network": USER, "network_options": own_options(network)}
    return {"network": network.name, "network_options": network.options}


class Strategy(abc.ABC):
    """One way to transfer.

    Parameters
    ----------
    argument
        What stands behind the colon, as in ``lpft:4``; empty where nothing does.
    """

    name: str
    """As typed."""
    when: str
    """One line: when to use it."""
    cite: str = ""
    """The paper."""
    takes: str = ""
    """What may stand behind the colon, with what holds where nothing does; empty where nothing may."""
    kinds: tuple[TaskKind, ...] = TASK_KINDS
    """Kinds of tasks that it can train for."""

    def __init__(self, argument: str = ""):
        self.argument = argument
        self.check_argument()

    def check_argument(self) -> None:
        """Raise :class:`PlanError` for an argument that the strategy does not take."""
        if self.argument:
            raise PlanError(f"the strategy {self.name} takes nothing behind a colon; got {self.argument!r}")

    @abc.abstractmethod
    def plan(self, situation: Situation) -> Plan:
        """Write the plan."""


def supervised_term(stream: str = "target") -> tuple[TermSpec, ...]:
    """The plain objective: the tasks' own losses on a stream's labelled examples."""
    return (TermSpec(computes="supervised", streams=(stream,)),)


def target_stream(*, batch: int = 32, views: int = 0) -> dict[str, StreamSpec]:
    """The one stream of most plans: the labelled training part of the target."""
    return {"target": StreamSpec(batch=batch, views=views)}
