"""Strategies with terms of their own: of weight 0 they are ``lpft`` to the bit, and what they learn before
the first step is the same to the bit in a run that goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from regraft.engine import execute
from regraft.engine.workspace import Workspace
from regraft.plans import Plan, change_plan
from regraft.terms.co_tuning import CoTuning
from regraft.terms.delta import Delta
from regraft.terms.term import StageContext, Term
from tests.engine.conftest import Bench
from tests.engine.test_resume import bare_lines, stop, weights

SHORT = ("stop.epochs=3", "streams.target.batch=24")
NO_DECAY = ("groups.1.weight_decay=0",)
ZERO = ("terms.1.weight=0",)
CASES = {
    "lwf:1": (ZERO, ()),
    "co-tuning:1": (ZERO, ()),
    "bi-tuning:1": (ZERO, ()),
    # Its penalty on new weights stands for weight decay.
    "delta:1": ((*ZERO, "terms.2.weight=0"), NO_DECAY),
}
"""By strategy, what takes its terms' weights away, and what else of its plan differs from that of lpft."""


def executed(bench: Bench, plan: Plan) -> Workspace:
    work = bench.open(plan)
    execute(work)
    return work


def losses(work: Workspace) -> list[tuple[float, float]]:
    lines = [line for line in work.history.lines if line["kind"] == "train"]
    return [(line["loss"], line["validation"]["loss"]) for line in lines]


@pytest.mark.parametrize("strategy", CASES)
def test_terms_of_weight_0_leave_lpft(strategy: str, pictures: Bench) -> None:
    zero, beside = CASES[strategy]
    plain = executed(pictures, pictures.plan("lpft:1", *SHORT, *beside))
    found = executed(pictures, pictures.plan(strategy, *SHORT, *zero))
    assert losses(found) == losses(plain)
    assert weights(found) == weights(plain)
    moved = executed(pictures, pictures.plan(strategy, *SHORT))
    assert weights(moved) != weights(plain)


def watch(kind: type[Term], what: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a term knows after each of its preparations."""
    seen: list[Any] = []
    prepare = kind.prepare

    def watched(self: Term, stage: StageContext) -> None:
        prepare(self, stage)
        seen.append(getattr(self, what))

    monkeypatch.setattr(kind, "prepare", watched)
    return seen


@pytest.mark.parametrize(
    ("strategy", "kind", "what", "changes"),
    [
        ("co-tuning:1", CoTuning, "related", ()),
        ("co-tuning:1", CoTuning, "related", ("terms.1.options.relationship=reverse",)),
        ("delta:2", Delta, "attention", ("terms.1.weight=0.5",)),
    ],
)
def test_what_is_learned_before_is_the_same_in_a_run_that_goes_on(
    strategy: str,
    kind: type[Term],
    what: str,
    changes: tuple[str, ...],
    pictures: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = change_plan(pictures.plan(strategy), [*SHORT, *changes])
    seen = watch(kind, what, monkeypatch)
    whole = executed(pictures, plan)
    stop(pictures.open(plan, folder=tmp_path, checkpoint_seconds=0.0), 4, monkeypatch)
    resumed = pictures.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    assert len(seen) == 3
    first, _, last = (flat(one) for one in seen)
    assert first.numel() > 10
    assert torch.equal(first, last)
    assert weights(resumed) == weights(whole)
    assert bare_lines(resumed.history.lines) == bare_lines(whole.history.lines)


def flat(found: dict[str, Any]) -> torch.Tensor:
    parts = [part for value in found.values() for part in (value if isinstance(value, list) else [value])]
    return torch.cat([part.flatten() for part in parts])
