"""Train stages with edits: what they train, what they leave, how they go on after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import regraft as rg
from regraft.core.errors import PlanError, TrainingError
from regraft.core.hashing import hash_tensors
from regraft.engine import execute
from regraft.engine.checkpoint import Checkpoints
from regraft.engine.edits.edit import Edit
from regraft.engine.edits.lora import LoRA
from regraft.engine.price import price
from regraft.engine.train_stage import TrainStageRun
from regraft.plans import Plan, change_plan
from regraft.targets import prepare
from tests.engine.conftest import SIZE, Bench
from tests.engine.test_loop_parity import engine_losses, labels, logits, pixels
from tests.engine.test_resume import bare_lines, stop, weights

CHANGES = ("stop.epochs=2", "streams.target.batch=16", "stop.keep=last")


def edited_plan(bench: Bench, edits: str, *changes: str) -> Plan:
    """The plan of ``lora`` with other edits."""
    return bench.plan("lora:2", *CHANGES, f"stages.tune.edits={edits}", *changes)


@pytest.mark.parametrize(
    ("kind", "strategy"), [("attention", "lora:2"), ("convolutional", "dora:2"), ("attention", "ia3")]
)
def test_edited_layers_and_the_head_move_and_nothing_else(
    request: pytest.FixtureRequest, kind: str, strategy: str
) -> None:
    bench: Bench = request.getfixturevalue(kind)
    plan = bench.plan(strategy, *CHANGES, "groups.1.rate=0.02")
    work = bench.open(plan)
    model = work.models["student"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    execute(work)
    after = model.state_dict()
    assert list(after) == list(before)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    endings = {"lora:2": ("qkv.weight", "proj.weight"), "ia3": ("qkv.weight", "qkv.bias", "fc2.weight")}
    expected = endings.get(strategy, ("stem.0.weight", "narrow.weight", "wide.weight"))
    assert {name for name in changed if not name.startswith("heads.")} == {
        name for name in before if name.endswith(expected)
    }
    assert len(changed) == sum(name.endswith(expected) for name in before) + 2
    if strategy == "lora:2":
        for name in changed:
            if not name.startswith("heads."):
                assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-4) == 2


def test_the_numbers_that_were_trained_are_those_of_the_edit_and_the_head(attention: Bench) -> None:
    work = attention.open(attention.plan("lora:3", *CHANGES))
    execute(work)
    width, classes = 16, 3
    low_rank = 2 * 3 * ((width + 3 * width) + (width + width))
    assert work.trained_parameters == low_rank + classes * (width + 1)


@pytest.mark.parametrize(
    ("edits", "changes"),
    [
        ("[{edit: lora, match: [two], options: {rank: 2, dropout: 0.2}}]", ("frozen_prefix=one",)),
        ("[{edit: dora}]", ()),
        ("[{edit: lora, match: ['*.qkv']}, {edit: ia3, match: ['*.fc?']}]", ("trainable=[lora, ia3, head]",)),
    ],
)
def test_bits_are_equal_wherever_it_was_stopped(
    attention: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    edits: str,
    changes: tuple[str, ...],
) -> None:
    groups = "groups=[{match: ['*'], rate: 0.01}]"
    plan = edited_plan(attention, edits, "trainable=[lora, head]", groups)
    if "dora" in edits:
        plan = change_plan(plan, ["trainable=[dora, head]"])
    plan = change_plan(plan, list(changes))
    whole = attention.open(plan)
    execute(whole)
    stop(attention.open(plan, folder=tmp_path, checkpoint_seconds=0.0), 5, monkeypatch)
    checkpoint = Checkpoints(tmp_path / "checkpoints").newest()
    assert checkpoint is not None
    assert checkpoint.tensors["edits"]
    moved = {name for name in checkpoint.tensors["model.student"] if not name.startswith("heads.")}
    assert not moved  # the source's own weights are not in it
    resumed = attention.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    assert weights(resumed) == weights(whole)
    assert bare_lines(resumed.history.lines) == bare_lines(whole.history.lines)
    assert resumed.trained_parameters == whole.trained_parameters


def test_a_later_stage_goes_on_from_merged_weights(
    attention: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a run that is stopped in it knows what the one before trained."""
    plan = attention.plan("lora:2", *CHANGES)
    again = plan.stages[1].model_copy(update={"name": "again"})
    plan = plan.model_copy(update={"stages": (*plan.stages, again)})
    whole = attention.open(plan)
    execute(whole)
    stop(attention.open(plan, folder=tmp_path, checkpoint_seconds=0.0), 10, monkeypatch)
    resumed = attention.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    assert weights(resumed) == weights(whole)
    assert resumed.trained_parameters == whole.trained_parameters
    assert sum(name.startswith("again: ") for name in resumed.merged) == 8


