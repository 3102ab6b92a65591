"""Bench: where trials are carried out for real, each in memory, on activations that all share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from regraft.choosing.auto.entrants import Entrant
from regraft.choosing.auto.folds import SHARE, Fold, fold_seed, make_fold
from regraft.choosing.auto.judging import judge_values
from regraft.choosing.auto.lengths import for_fold
from regraft.choosing.auto.trial import Trial
from regraft.core.console import hushed
from regraft.engine import Opened, Settings
from regraft.engine.stream_data import StreamData
from regraft.evidence import TrainedArm
from regraft.linking import Link
from regraft.targets import Prepared


@dataclass
class Bench:
    """Carries trials out.

    Attributes
    ----------
    opened, link
        The student's sources, and its link with heads for the target's outputs.
    prepared
        The target as it reads it.
    own
        The labelled examples that the run may use, ascending.
    seed, validation
        Of the plans.
    others
        By the name of a strategy, the data of streams that its plan reads beside the target.
    """

    opened: Opened
    link: Link
    prepared: Prepared
    own: np.ndarray
    seed: int
    validation: float
    settings: Settings
    others: Mapping[str, Mapping[str, StreamData]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._arms: dict[str, TrainedArm] = {}
        # Compiling what is trained takes minutes that no price foretells.
        never = "never" if self.settings.compile == "auto" else self.settings.compile
        self.settings = replace(self.settings, compile=never)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arms": {}}  # each process opens its own

    def fold(self, number: int) -> Fold:
        """The race's fold of this number."""
        seed = fold_seed(self.seed, number)
        return make_fold(self.prepared.target, self.own, seed, validation=self.validation)

    def run(self, entrant: Entrant, fold: Fold) -> Trial:
        """Carry the entrant's plan out on the fold's draw and judge it by the fold's judged examples."""
        start = time.monotonic()
        with hushed():
            frozen, arm = 0.0, self._arms.get(entrant.name)
            if arm is None:
                arm = self._arms[entrant.name] = self._arm(entrant)
                frozen = arm.keep_frozen(fold.draw, self.own, self.own)
            arm.others = self._unjudged(entrant, fold)
            work = arm.carry_out(for_fold(entrant.plan, SHARE), fold.draw)
            logits = work.logits(fold.judged)
        values = judge_values(work.tasks, self.prepared.target, fold.judged, logits)
        return Trial(values, time.monotonic() - start, frozen)

    def _unjudged(self, entrant: Entrant, fold: Fold) -> dict[str, StreamData]:
        """Other data without what judges, found by content; test and validation parts are left out later."""
        hashes = self.prepared.target.examples.hashes
        judged = {hashes[int(index)] for index in fold.judged}
        others = self.others.get(entrant.plan.strategy, {})
        return {name: data.without(judged) for name, data in others.items()}

    def _arm(self, entrant: Entrant) -> TrainedArm:
        own_heads = any(stream.heads == "own" for stream in entrant.plan.streams.values())
        return TrainedArm(
            entrant.name,
            "strategy",
            (entrant.plan,),
            self.opened.weights,
            self.prepared,
            self.prepared.target.tasks[0].name,
            self.settings,
            network=self.opened.network,
            others=self.others.get(entrant.plan.strategy),
            link=None if own_heads else self.link,
        )
