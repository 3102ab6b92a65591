"""Steps of the engine's loop equal those of a loop written by hand, and slices of a batch add up to it.

The network's batch norm stays as it is (``norm_statistics: frozen``): where batches are as small as here it
would make every rounding grow from step to step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from regraft.core.randomness import torch_randomness
from regraft.engine import Workspace
from regraft.engine.moving_average import decay_at
from regraft.engine.slices import WHOLE, Slice
from regraft.engine.stream_data import StreamData
from regraft.engine.train_stage import TrainStageRun
from regraft.linking import Grafted
from regraft.plans import Plan, StreamSpec, TermSpec, change_plan
from tests.engine.conftest import Bench

STEPS = 5
CHANGES = (
    f"stop.steps={STEPS}",
    "stop.epochs=null",
    "streams.target.views=0",
    "streams.target.batch=8",
    "norm_statistics=frozen",
    "schedule.name=constant",
    "schedule.warmup=0",
    "optimiser.name=sgd",
    "groups.0.rate=0.05",
    "groups.1.rate=0.01",
)
Loss = Callable[[Grafted, TrainStageRun, int], Tensor]


def pixels(run: TrainStageRun, examples: np.ndarray) -> Tensor:
    return run.work.inputs.batch(examples)["pixels"]


def labels(run: TrainStageRun, examples: np.ndarray) -> Tensor:
    return torch.from_numpy(run.work.target.labels(examples)["label"])


def logits(model: Grafted, values: Tensor) -> Tensor:
    return model.heads["output_label"](model.trunk({"pixels": values}))


@dataclass
class ByHand:
    """What a loop written by hand did: the loss of each step, and the model's average."""

    losses: list[float] = field(default_factory=list)
    average: dict[str, Tensor] = field(default_factory=dict)


