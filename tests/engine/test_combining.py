"""Learned weights and combine rules: equal to loops by hand, over slices, and to the bit when resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from regraft.core.errors import PlanError
from regraft.core.randomness import numpy_generator, torch_randomness
from regraft.engine.train_stage import TrainStageRun
from regraft.linking import Grafted
from regraft.plans import Plan
from regraft.terms.combine import balanced_weights, project_conflicts
from tests.engine.conftest import Bench
from tests.engine.test_loop_parity import labels, logits, pixels
from tests.engine.test_resume import assert_resumes

STEPS = 5
CHANGES = (
    f"stages.tune.stop={{steps: {STEPS}}}",
    "streams.target.batch=8",
    "stages.tune.schedule={name: constant, warmup: 0}",
    "stages.tune.optimiser={name: sgd, momentum: 0.0}",
    "stages.tune.groups=[{match: ['*'], rate: 0.01}]",
)
RULE = "stages.tune.combine={{rule: {}}}"
ENTROPY = "{computes: entropy, streams: [target]"


def two_terms(bench: Bench, first: str, second: str, *changes: str) -> Plan:
    """Supervised and entropy on the last block and the head; weights as in a plan."""
    terms = f"{{computes: supervised, streams: [target], weight: {first}}}, {ENTROPY}, weight: {second}}}"
    return bench.plan("lpft:1", *CHANGES, f"stages.tune.terms=[{terms}]", *changes)


def opened(bench: Bench, plan: Plan) -> TrainStageRun:
    """The train stage, from a head that says something."""
    run = TrainStageRun(plan.stages[-1], bench.open(plan), None)  # type: ignore[arg-type]
    with torch.no_grad(), torch_randomness(0, "head"):
        run.model.heads["output_label"].weight.normal_(std=0.1)
    run.freeze.set_modes(run.model)
    return run


def losses_by_hand(run: TrainStageRun, model: Grafted, step: int) -> list[Tensor]:
    batch = run.leading.at(step)
    with torch_randomness(run.work.draw.seed, "step", step):
        found = logits(model, pixels(run, batch))
    logs = found.log_softmax(1)
    return [functional.cross_entropy(found, labels(run, batch)), -(logs.exp() * logs).sum(1).mean()]


Weigh = Callable[[list[Tensor], list[list[Tensor]], int], tuple[list[Tensor], float]]
"""From losses and gradients of a step, by term, to the gradient and what the loss is."""


def compare(bench: Bench, plan: Plan, weigh: Weigh) -> TrainStageRun:
    """Five steps of the engine and of a loop by hand: same losses, same weights."""
    run, other = opened(bench, plan), opened(bench, plan)
    model = other.model
    trained = [p for name, p in model.named_parameters() if name in run.freeze.trainable]
    for step in range(STEPS):
        found = losses_by_hand(other, model, step)
        rows = [list(torch.autograd.grad(loss, trained, retain_graph=True)) for loss in found]
        gradient, loss = weigh(found, rows, step)
        norm = torch.cat([g.flatten() for g in gradient]).norm()
        scale = min(1.0, 1.0 / (float(norm) + 1e-6))
        with torch.no_grad():
            for parameter, own in zip(trained, gradient, strict=True):
                parameter -= 0.01 * scale * own
        assert run._step() == pytest.approx(loss, abs=1e-6)
        run.standing.step += 1
    state = run.model.state_dict()
    assert all(torch.allclose(state[name], value, atol=1e-6) for name, value in model.state_dict().items())
    return run


def flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def like(vector: Tensor, gradients: list[Tensor]) -> list[Tensor]:
    parts = vector.split([gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]


def test_uncertainty(bench: Bench) -> None:
    plan = two_terms(bench, "{learned: uncertainty, options: {rate: 0.2}}", "0.5")
    s = 0.0

    def weigh(losses: list[Tensor], rows: list[list[Tensor]], step: int) -> tuple[list[Tensor], float]:
        nonlocal s
        weight = math.exp(-s)
        total = weight * losses[0].item() + 0.5 * losses[1].item() + s / 2
        s -= 0.2 * (0.5 - weight * losses[0].item())
        return [weight * one + 0.5 * two for one, two in zip(*rows, strict=True)], total

    run = compare(bench, plan, weigh)
    assert run.combining.weights(0.0) == pytest.approx({"supervised": math.exp(-s), "entropy": 0.5})
    assert abs(s) > 0.01


@pytest.mark.parametrize("measure", ["cosine", "sign"])
def test_alignment(bench: Bench, measure: str) -> None:
    learned = f"{{learned: alignment, start: 0.8, options: {{decay: 0.5, measure: {measure}}}}}"
    plan = two_terms(bench, "1.0", learned)
    average = 1.0

    def weigh(losses: list[Tensor], rows: list[list[Tensor]], step: int) -> tuple[list[Tensor], float]:
        nonlocal average
        weight = 0.8 * average
        cosine = functional.cosine_similarity(flat(rows[0]), flat(rows[1]), dim=0).item()
        average = 0.5 * average + 0.5 * (max(cosine, 0.0) if measure == "cosine" else float(cosine > 0))
        total = losses[0].item() + weight * losses[1].item()
        return [one + weight * two for one, two in zip(*rows, strict=True)], total

    run = compare(bench, plan, weigh)
    assert run.combining.weights(0.0)["entropy"] == pytest.approx(0.8 * average, abs=1e-5)
    assert average < 1


def test_pcgrad(bench: Bench) -> None:
    plan = two_terms(bench, "1.0", "2.0", RULE.format("pcgrad"))
    plain = []

    def weigh(losses: list[Tensor], rows: list[list[Tensor]], step: int) -> tuple[list[Tensor], float]:
        generator = numpy_generator(0, "pcgrad", step)
        orders = [generator.permutation(2).tolist() for _ in range(2)]
        both = torch.stack([flat(rows[0]), 2 * flat(rows[1])])
        found = project_conflicts(both, orders)
        plain.append(torch.equal(found, both.sum(0)))
        return like(found, rows[0]), losses[0].item() + 2 * losses[1].item()

    compare(bench, plan, weigh)
    assert not all(plain)


def test_gradnorm(bench: Bench) -> None:
    plan = two_terms(bench, "1.0", "1.0", RULE.format("gradnorm, options: {alpha: 0.5, rate: 0.1}"))
    state, first = torch.ones(2), torch.zeros(2)

    def weigh(losses: list[Tensor], rows: list[list[Tensor]], step: int) -> tuple[list[Tensor], float]:
        nonlocal state, first
        now, values = state, torch.stack(losses).detach()
        first = values if step == 0 else first
        norms = torch.stack([flat(row).norm() for row in rows])
        state = balanced_weights(state, norms, values, first, alpha=0.5, rate=0.1)
        return like(now[0] * flat(rows[0]) + now[1] * flat(rows[1]), rows[0]), float(values.sum())

    run = compare(bench, plan, weigh)
    assert list(run.combining.weights(0.0).values()) == pytest.approx(state.tolist(), abs=1e-5)


def test_slices_and_accumulation_add_up_before_the_rule(bench: Bench) -> None:
    changes = (RULE.format("pcgrad"), "stages.tune.optimiser={name: sgd, accumulate: 2}")
    plan = two_terms(bench, "1.0", "{learned: alignment}", *changes)
    found = []
    for slices in (1, 2):
        run = opened(bench, plan)
        run.model.eval()  # what layers draw differs between slices
        run.standing.slices = slices
        loss = run.gradients(0)
        gradient = flat([p.grad for p in run.combining.parameters if p.grad is not None])
        run.combining.follow()
        found.append((loss, gradient, run.combining.weights(0.0)["entropy"]))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)
    assert found[0][2] == pytest.approx(found[1][2], abs=1e-5)
    assert found[0][2] < 1


@pytest.mark.parametrize(("first", "rule"), [("{learned: uncertainty}", "pcgrad"), ("1.0", "gradnorm")])
def test_what_was_learned_resumes_to_the_bit(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, rule: str
) -> None:
    changes = (
        RULE.format(rule),
        "stages.tune.optimiser={name: adamw}",
        "streams.target.batch=24",
    )
    plan = two_terms(bench, first, "{learned: alignment, start: 0.3}", *changes)
    whole = assert_resumes(partial(bench.open, plan), tmp_path, after=3, monkeypatch=monkeypatch)
    line = whole.history.lines[-1]
    assert set(line["weights"]) == {"supervised", "entropy"}
    assert line["weights"]["entropy"] != 0.3


def test_one_term_under_a_rule_is_the_plain_sum(bench: Bench) -> None:
    one = "stages.tune.terms=[{computes: supervised, streams: [target]}]"
    plain = opened(bench, bench.plan("lpft:1", *CHANGES, one))
    ruled = opened(bench, bench.plan("lpft:1", *CHANGES, one, RULE.format("pcgrad")))
    assert not plain.combining.separate
    assert plain.gradients(0) == ruled.gradients(0)
    pairs = zip(plain.combining.parameters, ruled.combining.parameters, strict=True)
    assert all(np.array_equal(a.grad, b.grad) for a, b in pairs if a.grad is not None and b.grad is not None)


def test_alignment_needs_something_shared_and_one_process(bench: Bench) -> None:
    run = opened(bench, two_terms(bench, "1.0", "{learned: alignment}"))
    with pytest.raises(PlanError, match="by alignment, for which 2 processes"):
        run.combining.check_alone(2)
    one, two = (torch.ones(1, requires_grad=True) for _ in range(2))
    run.combining.parameters = [one, two]  # type: ignore[list-item]
    run.combining.clear()
    run.combining.add({"supervised": one.sum(), "entropy": two.sum()}, lambda part: part)
    with pytest.raises(PlanError, match="nothing that is trained is shared with 'supervised'"):
        run.combining.write(0, 0.0, [1.0, 1.0])
