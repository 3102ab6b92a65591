"""Models that a stage reads beside the one that it trains, and terms that read features and weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from regraft.core.errors import PlanError
from regraft.core.hashing import hash_tensors
from regraft.engine import Workspace, execute
from regraft.engine.slices import WHOLE, Slice
from regraft.engine.train_stage import TrainStageRun
from regraft.linking import Grafted
from regraft.linking.network import Whole
from regraft.linking.origin import Origin
from regraft.plans import Plan
from regraft.terms import StepContext
from tests.engine.conftest import SIZE, Bench
from tests.engine.test_loop_parity import (
    CHANGES,
    compare,
    engine_losses,
    labels,
    logits,
    loop_by_hand,
    pixels,
    with_average,
)
from tests.engine.test_resume import assert_resumes, weights

LWF = {"computes": "lwf", "models": ["student", "source"]}
TERMS = (
    {"computes": "distillation", "models": ["student", "teacher"], "weight": 0.5},
    {"computes": "distil-features", "models": ["student", "teacher"], "weight": 0.2},
    {"computes": "l2sp", "options": {"alpha": 0.3, "beta": 0.02}},
    {"computes": "bss", "weight": 0.001},
)


def with_terms(
    plan: Plan, terms: tuple[dict[str, Any], ...] = TERMS, *, size: int = SIZE, teach: bool = False
) -> Plan:
    """The plan with terms beside the supervised one and a frozen teacher, whose head is solved with teach."""
    data = plan.model_dump(mode="json")
    data["models"]["teacher"] = {**data["models"]["student"], "options": {"size": size}}
    if LWF in terms:
        data["models"]["source"] = {**data["models"]["student"], "heads": "source"}
    data["stages"][-1]["terms"] += [{"streams": ["target"], **term} for term in terms]
    if teach:
        data["stages"].insert(0, {"kind": "solve", "name": "teach", "solver": "ridge", "model": "teacher"})
    return Plan.model_validate(data)


def opened(bench: Bench, plan: Plan) -> tuple[TrainStageRun, Workspace]:
    """The plan's last stage, with a teacher whose head says something."""
    work = bench.open(plan)
    if "teacher" in work.models:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            torch.nn.init.normal_(work.models["teacher"].heads["output_label"].weight, std=0.3)
    stage = plan.stages[-1]
    return TrainStageRun(stage, work, None), work  # type: ignore[arg-type]


def context(run: TrainStageRun, step: int = 0, piece: Slice = WHOLE) -> StepContext:
    portions = {name: one.portion(step, piece) for name, one in run.objective.streams.items()}
    return run.objective._context(step, piece, portions)


def test_all_terms_together_equal_a_loop_written_by_hand(bench: Bench) -> None:
    plan = with_terms(bench.plan("full", *CHANGES))
    run, work = opened(bench, plan)
    teacher = work.models["teacher"]
    start = {name: value.detach().clone() for name, value in run.model.named_parameters()}

    def loss_of(model: Grafted, run: TrainStageRun, step: int) -> Tensor:
        values = pixels(run, run.leading.at(step))
        features = model.trunk({"pixels": values})
        with torch.no_grad():
            theirs = teacher.trunk({"pixels": values})
            wanted = (teacher.heads["output_label"](theirs) / 2).softmax(1)
        given = model.heads["output_label"](features)
        divergence = (wanted * (wanted.log() - (given / 2).log_softmax(1))).sum(1).mean()
        near, small = torch.zeros(()), torch.zeros(())
        for name, value in model.named_parameters():
            if name.startswith("trunk"):
                near = near + (value - start[name]).square().sum()
            else:
                small = small + value.square().sum()
        return (
            functional.cross_entropy(given, labels(run, run.leading.at(step)))
            + 0.5 * 4 * divergence
            + 0.2 * (1 - functional.cosine_similarity(features, theirs)).mean()
            + 0.15 * near
            + 0.01 * small
            + 0.001 * torch.linalg.svdvals(features)[-1].square()
        )

    compare(bench, plan, loss_of, run=run)
    assert logits(teacher, pixels(run, run.leading.at(0))).requires_grad is False
    assert hash_tensors(teacher.trunk.state_dict()) == hash_tensors(
        bench.open(bench.plan("full")).models["student"].trunk.state_dict()
    )


