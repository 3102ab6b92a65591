"""Bi-Tuning: contrasts written out by hand, example by example, and the queue."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task
from regraft.terms import StageContext, find_term
from regraft.terms.bi_tuning import BiTuning
from regraft.terms.term import Partner, StepContext, TermValue
from tests.terms.contexts import step

TASKS = {
    "kind": make_task(TaskSpec("kind", "multiclass", ("a", "b", "c"))),
    "odd": make_task(TaskSpec("odd", "binary", ("no", "yes"))),
}
GENERATOR = torch.Generator().manual_seed(0)
FEATURES, KEYS = (torch.randn(4, 5, generator=GENERATOR) for _ in range(2))
LABELS = {"kind": torch.tensor([0, 2, 0, -1]), "odd": torch.tensor([1, 0, 1, 1])}
HEADS = nn.ModuleDict({"kind": nn.Linear(5, 3), "odd": nn.Linear(5, 2)})


def stage(examples: int = 10, **heads: nn.Module) -> StageContext:
    return StageContext(
        tasks=TASKS,
        heads=lambda model: {**dict(HEADS.items()), **heads},
        specs=lambda model: {},
        width=lambda model: 5,
        features=lambda model, stream: (FEATURES, LABELS),
        examples={"target": examples},
    )


def made(outputs: tuple[str, ...] = ("kind", "odd"), stream: str = "target", **options: Any) -> BiTuning:
    term = find_term("bi-tuning")(
        models=("student", "key"), streams=(stream,), outputs=outputs, options=options
    )
    assert isinstance(term, BiTuning)
    return term


def prepared(context: StageContext | None = None, **options: Any) -> BiTuning:
    term, context = made(**options), context or stage()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        term.own = term.make_module(context)
    term.prepare(context)
    term.state = term.make_state(context)
    return term


def seen(rows: slice = slice(None), **more: Any) -> StepContext:
    return step(
        features={"student": FEATURES, "key": KEYS},
        tasks=TASKS,
        size=4,
        rows=rows,
        labels=LABELS,
        known={"kind": 3, "odd": 4},
        **more,
    )


def value(term: BiTuning, rows: slice = slice(None)) -> TermValue:
    found = term(seen(rows))
    return TermValue(found.total.detach(), found.per_example, found.left)


def by_hand(term: BiTuning, queue: Tensor, theirs: dict[str, list[int]], temperature: float) -> float:
    """Both contrasts, one example and one key after the other, in numpy."""

    def unit(row: Tensor, *more: float) -> np.ndarray:
        values = np.append(row.detach().double().numpy(), more)
        return np.asarray(values / np.linalg.norm(values))

    def project(row: Tensor) -> np.ndarray:
        assert term.own is not None
        return unit(term.own(row))

    total = 0.0
    for output, labels in LABELS.items():
        head = HEADS[output]
        for i, label in enumerate(labels.tolist()):
            if label < 0:
                continue
            inside = [n for n, one in enumerate(theirs[output]) if one >= 0]
            same = [True, *(theirs[output][n] == label for n in inside)]
            query = unit(head.weight[label], float(head.bias[label].detach()))
            near = [query @ unit(FEATURES[i], 1.0), *(query @ unit(queue[n], 1.0) for n in inside)]
            other = project(FEATURES[i])
            also = [other @ project(KEYS[i]), *(other @ project(queue[n]) for n in inside)]
            for values in (near, also):
                powers = [math.exp(one / temperature) for one in values]
                told = [math.log(p / sum(powers)) for p, hit in zip(powers, same, strict=True) if hit]
                total -= np.mean(told) / int((labels >= 0).sum())
    return total


def test_it_is_both_contrasts_over_the_queue() -> None:
    term = prepared(temperature=0.3, keys=2)
    queue = torch.randn(6, 5, generator=GENERATOR)
    theirs = {"kind": [-1, 0, 1, -1, 2, 0], "odd": [-1, 1, 0, 0, -1, 1]}
    term.state = {
        "features": queue,
        **{f"labels.{name}": torch.tensor(values) for name, values in theirs.items()},
    }
    found = value(term)
    assert found.total.item() == pytest.approx(by_hand(term, queue, theirs, 0.3), rel=1e-5)
    assert found.per_example.sum().item() == pytest.approx(found.total.item())
    halves = [value(term, rows) for rows in (slice(0, 1), slice(1, 4))]
    assert sum(one.total.item() for one in halves) == pytest.approx(found.total.item(), rel=1e-6)
    for name, rows in found.left.items():
        assert torch.equal(torch.cat([one.left[name] for one in halves]), rows)


def test_gradients_reach_features_projector_and_classes_and_no_key() -> None:
    term = prepared(keys=2)
    term.state = term.after_step(value(term).left)
    features, keys = FEATURES.clone().requires_grad_(True), KEYS.clone().requires_grad_(True)
    context = step(
        features={"student": features, "key": keys},
        tasks=TASKS,
        size=4,
        labels=LABELS,
        known={"kind": 3, "odd": 4},
    )
    weight = HEADS["kind"].weight
    assert term.own is not None
    reached = [features, weight, next(term.own.parameters()), keys]
    slopes = torch.autograd.grad(term(context).total, reached, allow_unused=True)
    assert [bool(one is not None and one.any()) for one in slopes] == [True, True, True, False]
    assert all(bool(torch.isfinite(one).all()) for one in slopes[:3] if one is not None)


def test_an_empty_queue_says_nothing() -> None:
    assert value(prepared()).total.item() == pytest.approx(0.0, abs=1e-6)


def test_the_queue_holds_the_newest_and_no_more_than_there_are() -> None:
    term = prepared(keys=2)
    assert term.state["features"].shape == (6, 5)
    assert set(term.state) == {"features", "labels.kind", "labels.odd"}
    for _ in range(2):
        term.state = term.after_step(value(term).left)
    assert torch.equal(term.state["features"], torch.cat([KEYS[2:], KEYS]))
    assert term.state["labels.kind"].tolist() == [0, -1, 0, 2, 0, -1]
    assert len(prepared(stage(examples=3)).state["features"]) == 3
    few = prepared(stage(examples=3))
    assert few.after_step(value(few).left)["labels.odd"].tolist() == [0, 1, 1]


def test_what_it_cannot_contrast_is_refused() -> None:
    with pytest.raises(PlanError, match="of the kind binary or multiclass, and size is for regression"):
        made(()).check({"size": make_task(TaskSpec("size", "regression"))})
    with pytest.raises(PlanError, match="keys is a whole number from 1, as 8; got 0"):
        made(keys=0)
    with pytest.raises(PlanError, match="reads the stream 'more', and its queue is for the run's own target"):
        made(stream="more").make_state(stage())
    mixed = {"target": Partner(LABELS, 0.5)}
    with pytest.raises(PlanError, match=r"are mixed in pairs: --set streams.target.mix.mixup=0"):
        prepared()(seen(partners=mixed))
    with pytest.raises(PlanError, match="the head of 'kind' is not linear"):
        prepared(stage(kind=nn.Identity()))(seen())
