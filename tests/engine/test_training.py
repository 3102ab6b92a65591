"""Train stages: the plain loop's numbers, bits that repeat, and losses that are not finite."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from regraft.core.errors import NonFiniteLossError, PlanError
from regraft.core.hashing import hash_tensors
from regraft.core.inputs import View
from regraft.core.randomness import torch_randomness
from regraft.engine import check_plan, execute
from regraft.engine.schedules import rate_factor
from regraft.engine.streams import open_stream
from regraft.engine.train_stage import TrainStageRun
from regraft.engine.validation import Validation
from regraft.engine.workspace import Workspace
from regraft.plans import RateSchedule
from tests.engine.conftest import Bench


def losses(work: Workspace) -> list[float]:
    return [line["loss"] for line in work.history.lines if line["kind"] == "train"]


def test_losses_equal_those_of_a_loop_written_by_hand(bench: Bench) -> None:
    """Plain fine-tuning for 5 steps of AdamW with cosine and warm-up, nothing of the engine's loop used."""
    changes = ("stop.steps=5", "stop.epochs=null", "streams.target.views=0", "streams.target.batch=8")
    plan = bench.plan("full", *changes)
    work = bench.open(plan)
    found: list[float] = []
    model = work.models["student"]
    by_hand = bench.open(plan).models["student"]
    stream = open_stream("target", plan.streams["target"], work)

    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in by_hand.heads.parameters() if p.ndim > 1], "lr": 1e-3},
            {
                "params": [p for p in by_hand.heads.parameters() if p.ndim < 2],
                "lr": 1e-3,
                "weight_decay": 0.0,
            },
            {"params": [p for p in by_hand.trunk.parameters() if p.ndim > 1], "lr": 3e-4},
            {
                "params": [p for p in by_hand.trunk.parameters() if p.ndim < 2],
                "lr": 3e-4,
                "weight_decay": 0.0,
            },
        ],
        weight_decay=0.01,
    )
    peaks = [group["lr"] for group in optimiser.param_groups]
    by_hand.train()
    for step in range(5):
        warm = round(0.1 * 5)
        factor = (
            (step + 1) / (warm + 1)
            if step < warm
            else 0.5 * (1 + math.cos(math.pi * (step - warm) / (5 - warm)))
        )
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        examples = stream.at(step)
        batch = bench.prepared.inputs.batch(examples)
        labels = torch.from_numpy(bench.target.labels(examples)["label"])
        with torch_randomness(plan.seed, "step", step):
            logits = by_hand.heads["output_label"](by_hand.trunk(batch))
            loss = functional.cross_entropy(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], 1.0)
        optimiser.step()
        found.append(loss.item())

    execute(work)
    epoch = work.history.lines[-1]
    assert epoch["step"] == 5
    assert epoch["loss"] == pytest.approx(np.mean(found[-5:]), abs=1e-6)
    assert hash_tensors(model.trunk.state_dict()) != hash_tensors(
        bench.open(plan).models["student"].trunk.state_dict()
    )


def test_two_runs_are_equal_to_the_bit(bench: Bench) -> None:
    plan = bench.plan("full", "stop.epochs=1", "streams.target.batch=8")
    first, second = bench.open(plan), bench.open(plan)
    execute(first)
    execute(second)
    assert hash_tensors(first.models["student"].state_dict()) == hash_tensors(
        second.models["student"].state_dict()
    )
    assert losses(first) == losses(second)


def test_another_seed_gives_another_run(bench: Bench) -> None:
    changes = ("stop.epochs=1", "streams.target.batch=8")
    first, second = (bench.open(bench.plan("full", *changes, seed=seed)) for seed in (0, 1))
    execute(first)
    execute(second)
    assert losses(first) != losses(second)


def test_a_cached_prefix_changes_no_loss(bench: Bench) -> None:
    """The same stage with its frozen prefix computed once, and computed in every step."""
    cached = bench.plan("lpft:2", "stop.epochs=2")
    recomputed = bench.plan("lpft:2", "stop.epochs=2", "frozen_prefix=null")
    first, second = bench.open(cached), bench.open(recomputed)
    execute(first)
    execute(second)
    assert losses(first) == pytest.approx(losses(second), abs=1e-5)


def test_training_learns(bench: Bench) -> None:
    work = bench.open(bench.plan("lpft:2", "stop.epochs=4"))
    execute(work)
    lines = [line for line in work.history.lines if line["kind"] == "train"]
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_the_best_weights_are_kept_and_the_start_takes_part(bench: Bench) -> None:
    """With a rate that destroys the model, what is kept is what the stage began with."""
    work = bench.open(bench.plan("lpft:2", "stop.epochs=1", "groups.0.rate=1000", "groups.1.rate=1000"))
    solved = bench.open(
        bench.plan("lpft:2", "stop.epochs=1", "groups.0.rate=0", "groups.1.rate=0", "groups.2.rate=0")
    )
    execute(work)
    execute(solved)
    head = "heads.output_label.weight"
    assert torch.equal(work.models["student"].state_dict()[head], solved.models["student"].state_dict()[head])


