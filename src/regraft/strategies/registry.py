"""From a name to a strategy, from a strategy to a plan."""

from __future__ import annotations

import difflib

from regraft.core.errors import UsageError
from regraft.linking import Link
from regraft.plans import DrawSpec, Plan
from regraft.strategies.full import Full
from regraft.strategies.lpft import LPFT
from regraft.strategies.probe import Probe
from regraft.strategies.scratch import Scratch
from regraft.strategies.strategy import Situation, Strategy

STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (Probe, LPFT, Full, Scratch)}


def find_strategy(name: str) -> Strategy:
    """The strategy of that name, ``NAME`` or ``NAME:ARGUMENT``."""
    plain, _, argument = name.partition(":")
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
    """The plan that a strategy writes for a link."""
    trunk = link.graft.skeleton().trunk
    owners = {trunk.block_of(name) for name, _ in trunk.network.named_parameters()}
    situation = Situation(
        link=link,
        blocks=tuple(name for name in trunk.block_names if name in owners),
        all_blocks=trunk.block_names,
        seed=seed,
        draw=draw or DrawSpec(),
    )
    return find_strategy(strategy).plan(situation)