def test_a_moving_average_is_edited_and_merged_with_its_model(attention: Bench) -> None:
    plan = attention.plan("lora:2", *CHANGES, "groups.1.rate=0.02")
    data = plan.model_dump(mode="json")
    data["models"]["slow"] = {"average_of": "student", "decay": 0.9}
    data["stages"][1]["stop"]["judge"] = "slow"
    work = attention.open(Plan.model_validate(data))
    before = weights(work)
    execute(work)
    assert hash_tensors(work.models["slow"].state_dict()) == weights(work) != before
    assert not work.models["slow"].edited.added


def test_lora_is_a_loop_written_by_hand(attention: Bench) -> None:
    reading = ("streams.target.views=0", "streams.target.batch=8", "stop.steps=5")
    rates = ("schedule.name=constant", "schedule.warmup=0", "groups.0.rate=0.05", "groups.1.rate=0.05")
    plan = attention.plan("lora:2", *reading, *rates, "optimiser.name=sgd")
    run = TrainStageRun(plan.stages[1], attention.open(plan), None)  # type: ignore[arg-type]
    model = attention.open(plan).models["student"].eval()
    drawn = run.edits.editings["student"].tensors()
    start = {name.removeprefix("trunk.network."): tensor.clone() for name, tensor in drawn.items()}
    factors: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
    for path in ("one.attn.qkv", "one.attn.proj", "two.attn.qkv", "two.attn.proj"):
        a, b = (nn.Parameter(start[f"{path}.lora_{side}.default.weight"]) for side in "AB")
        factors[path] = a, b
        assert not b.any()

        def changed(_: nn.Module, read: tuple[Tensor], given: Tensor, pair: Any = factors[path]) -> Tensor:
            return given + read[0] @ pair[0].T @ pair[1].T * 2  # alpha / r

        model.trunk.network.get_submodule(path).register_forward_hook(changed)
    head = [{"params": list(model.heads.parameters()), "lr": 0.05}]
    trained = [parameter for pair in factors.values() for parameter in pair]
    optimiser = torch.optim.SGD([*head, {"params": trained, "lr": 0.05}], momentum=0.9)
    losses = []
    for step in range(5):
        batch = run.leading.at(step)
        loss = functional.cross_entropy(logits(model, pixels(run, batch)), labels(run, batch))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*model.heads.parameters(), *trained], 1.0)
        optimiser.step()
        losses.append(loss.item())
    assert engine_losses(run) == pytest.approx(losses, abs=1e-6)
    assert len(set(losses)) == 5


def trained_with(bench: Bench, edits: str, **stage: Any) -> dict[str, Tensor]:
    """The weights after two epochs of full fine-tuning with these edits."""
    plan = bench.plan("full", *CHANGES, f"stages.tune.edits={edits}")
    changed = plan.stages[0].model_copy(update=stage)
    work = bench.open(plan.model_copy(update={"stages": (changed,)}))
    execute(work)
    return work.models["student"].state_dict()


