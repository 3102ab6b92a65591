"""Opened: a model of a plan with the sources that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from regraft.core.errors import DataError
from regraft.core.inputs import Inputs
from regraft.linking import Blueprint, Link, find_link
from regraft.linking.blueprint import native_blueprint
from regraft.plans import ModelSpec
from regraft.sources import Source
from regraft.targets import Prepared, prepare
from regraft.tasks import Task


@dataclass(frozen=True)
class Opened:
    """One of a plan's models with its sources opened.

    Attributes
    ----------
    weights
        Whose weights carry over: its name, licence, hash and paper are those of what was transferred.
    network
        Whose network the model has: it decides the preprocessing and rebuilds the model. The same as
        ``weights`` unless the plan names another one.
    """

    weights: Source
    network: Source

    @property
    def differ(self) -> bool:
        """Whether weights and network come from two sources."""
        return not self.network.same_network(self.weights)

    def link(self, spec: ModelSpec, tasks: Mapping[str, Task], *, seed: int) -> Link:
        """What carries over to the model that a plan describes."""
        own = spec.heads == "source"
        blueprint = (
            native_blueprint(self.weights, self.network)
            if own
            else Blueprint(self.network, tuple(tasks.values()))
        )
        return find_link(self.weights, blueprint, maps=spec.map, waivers=spec.waive, seed=seed)


def inputs_apart(opened: Mapping[str, Opened], prepared: Prepared) -> dict[str, Inputs]:
    """By model, the target's examples as it reads them, where that is not how the student does."""
    usual = opened["student"].network.preprocessing
    found = {}
    for name, pair in opened.items():
        if pair.network.preprocessing != usual:
            again = prepare(prepared.target, pair.network.preprocessing, max_unreadable=1.0)
            if len(again.target) != len(prepared.target):
                item = again.target.unreadable[-1]
                raise DataError(
                    f"{item.item} can be read for {opened['student'].network.name} and not for "
                    f"{pair.network.name} ({item.reason}): mend or remove it"
                )
            found[name] = again.inputs
    return found
