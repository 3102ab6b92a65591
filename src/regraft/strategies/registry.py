"""From a name to a strategy, from a strategy to a plan."""

from __future__ import annotations

import difflib

from regraft.core.errors import PlanError, UsageError
from regraft.linking import Link
from regraft.plans import DrawSpec, Plan
from regraft.strategies.adapters import Adapters
from regraft.strategies.base import rounded_off
from regraft.strategies.bi_tuning import BiTuning
from regraft.strategies.bitfit import BitFit
from regraft.strategies.bss import BSS
from regraft.strategies.co_tuning import CoTuning
from regraft.strategies.delta import Delta
from regraft.strategies.distil import Distil
from regraft.strategies.dora import DoRA
from regraft.strategies.full import Full
from regraft.strategies.gradual import Gradual
from regraft.strategies.ia3 import IA3
from regraft.strategies.joint import Joint
from regraft.strategies.l2sp import L2SP
from regraft.strategies.layer_decay import LayerDecay
from regraft.strategies.lora import LoRA
from regraft.strategies.lpft import LPFT
from regraft.strategies.lwf import LwF
from regraft.strategies.multitask import MultiTask
from regraft.strategies.norm_only import NormOnly
from regraft.strategies.parallel_adapters import ParallelAdapters
from regraft.strategies.partial import Partial
from regraft.strategies.probe import Probe
from regraft.strategies.scratch import Scratch
from regraft.strategies.soup import Soup
from regraft.strategies.stochnorm import StochNorm
from regraft.strategies.strategy import Situation, Strategy
from regraft.strategies.surgical import Surgical
from regraft.strategies.swa import SWA
from regraft.strategies.wise_ft import WiseFT

_ALL: tuple[type[Strategy], ...] = (
    Probe,
    LPFT,
    Partial,
    Gradual,
    LayerDecay,
    BitFit,
    NormOnly,
    Surgical,
    WiseFT,
    SWA,
    Soup,
    Joint,
    MultiTask,
    L2SP,
    Delta,
    BSS,
    CoTuning,
    BiTuning,
    LwF,
    Distil,
    LoRA,
    DoRA,
    IA3,
    Adapters,
    ParallelAdapters,
    StochNorm,
    Full,
    Scratch,
)
STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in _ALL}
"""By name, in the order in which they are listed."""


def find_strategy(name: str) -> Strategy:
    """The strategy of that name, ``NAME`` or ``NAME:ARGUMENT``."""
    plain, _, argument = name.partition(":")
    if plain == "auto":
        raise UsageError(
            "auto is no strategy but a race between several, which has to train them: regraft fit DATA "
            '--strategy auto --budget 5m --out DIR, or rg.plan(link, "auto", target=target)'
        )
    if plain not in STRATEGIES:
        near = difflib.get_close_matches(plain, STRATEGIES, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"there is no strategy {plain!r}.{hint} There are: {', '.join(STRATEGIES)}")
    return STRATEGIES[plain](argument)


def plan_for(
    link: Link,
    strategy: str = "probe",
    *,
    seed: int = 0,
    draw: DrawSpec | None = None,
) -> Plan:
    """The plan that a strategy writes for a link.

    A run finds its link anew from what its plan says. Raises :class:`PlanError` where this link holds more.
    """
    _check_written(link)
    trunk = link.graft.skeleton().trunk
    owners = {trunk.block_of(name) for name, _ in trunk.network.named_parameters()}
    situation = Situation(
        link=link,
        blocks=tuple(name for name in trunk.block_names if name in owners),
        all_blocks=trunk.block_names,
        trunk=trunk,
        seed=seed,
        draw=draw or DrawSpec(),
    )
    return rounded_off(find_strategy(strategy).plan(situation), situation)


def _check_written(link: Link) -> None:
    """What was found by running both networks is no part of a plan, and must not get lost on the way."""
    if link.fixes:
        first = link.fixes[0]
        raise PlanError(
            f"the link sets {first.kind} to {first.value} in {', '.join(first.modules[:2])}, .., and a plan "
            "cannot say so: build the network with these hyper-parameters, hand it over (network=, "
            "--network module:function) and link again"
        )
    decided = [row for row in link.rows if row.rule.startswith("comparison")]
    if decided:
        row = decided[0]
        raise PlanError(
            f"running both networks chose {row.source} for {row.target}, and a plan says it as a map: link "
            f"again with maps=['REGEX=>TO'] (--map) for these {len(decided)} rows"
        )