def test_stochnorm_with_all_of_the_batch_is_batch_norm(convolutional: Bench) -> None:
    plain = trained_with(convolutional, "[]")
    whole = trained_with(convolutional, "[{edit: stochnorm, options: {p: 1}}]")
    assert hash_tensors(whole) == hash_tensors(plain)
    half = trained_with(convolutional, "[{edit: stochnorm}]")
    assert list(half) == list(plain)
    assert not torch.equal(half["trunk.network.first.wide.weight"], plain["trunk.network.first.wide.weight"])
    assert half["trunk.network.first.norm.num_batches_tracked"] > 0
    assert hash_tensors(trained_with(convolutional, "[{edit: stochnorm}]")) == hash_tensors(half)


def test_stochnorm_chooses_a_channel_at_a_time(convolutional: Bench) -> None:
    work = convolutional.open(convolutional.plan("stochnorm", *CHANGES))
    run = TrainStageRun(work.plan.stages[0], work, None)  # type: ignore[arg-type]
    run.freeze.set_modes(run.model)
    norm = run.model.trunk.network.get_submodule("first.norm")
    assert norm.training
    x = 3 + 2 * torch.randn(8, norm.num_features, 5, 5, generator=torch.Generator().manual_seed(0))
    batch = functional.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.1, norm.eps)
    running = functional.batch_norm(
        x, norm.running_mean.clone(), norm.running_var.clone(), norm.weight, norm.bias, False, 0.1, norm.eps
    )
    torch.manual_seed(0)
    given = norm(x)
    of_batch = torch.tensor([torch.allclose(given[:, c], batch[:, c], atol=1e-5) for c in range(8)])
    of_running = torch.tensor([torch.allclose(given[:, c], running[:, c], atol=1e-5) for c in range(8)])
    assert torch.equal(of_batch, ~of_running)
    assert of_batch.any()
    assert of_running.any()


def test_frozen_statistics_leave_stochnorm_nothing_to_choose(convolutional: Bench) -> None:
    plan = convolutional.plan("stochnorm", "norm_statistics=frozen")
    with pytest.raises(PlanError, match=r"'stochnorm' and norm_statistics: .*set norm_statistics to move"):
        convolutional.open(plan)


class Around(nn.Module):
    """Reads the weight of a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.inner.weight, self.inner.bias)


def test_layers_whose_weights_are_read_around_them_are_refused(bench: Bench) -> None:
    network = nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Around())
    source = rg.Source.from_module(network, rg.ImagePreprocessing(size=(SIZE, SIZE)), name="around")
    around = Bench(source, prepare(bench.target, source.preprocessing, workers=1))
    work = around.open(edited_plan(around, "[{edit: lora, match: ['*.inner']}]"))
    with pytest.raises(PlanError, match=r"cannot be edited like this \(lora\): .*never called.*3\.inner"):
        execute(work)
    assert not work.models["student"].edited.added


def test_what_cannot_be_merged_exactly_is_not_kept(attention: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(self: Edit, change: Any) -> None:
        change.original.weight.data *= 1.001

    monkeypatch.setattr(LoRA, "settle", settle)
    with pytest.raises(TrainingError, match=r"computes something else: its features are .* apart"):
        execute(attention.open(attention.plan("lora:2", *CHANGES)))


def test_an_edit_of_another_model_than_the_stages_is_refused(attention: Bench) -> None:
    data = attention.plan("lora:2").model_dump(mode="json")
    data["models"]["slow"] = {"average_of": "student"}
    data["stages"][1]["edits"][0]["model"] = "slow"
    with pytest.raises(PlanError, match=r"trains 'student' and edits 'slow': a stage edits the model"):
        attention.open(Plan.model_validate(data))


def test_the_price_of_an_edited_stage_is_that_of_what_it_trains(attention: Bench) -> None:
    link, plan = attention.link(), attention.plan("lora:2")
    found = price(plan, attention.target, link)
    assert set(found.stages) == {"tune"}
    assert found.memory["tune"] > 0