def test_a_run_with_a_taught_teacher_resumes_to_the_bit(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan("lpft:2", "stop.epochs=2", "streams.target.batch=16")
    plan = with_terms(plan, (*TERMS, LWF), teach=True)
    whole = assert_resumes(partial(bench.open, plan), tmp_path, after=3, monkeypatch=monkeypatch)
    line = [one for one in whole.history.lines if one["kind"] == "train"][-1]
    assert set(line["terms"]) == {"supervised", "distillation", "distil-features", "l2sp", "bss", "lwf"}
    assert all(value > 0 for value in line["terms"].values())


def test_lwf_equals_a_loop_written_by_hand(bench: Bench) -> None:
    plan = with_terms(bench.plan("full", *CHANGES), (LWF,))
    run, _ = opened(bench, plan)
    by_hand = bench.open(bench.plan("full")).models["student"]
    before = Origin(bench.source.name, bench.source).native(head=True).module
    assert isinstance(before, Whole)
    assert before.head is not None
    by_hand.heads["before"] = copy.deepcopy(before.head)

    def loss_of(model: Grafted, run: TrainStageRun, step: int) -> Tensor:
        values = pixels(run, run.leading.at(step))
        features = model.trunk({"pixels": values})
        with torch.no_grad():
            wanted = (before({"pixels": values}) / 2).softmax(1)
        kept = -(wanted * (model.heads["before"](features) / 2).log_softmax(1)).sum(1).mean()
        given = model.heads["output_label"](features)
        return functional.cross_entropy(given, labels(run, run.leading.at(step))) + kept

    losses = loop_by_hand(run, by_hand, loss_of).losses
    assert engine_losses(run) == pytest.approx(losses, abs=1e-5)
    assert losses[0] > 4
    own = run.parts["0"] if "0" in run.parts else run.parts["1"]
    trained = dict(own.named_parameters())["0.weight"]
    assert torch.allclose(trained, by_hand.heads["before"].weight, atol=1e-6)
    assert not torch.equal(trained, before.head.weight)


def test_terms_of_weight_0_change_no_bit(bench: Bench) -> None:
    plain = bench.plan("lpft:1", "stop.epochs=null", "stop.steps=2")
    nothing = tuple({**term, "weight": 0.0} for term in TERMS)
    found = []
    for plan in (plain, with_terms(plain, nothing, teach=True)):
        work = bench.open(plan)
        execute(work)
        found.append(weights(work))
    assert found[0] == found[1]


def test_a_teacher_sees_the_students_view_at_its_own_size(bench: Bench) -> None:
    plan = with_terms(bench.plan("full", *CHANGES, "streams.target.views=1"), TERMS[:1], size=48)
    run, work = opened(bench, plan)
    teacher, batch, inputs = work.models["teacher"], run.leading.at(0), work.inputs_of("teacher")
    assert run.objective.companions["teacher", "target"].frozen is None
    pixels_seen = work.inputs.batch(batch, view=run.leading.view(0))["pixels"]
    with torch.no_grad():
        own = replace(run.leading.view(0), drawn_for=bench.source.preprocessing.fingerprint)
        for view, same in ((own, True), (run.leading.view(0), False)):
            values = inputs.batch(batch, view=view)["pixels"]
            assert values.shape[-1] == 48
            smaller = functional.interpolate(values, size=SIZE, mode="area")
            assert (float((smaller - pixels_seen).abs().mean()) < 0.15) is same
            found = context(run).features("teacher", "target")
            assert torch.allclose(found, teacher.trunk({"pixels": values}), atol=1e-5) is same


def test_frozen_features_are_computed_once_and_slices_are_their_rows(bench: Bench) -> None:
    run, work = opened(bench, with_terms(bench.plan("full", *CHANGES), TERMS[:1]))
    frozen = run.objective.companions["teacher", "target"].frozen
    assert frozen is not None
    work.models["teacher"].trunk.forward = None  # type: ignore[assignment]
    whole = context(run).features("teacher", "target")
    parts = [context(run, piece=Slice(index, 3)).features("teacher", "target") for index in range(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert not whole.requires_grad
    assert context(run, piece=Slice(0, 3)).share("target") == 3 / 8


def test_a_moving_average_is_read_as_it_is_now(bench: Bench) -> None:
    term = {"computes": "distillation", "models": ["student", "slow"], "streams": ["target"]}
    data = with_average(bench.plan("full", *CHANGES)).model_dump(mode="json")
    data["stages"][0]["terms"].append(term)
    run, work = opened(bench, Plan.model_validate(data))
    for value in (1.0, 2.0):
        torch.nn.init.constant_(work.models["slow"].heads["output_label"].bias, value)
        found = context(run).outputs("slow", "target")["label"]
        assert torch.allclose(found, torch.full_like(found, value))
        assert not found.requires_grad


DELTA = {
    "computes": "delta",
    "models": ["student", "teacher"],
    "options": {"blocks": ["blocks.14", "conv_head"]},
    "weight": 1e-3,
}


def test_delta_equals_a_loop_written_by_hand(bench: Bench) -> None:
    plan = with_terms(bench.plan("full", *CHANGES), (DELTA,))
    run, work = opened(bench, plan)
    teacher = work.models["teacher"].trunk

    def loss_of(model: Grafted, run: TrainStageRun, step: int) -> Tensor:
        batch = {"pixels": pixels(run, run.leading.at(step))}
        # Stochastic depth draws: one pass, of which both activations are kept.
        apart, cut, one = torch.zeros(()), 0, None
        for block in ("blocks.14", "conv_head"):
            start, cut = cut, model.trunk.cut_after(block)
            one = model.trunk.between(one, batch, start=start, stop=cut)
            other = teacher.prefix(batch, cut=cut)
            assert other is not None
            places = one.shape[2] * one.shape[3]
            apart = apart + (one - other.detach()).square().flatten(1).sum(1).mean() / (2 * places)
        found = model.heads["output_label"](model.trunk.suffix(one, batch, cut=cut))
        return functional.cross_entropy(found, labels(run, run.leading.at(step))) + 1e-3 * apart

    assert run.objective.companions["teacher", "target"].frozen is not None
    compare(bench, plan, loss_of, run=run)


@pytest.mark.parametrize(
    ("term", "changes", "message"),
    [
        ({"computes": "distillation", "models": ["teacher", "student"]}, (), "name that one first"),
        ({**DELTA, "options": {"blocks": ["blocks.1"]}}, (), "in the frozen prefix, where nothing moves"),
        (TERMS[0], ("streams.target.mix.mixup=0.2",), "mixed behind the frozen layers of 'student'"),
    ],
)
def test_what_cannot_be_read_is_refused(
    bench: Bench, term: dict[str, Any], changes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        opened(bench, with_terms(bench.plan("lpft:1", *changes), (term,)))
