"""Memory: counted before the first step, and batches that become slices where it runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from regraft.core.errors import TrainingError
from regraft.core.hashing import hash_tensors
from regraft.core.memory import is_out_of_memory
from regraft.engine import execute, step_guard, train_stage
from regraft.engine.memory import SHARE, MemoryNeed, TensorCounter, measure_need, slices_that_fit
from regraft.engine.slices import WHOLE, Sizes, Slice, split_batch
from regraft.engine.snapshot import Snapshot
from tests.engine.conftest import Bench

# No batch norm in training mode and no random layers: slices then add up to the same numbers.
QUIET = ("streams.target.views=0", "streams.target.batch=16", "stop.epochs=2", "stop.keep=last")


def losses(lines: list[dict]) -> list[float]:
    return [line["loss"] for line in lines if line["kind"] == "train"]


def test_the_counter_sees_the_peak_and_not_what_was_there_before() -> None:
    there = torch.zeros(1000)
    with TensorCounter() as counter:
        first = there + 1  # 4,000 bytes
        second = first * 2  # 8,000 at once
        del first
        third = second.view(10, 100) + 0  # a view costs nothing; 8,000 at once
        del second, third
        there.add_(1).t()
    assert max(counter.moments) == 8000


def test_the_need_of_a_network_is_what_its_tensors_are() -> None:
    """A linear layer of 100 to 1,000: what forward and backward must keep can be counted by hand."""
    layer = nn.Linear(100, 1000, bias=False)

    def step(count: int) -> None:
        layer(torch.ones(count, 100)).sum().backward()
        layer.zero_grad(set_to_none=True)

    need = measure_need(step, layer.parameters(), states=2, copies=1)
    assert (need.optimiser, need.copies) == (800_000, 400_000)
    # One example: the weights' gradient (400,000) outweighs the activations. A thousand: the inputs (400,000)
    # are alive with the outputs (4,000,000).
    assert need.of(1) == pytest.approx(1_200_000 + 400_400, abs=100)
    assert need.of(1000) == pytest.approx(1_200_000 + 4_400_000, abs=100)


def test_slices_are_as_few_as_fit() -> None:
    need = MemoryNeed(optimiser=200, copies=0, step=((100, 100.0), (1000, 1.0)))
    assert slices_that_fit(need, 100_000, batch=32, most=32) == 1
    assert need.of(16) <= SHARE * 2640 < need.of(32)
    assert need.of(4) == 200 + 1004  # the other moment of the step is the higher one
    assert slices_that_fit(need, 2640, batch=32, most=32) == 2
    assert slices_that_fit(need, 1608, batch=32, most=32) == 8
    assert slices_that_fit(need, 1560, batch=32, most=16) is None
    assert slices_that_fit(need, 100_000, batch=32, most=32, start=4) == 4
    # A slice with its examples' partners beside them: half as large slices, and two are no help.
    assert slices_that_fit(need, 2640, batch=32, most=32, paired=True) == 4
    assert slices_that_fit(need, 100_000, batch=32, most=32, paired=True) == 1
    assert slices_that_fit(need, 1560, batch=7, most=3) is None  # 7 examples make no 4 slices of two


@pytest.mark.parametrize("actual", [1, 2, 5, 16, 31, 32, 33])
@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 8, 16])
def test_every_example_is_in_exactly_one_slice(actual: int, least: int, count: int) -> None:
    examples = np.arange(actual)
    for world in (1, 2):
        parts: list[np.ndarray] = []
        for rank in range(world):
            share = Slice(rank, world)
            sizes = Sizes(32 // world, len(share.take(examples)))
            # The second process has less memory and divides its share further.
            pieces = split_batch(share, count * (rank + 1), [sizes], least=least)
            parts += [piece.take(examples) for piece in pieces]
            assert len({piece.key for piece in pieces}) == len(pieces)
            if len(pieces) > 1:
                assert all(len(piece.take(examples)) >= min(least, sizes.actual) for piece in pieces)
        assert np.concatenate(parts).tolist() == list(examples)


def test_slices_are_as_small_as_their_largest_stream_wants() -> None:
    """Eight slices of 32 examples: a short batch of one stream makes those of another no larger."""
    (short, full) = Sizes(32, 4), Sizes(32, 32)
    assert len(split_batch(WHOLE, 8, [short], least=1)) == 1
    assert len(split_batch(WHOLE, 8, [short, full], least=1)) == 8
    assert len(split_batch(WHOLE, 8, [short, full], least=2)) == 2
    assert len(split_batch(WHOLE, 8, [Sizes(32, 0), full], least=2)) == 8


@pytest.mark.parametrize("strategy", ["lpft:2", "full"])
def test_a_stage_that_would_not_fit_is_computed_in_slices_from_its_first_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], strategy: str
) -> None:
    plan = bench.plan(strategy, *QUIET, "norm_statistics=frozen")
    whole = bench.open(plan)
    # Dropout and dropped paths draw per slice; without them both runs compute the same sums.
    quiet(whole.models["student"])
    execute(whole)
    assert [line for line in whole.history.lines if line["kind"] == "memory"] == []
    found = need_of(bench, plan)
    room = round(found.of(4) / SHARE) + 1
    monkeypatch.setattr(step_guard, "available_memory", lambda device: room)
    sliced = bench.open(plan)
    quiet(sliced.models["student"])
    execute(sliced)
    (line,) = (line for line in sliced.history.lines if line["kind"] == "memory")
    assert (line["step"], line["slices"]) == (0, 4)
    assert sliced.notes == [line["note"]]
    assert "4 examples at a time instead of 16: their gradients add up to the same." in line["note"]
    assert line["note"] in capsys.readouterr().err
    assert losses(sliced.history.lines) == pytest.approx(losses(whole.history.lines), rel=1e-4)
    monkeypatch.setattr(step_guard, "available_memory", lambda device: found.of(0))
    with pytest.raises(
        TrainingError, match=r"does not fit in memory even with 1 example .* are free\. Train"
    ):
        execute(bench.open(plan))


def quiet(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "_global_params"):
            module._global_params = module._global_params._replace(drop_connect_rate=0.0)


def need_of(bench: Bench, plan: object) -> MemoryNeed:
    from regraft.engine.train_stage import TrainStageRun

    work = bench.open(plan)  # type: ignore[arg-type]
    before = hash_tensors(work.models["student"].state_dict())
    run = TrainStageRun(work.plan.stages[-1], work, None)  # type: ignore[arg-type]
    randomness = torch.get_rng_state()
    need = run.guard.predict()
    assert hash_tensors(work.models["student"].state_dict()) == before
    assert torch.equal(torch.get_rng_state(), randomness)
    return need


class Tight:
    """Raises what a GPU raises where more than ``most`` examples are in training at once."""

    def __init__(self, model: nn.Module, most: int):
        self.most, self.refused = most, 0
        # The last norm of the trunk sees every example.
        model.trunk.network._bn1.register_forward_pre_hook(self)

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if torch.is_grad_enabled() and len(inputs[0]) > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError(f"out of memory at {len(inputs[0])} examples")


@pytest.mark.parametrize("strategy", ["lpft:2", "full"])
def test_a_step_that_runs_out_of_memory_is_repeated_in_smaller_slices(bench: Bench, strategy: str) -> None:
    plan = bench.plan(strategy, *QUIET, "norm_statistics=frozen")
    whole, tight = bench.open(plan), bench.open(plan)
    for work in (whole, tight):
        quiet(work.models["student"])
    execute(whole)
    layer = Tight(tight.models["student"], most=5)  # the probe's four pass, a batch of 16 does not
    execute(tight)
    assert layer.refused == 2  # with 16 and with 8 at a time
    told = [line["slices"] for line in tight.history.lines if line["kind"] == "memory"]
    assert told == [2, 4]
    assert len(tight.notes) == 2
    assert "The memory ran out; the step is computed again with 4 examples at a time" in tight.notes[1]
    assert losses(tight.history.lines) == pytest.approx(losses(whole.history.lines), rel=1e-4)


def test_not_even_one_example_is_a_clear_error(bench: Bench) -> None:
    work = bench.open(bench.plan("lpft:2", *QUIET, "norm_statistics=frozen"))
    Tight(work.models["student"], most=0)
    with pytest.raises(TrainingError, match="does not fit in memory even with 1 example at a time"):
        execute(work)


def test_a_failed_attempt_moves_no_batch_norm_statistics(bench: Bench) -> None:
    """Statistics that the failed attempt has moved already are put back before the step is repeated."""
    plan = bench.plan("full", *QUIET, "stop.epochs=null", "stop.steps=1")
    plain, tight = bench.open(plan), bench.open(plan)
    for work in (plain, tight):
        quiet(work.models["student"])
    Tight(tight.models["student"], most=8)
    execute(tight)
    assert [line["slices"] for line in tight.history.lines if line["kind"] == "memory"] == [2]
    assert "batch norm looks at so few" in tight.notes[0]
    execute(plain)
    count = "trunk.network._bn0.num_batches_tracked"
    begun = bench.open(plan).models["student"].state_dict()[count]
    # Two slices of the one step that was taken, and nothing of the attempt that failed.
    assert tight.models["student"].state_dict()[count] == begun + 2
    assert plain.models["student"].state_dict()[count] == begun + 1


def test_memory_that_ran_out_in_a_validation_leaves_the_statistics_of_the_step_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan("lpft:1", *QUIET, "stop.epochs=1", "norm_statistics=move")
    plain, tight = bench.open(plan), bench.open(plan)
    execute(plain)
    real, called = train_stage.validate, []

    def fail_once(forward: Any, work: Any, *, slices: int) -> Any:
        called.append(slices)
        if len(called) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(forward, work, slices=slices)

    monkeypatch.setattr(train_stage, "validate", fail_once)
    execute(tight)
    assert called == [1, 1, 2]
    expected = hash_tensors(plain.models["student"].state_dict())
    assert hash_tensors(tight.models["student"].state_dict()) == expected


def test_views_that_are_computed_once_are_no_part_of_what_a_step_needs(bench: Bench) -> None:
    plans = [bench.plan("lpft:1", *QUIET, f"streams.target.views={views}") for views in (0, 2)]
    still, moving = (need_of(bench, plan) for plan in plans)
    assert moving.of_step(16) == pytest.approx(still.of_step(16), rel=0.01)
    assert moving.of_step(1000) > 2 * moving.of_step(1)


def test_buffers_that_the_code_puts_in_their_places_are_put_back() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(1))
            self.register_buffer("table", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.mean = 0.9 * self.mean + 0.1 * x.mean()
            self.table = torch.zeros(len(x))
            return x

    model = Mean()
    kept = Snapshot(buffers_of=model)
    model(torch.ones(3))
    kept.restore()
    assert model.mean.tolist() == [0.0]
    assert len(model.table) == 3  # what grew is no statistic, and its code may count on it
    model(torch.ones(3))
    kept.take()
    model(torch.ones(3))
    kept.restore()
    assert model.mean.tolist() == pytest.approx([0.1])


def test_slices_are_in_the_checkpoint(bench: Bench, tmp_path: Path) -> None:
    from regraft.engine.train_stage import TrainStageRun

    plan = bench.plan("lpft:2", *QUIET, "norm_statistics=frozen")
    work = bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    Tight(work.models["student"], most=5)
    real, taken = TrainStageRun._step, []

    def two_steps(self: TrainStageRun) -> float:
        taken.append(self.standing.step)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStageRun, "_step", two_steps)
        with pytest.raises(KeyboardInterrupt):
            execute(work)
    resumed = bench.open(plan, folder=tmp_path)
    execute(resumed)
    assert len([line for line in resumed.history.lines if line["kind"] == "memory"]) == 2
    assert len(resumed.notes) == 2
    whole = bench.open(plan)
    Tight(whole.models["student"], most=5)
    execute(whole)
    expected = hash_tensors(whole.models["student"].state_dict())
    assert hash_tensors(resumed.models["student"].state_dict()) == expected


REAL = """
import resource, sys, json
import torch
from regraft.core.memory import is_out_of_memory
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
found = []
for make in (lambda: torch.empty(100_000_000), lambda: bytearray(400_000_000)):
    try:
        make()
    except (RuntimeError, MemoryError) as error:
        found.append([type(error).__name__, is_out_of_memory(error)])
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of an address space is Linux's")
def test_a_real_allocation_failure_is_known_as_one() -> None:
    said = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [["RuntimeError", True], ["MemoryError", True]]
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))


