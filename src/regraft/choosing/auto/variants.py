"""Variants: the best strategy's plan with other settings, which race against it on the same folds.

The learning rate decides most of what settings decide. Usually the few settings of the portfolio
(:mod:`regraft.choosing.portfolio`) are tried; where a real search is asked for, those that a search suggests
(:mod:`regraft.choosing.auto.search`). What a person set by hand no variant changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from regraft.choosing.auto.entrants import Entrant
from regraft.choosing.portfolio import Setting, changes_for
from regraft.plans import Plan, change_plan

_VARIED = ("rate", "batch", "momentum", "weight_decay")


class Variants(Protocol):
    """Whatever suggests settings, one after the other."""

    def ask(self, leader: Entrant) -> Entrant | None:
        """The next variant of the leader; None at the end."""
        ...

    def tell(self, variant: Entrant, gain: float) -> None:
        """By how much a variant's mean was better than the leader's on the folds that both were tried on."""
        ...


class FromPortfolio(Variants):
    """Variants with the portfolio's settings.

    Parameters
    ----------
    held
        What a person set, ``KEY=VALUE``.
    """

    def __init__(self, held: Iterable[str] = ()):
        self.held = set_by_hand(held)
        self._rest: list[Entrant] | None = None

    def ask(self, leader: Entrant) -> Entrant | None:
        if self._rest is None:
            every = [without(changes, self.held) for changes in changes_for(leader.plan)]
            several = [changes for k, changes in enumerate(every) if changes and changes not in every[:k]]
            self._rest = [variant(leader, changes) for changes in several]
        return self._rest.pop(0) if self._rest else None

    def tell(self, variant: Entrant, gain: float) -> None:
        """Nothing is learned: the portfolio is what it is."""


def set_by_hand(changes: Iterable[str]) -> frozenset[str]:
    """Which of rate, batch, momentum and weight decay a person set."""
    keys = {change.partition("=")[0].strip().rpartition(".")[2] for change in changes}
    return frozenset(keys & set(_VARIED))


def without(changes: Sequence[str], held: Collection[str]) -> list[str]:
    """The changes of other keys than these."""
    return [change for change in changes if change.partition("=")[0].rpartition(".")[2] not in held]


def variant(leader: Entrant, changes: Sequence[str]) -> Entrant:
    """The leader with a changed plan, under a name that says how: ``lpft, rate x 0.1, batch x 2``."""
    plan = change_plan(leader.plan, list(changes))
    said = [f"{word} x {factor:g}" for word, factor in _factors(leader.plan, plan).items()]
    name = ", ".join([leader.name, *(said or changes)])
    return replace(leader, name=name, plan=plan, settings=tuple(changes))


def _factors(before: Plan, after: Plan) -> dict[str, float]:
    """By how much the first of each kind of setting differs, of those that do."""
    found: dict[str, float] = {}
    for old, new in zip(before.stages, after.stages, strict=True):
        for one, other in zip(getattr(old, "groups", ()), getattr(new, "groups", ()), strict=True):
            if one.rate != other.rate:
                found.setdefault("rate", float(f"{other.rate / one.rate:.2g}"))
    for name, stream in before.streams.items():
        if stream.batch != after.streams[name].batch:
            found.setdefault("batch", float(f"{after.streams[name].batch / stream.batch:.2g}"))
    return found


def scaled(setting: Setting, *, rate: float, batch: float) -> Setting:
    """A setting with another rate and batch, each multiplied by a factor."""
    return replace(setting, rate=setting.rate * rate, batch=setting.batch * batch)