def loop_by_hand(run: TrainStageRun, model: Grafted, loss_of: Loss, *, accumulate: int = 1) -> ByHand:
    groups = [
        {"params": [p for p in model.heads.parameters() if p.ndim > 1], "lr": 0.05, "weight_decay": 0.01},
        {"params": [p for p in model.heads.parameters() if p.ndim < 2], "lr": 0.05},
        {"params": [p for p in model.trunk.parameters() if p.ndim > 1], "lr": 0.01, "weight_decay": 0.01},
        {"params": [p for p in model.trunk.parameters() if p.ndim < 2], "lr": 0.01},
    ]
    optimiser = torch.optim.SGD(groups, momentum=0.9)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    done = ByHand(average={name: value.clone() for name, value in model.state_dict().items()})
    run.freeze.set_modes(model)
    for step in range(STEPS):
        optimiser.zero_grad()
        total = 0.0
        for part in range(accumulate):
            number = step * accumulate + part
            with torch_randomness(run.work.draw.seed, "step", number):
                loss = loss_of(model, run, number)
            (loss / accumulate).backward()
            total += loss.item() / accumulate
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        done.losses.append(total)
        decay = min(0.99, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                done.average[name] = decay * done.average[name] + (1 - decay) * value
    return done


def engine_losses(run: TrainStageRun) -> list[float]:
    run.freeze.set_modes(run.model)
    for average in run.averages:
        average.begin()
    losses = []
    for _ in range(STEPS):
        losses.append(run._step())
        run.standing.step += 1
    return losses


def compare(
    bench: Bench,
    plan: Plan,
    loss_of: Loss,
    work: Workspace | None = None,
    run: TrainStageRun | None = None,
    **options: int,
) -> None:
    run = run or TrainStageRun(plan.stages[0], work or bench.open(plan), None)  # type: ignore[arg-type]
    by_hand = loop_by_hand(run, bench.open(bench.plan("full")).models["student"], loss_of, **options)
    assert engine_losses(run) == pytest.approx(by_hand.losses, abs=1e-6)
    assert len(set(by_hand.losses)) == STEPS


def mixed_loss(model: Grafted, run: TrainStageRun, step: int) -> Tensor:
    """Zhang et al. 2018, with the share and the partners that were drawn."""
    batch = run.leading.at(step)
    assert run.leading.mixer is not None
    mixture = run.leading.mixer.at(step, len(batch))
    assert mixture is not None
    values, share = pixels(run, batch), mixture.share
    found = logits(model, share * values + (1 - share) * values[mixture.partners])
    own, others = labels(run, batch), labels(run, batch[mixture.partners])
    return share * functional.cross_entropy(found, own) + (1 - share) * functional.cross_entropy(
        found, others
    )


def test_mixup(bench: Bench) -> None:
    compare(bench, bench.plan("full", *CHANGES, "streams.target.mix.mixup=0.4"), mixed_loss)


def test_label_smoothing_and_class_weights_with_accumulation(bench: Bench) -> None:
    changes = ("terms.0.options.smoothing=0.1", "terms.0.options.class_weights=balanced")
    plan = bench.plan("full", *CHANGES, *changes, "optimiser.accumulate=2")

    def loss_of(model: Grafted, run: TrainStageRun, step: int) -> Tensor:
        train = labels(run, run.work.draw.train)
        weight = len(train) / (3 * torch.bincount(train, minlength=3))
        batch = run.leading.at(step)
        found = logits(model, pixels(run, batch))
        return functional.cross_entropy(found, labels(run, batch), weight=weight, label_smoothing=0.1)

    compare(bench, plan, loss_of, accumulate=2)


def with_average(plan: Plan, **stop: object) -> Plan:
    """The plan with a moving average of the student, ``slow``."""
    slow = {"average_of": "student", "decay": 0.99}
    data = plan.model_dump(mode="json")
    data["models"]["slow"] = slow
    data["stages"][-1]["stop"].update(stop)
    return Plan.model_validate(data)


def test_moving_average(bench: Bench) -> None:
    plan = with_average(bench.plan("full", *CHANGES))
    work = bench.open(plan)
    run = TrainStageRun(plan.stages[0], work, None)  # type: ignore[arg-type]

    def loss_of(model: Grafted, run: TrainStageRun, step: int) -> Tensor:
        batch = run.leading.at(step)
        return functional.cross_entropy(logits(model, pixels(run, batch)), labels(run, batch))

    by_hand = loop_by_hand(run, bench.open(bench.plan("full")).models["student"], loss_of)
    assert engine_losses(run) == pytest.approx(by_hand.losses, abs=1e-6)
    found, student = work.models["slow"].state_dict(), work.models["student"].state_dict()
    for name, value in by_hand.average.items():
        if value.is_floating_point():
            assert torch.allclose(found[name], value, atol=1e-6), name
    assert not torch.equal(found["heads.output_label.weight"], student["heads.output_label.weight"])
    assert (decay_at(0.99, 0), decay_at(0.99, 10**4)) == (0.1, 0.99)


def two_streams(bench: Bench) -> tuple[Plan, StreamData]:
    """A plan that also reads half of the target's pictures as other data, without their labels."""
    plan = bench.plan("full", *CHANGES)
    rest = StreamSpec(reads="unlabelled", batch=6)
    terms = (*plan.stages[0].terms, TermSpec(computes="entropy", streams=("rest",), weight=0.5))  # type: ignore[union-attr]
    stage = plan.stages[0].model_copy(update={"terms": terms})
    plan = plan.model_copy(update={"streams": {**plan.streams, "rest": rest}, "stages": (stage,)})
    inputs, target = bench.prepared.inputs, bench.target
    data = StreamData("rest", inputs, target.examples.hashes, None, "hash", target.pool[::2])
    return plan, data


def test_two_streams(bench: Bench) -> None:
    plan, data = two_streams(bench)

    def loss_of(model: Grafted, run: TrainStageRun, step: int) -> Tensor:
        batch, rest = run.leading.at(step), run.objective.streams["rest"].at(step)
        assert len(rest) == 6
        assert set(rest) <= set(data.examples)
        first = functional.cross_entropy(logits(model, pixels(run, batch)), labels(run, batch))
        logs = logits(model, pixels(run, rest)).log_softmax(1)
        return first + 0.5 * -(logs.exp() * logs).sum(1).mean()

    work = bench.open(plan)
    work.others["rest"] = data
    compare(bench, plan, loss_of, work)


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_slices_add_up_with_mixing_missing_labels_and_two_streams(bench: Bench, mix: str) -> None:
    plan, data = two_streams(bench)
    plan = change_plan(plan, [f"streams.target.mix.{mix}=1.0", "streams.target.views=1"])
    work = bench.open(plan)
    work.others["rest"] = data
    missing = work.draw.train[::3]
    known = work.target._labels["label"].copy()
    work.target._labels["label"][missing] = -1
    try:
        run = TrainStageRun(plan.stages[0], work, None)  # type: ignore[arg-type]
        torch.nn.init.normal_(run.model.heads["output_label"].weight, std=0.1)
        run.freeze.set_modes(run.model)
        mixed = 0
        for step in range(3):
            whole = gradient_of(run, step, WHOLE)
            parts = [gradient_of(run, step, Slice(index, 2)) for index in range(2)]
            assert whole[0] == pytest.approx(sum(loss for loss, _ in parts), abs=1e-6)
            assert torch.allclose(whole[1], parts[0][1] + parts[1][1], atol=1e-5)
            mixed += run.leading.portion(step, WHOLE).mixture is not None
        assert mixed == 3
    finally:
        work.target._labels["label"][:] = known


def gradient_of(run: TrainStageRun, step: int, piece: Slice) -> tuple[float, Tensor]:
    run.model.zero_grad(set_to_none=True)
    # Stochastic depth draws for each slice anew: here every slice draws the same, none.
    run.model.eval()
    loss = run.objective(step, 0.0, piece)
    loss.backward()
    gradient = run.model.heads["output_label"].weight.grad
    assert gradient is not None
    return loss.item(), gradient.clone()