RISE = """
import ctypes, gc, json, pathlib, torch
from torch import nn
from regraft.core.memory import used_memory
from regraft.engine.memory import measure_need

torch.set_num_threads(1)
torch.manual_seed(0)
widths = ((3, 32), (32, 64), (64, 128))
layers = [nn.Sequential(nn.Conv2d(*pair, 3, 2, 1), nn.BatchNorm2d(pair[1]), nn.ReLU()) for pair in widths]
network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 64, 512))
optimiser = torch.optim.AdamW(network.parameters(), foreach=False)

def step(count):
    network(torch.randn(count, 3, 64, 64)).square().mean().backward()
    optimiser.zero_grad()

need = measure_need(step, list(network.parameters()), states=2, copies=0)
gc.collect()
ctypes.CDLL("libc.so.6").malloc_trim(0)
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = used_memory(torch.device("cpu"))
for _ in range(2):
    network(torch.randn(64, 3, 64, 64)).square().mean().backward()
    optimiser.step()
    optimiser.zero_grad()
status = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"predicted": need.of(64), "measured": peak - before}))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be set back")
def test_what_is_predicted_is_what_the_process_grows_by() -> None:
    # Every block is mapped for itself, so that what is freed is no longer resident.
    around = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", RISE], env=around, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert 0.85 < found["predicted"] / found["measured"] < 1.15, found