def test_a_loss_that_is_not_finite_names_its_example_and_steps_nothing(bench: Bench) -> None:
    work = bench.open(bench.plan("full", "stop.epochs=1", "streams.target.views=0"))
    model = work.models["student"]
    culprit = int(work.draw.train[3])

    class Poisoned:
        """The real inputs, but for one example whose pixels are not finite."""

        def __getattr__(self, name: str) -> object:
            return getattr(bench.prepared.inputs, name)

        def __len__(self) -> int:
            return len(bench.prepared.inputs)

        def batch(self, pieces: np.ndarray, *, view: View | None = None) -> dict[str, torch.Tensor]:
            batch = bench.prepared.inputs.batch(pieces, view=view)
            batch["pixels"][torch.from_numpy(pieces == culprit)] = float("nan")
            return batch

    work.inputs = Poisoned()  # type: ignore[assignment]
    # In eval mode batch norm does not spread one example's fault over its batch.
    work.plan = bench.plan("full", "stop.epochs=1", "streams.target.views=0", "norm_statistics=frozen")
    before = hash_tensors(dict(model.named_parameters()))
    name = bench.prepared.inputs.names[culprit]
    with pytest.raises(NonFiniteLossError, match=rf"not finite at .*{name.split('/')[-1]} \(1 of the"):
        execute(work)
    trained = dict(model.named_parameters())
    assert hash_tensors(trained) == before or work.history.lines == []


def test_rates_warm_up_and_come_down() -> None:
    schedule = RateSchedule(name="cosine", warmup=0.2, floor=0.1)
    factors = [rate_factor(schedule, step, 10) for step in range(10)]
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert all(a > b for a, b in itertools.pairwise(factors[2:]))
    assert rate_factor(schedule, 10, 10) == pytest.approx(0.1)
    assert rate_factor(RateSchedule(name="linear", warmup=0.0), 5, 10) == pytest.approx(0.5)
    assert rate_factor(RateSchedule(name="constant", warmup=0.0), 9, 10) == 1.0


def test_every_epoch_reads_every_example_once(bench: Bench) -> None:
    plan = bench.plan("full", "streams.target.batch=7")
    work = bench.open(plan)
    stream = open_stream("target", plan.streams["target"], work)
    epoch = np.concatenate([stream.at(step) for step in range(stream.batches)])
    assert sorted(epoch) == sorted(work.draw.train)
    following = np.concatenate([stream.at(stream.batches + step) for step in range(stream.batches)])
    assert list(epoch) != list(following)
    assert all(len(stream.at(step)) > 1 for step in range(stream.batches))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.tune.combine.rule=max", "no combine rule is called 'max'"),
        (
            "stages.tune.terms.0.computes=magic",
            "no term is called 'magic'; there are: bi-tuning, bss, co-tuning, delta",
        ),
        ("stages.tune.terms.0.weight={learned: gut}", "no weight is learned by 'gut'"),
        ("stages.tune.combine={rule: pcgrad, options: {alpha: 1}}", "has no option alpha"),
        ("stages.tune.terms.0.weight={learned: alignment}", "one has to be there"),
        ("streams.target.reads=unlabelled", "reads labels, and the stream target has none"),
        ("streams.target.reads=source", "reads other data, and there are none"),
        ("streams.target.reads=rollouts", "which nothing makes yet"),
        ("streams.target.data=photos", "names other data, photos"),
        ("streams.target.augment={policy: rand, drop_tokens: 0.1}", "the data are pictures"),
        ("terms.0.options.smooth=0.1", "has no option smooth"),
        ("terms.0.streams=[]", "reads no stream"),
    ],
)
def test_what_has_no_definition_is_refused_before_anything_runs(
    bench: Bench, change: str, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        execute(bench.open(bench.plan("full", change)))


def test_what_a_plan_can_say_and_nothing_can_run_is_refused(bench: Bench) -> None:
    plan = bench.plan("full")
    with pytest.raises(PlanError, match="has to have a model called 'student'"):
        check_plan(plan.model_copy(update={"models": {"teacher": plan.models["student"]}}))
    stage = plan.stages[0].model_copy(update={"produces": ("fisher",)})
    with pytest.raises(PlanError, match=r"passes artefacts on \(fisher\)"):
        check_plan(plan.model_copy(update={"stages": (stage,)}))


def test_patience_counts_epochs_without_a_lower_loss(bench: Bench) -> None:
    plan = bench.plan("full", "stop.patience=2", "stop.epochs=9")
    run = TrainStageRun(plan.stages[-1], bench.open(plan), None)  # type: ignore[arg-type]
    ended = []
    for step, loss in enumerate((1.0, 0.9, 0.95, 0.8, 0.8, 0.85)):
        run.standing.step = step
        run._judge(Validation(loss, loss, {"accuracy": 0.5}))
        ended.append(run._finished())
    assert ended == [False] * 5 + [True]  # an equal loss is none that is lower
    assert (run.standing.best_loss, run.standing.best_step) == (0.8, 3)


def test_without_labels_to_validate_on_the_newest_weights_are_kept(bench: Bench) -> None:
    work = bench.open(bench.plan("full", "streams.target.batch=16", "stop.steps=1", "stop.epochs=null"))
    name = work.target.tasks[0].name
    values = work.target._labels[name].copy()
    values[work.draw.validation] = -1
    work.target = replace(work.target, _labels={name: values})
    before = hash_tensors(work.models["student"].state_dict())
    execute(work)
    assert work.history.lines[-1]["validation"] == {"loss": 0.0, "calibrated loss": 0.0}
    assert hash_tensors(work.models["student"].state_dict()) != before
