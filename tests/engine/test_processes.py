"""Several processes that carry out one plan, started by torchrun as a user starts them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed import HashStore

import regraft as rg
from regraft.api.fit import resume
from regraft.api.transfer import prepare_plan
from regraft.core.errors import NonFiniteLossError, PlanError, ResumeError, TrainingError, UsageError
from regraft.engine import Settings
from regraft.engine.processes import ALONE, joined, refuse_many, spoken_by
from regraft.engine.processes.failure import Board, heard_from
from regraft.engine.processes.sharding import check_divisible
from regraft.inference.shard import Shard
from regraft.plans import ModelSpec, Plan, StopSpec, TrainStage, write_plan
from tests.engine.many_networks import build_convolutional, build_normed, build_transformer

ROOT = Path(__file__).parents[2]
NETWORKS = "tests.engine.many_networks"
# A frozen prefix that is kept, and all of the network: batch norm frozen, no random views.
STRATEGIES = {
    "lpft": ["--strategy", "lpft:1", "--set", "stop.epochs=3"],
    "full": ["--strategy", "lpft:all", "--set", "stop.epochs=25", "--set", "streams.target.views=0"],
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the networks' weights: ``convolutional``, ``transformer``."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_file(build_convolutional().state_dict(), folder / "convolutional.safetensors")
    save_file(build_transformer().state_dict(), folder / "transformer.safetensors")
    return folder


def words(
    photos: Path, out: Path, weights: Path, batch: int, *more: str, network: str = "convolutional"
) -> list[str]:
    """What stands behind ``regraft``."""
    kind = network if network in ("transformer", "normed") else "convolutional"
    return [
        *("fit", str(photos), "--out", str(out), "--source", f"file:{weights / kind}.safetensors"),
        *(
            "--builder",
            f"{NETWORKS}:build_{network}",
            "--size",
            "32",
            "--device",
            "cpu",
            "--backend",
            "eager",
        ),
        *("--set", f"streams.target.batch={batch}", "--set", "stop.patience=null", *more),
    ]


def started(rest: list[str], **environment: str) -> subprocess.Popen[str]:
    """``torchrun --nproc-per-node 2 -m regraft ..``."""
    search = os.pathsep.join([str(ROOT), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "regraft", *rest],
        env={**os.environ, "PYTHONPATH": search, "PYTHONWARNINGS": "ignore", **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 240) -> tuple[int, str, str]:
    """Exit status, standard output and standard error; a run that hangs is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it hangs: {process.communicate()[1][-2000:]}")
    return process.returncode, out, err


def alone(
    photos: Path, out: Path, weights: Path, batch: int, *more: str, network: str = "convolutional"
) -> rg.Run:
    """The same fit in this process."""
    rest = words(photos, out, weights, batch, *more, network=network)
    given = dict(zip(rest[2::2], rest[3::2], strict=True))
    changes = [value for name, value in pairwise(rest) if name == "--set"]
    return rg.transfer(
        photos,
        out=out,
        source=given["--source"],
        strategy=given["--strategy"],
        changes=changes,
        settings=Settings("cpu", backend="eager"),
        size=32,
        builder=given["--builder"],
    )


def curve(folder: Path) -> list[tuple[float, float]]:
    """Training and validation loss of each epoch."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(line["loss"], line["validation"]["loss"]) for line in lines if line["kind"] == "train"]


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def close_curves(one: Path, other: Path) -> None:
    first, second = torch.tensor(curve(one)), torch.tensor(curve(other))
    assert first.shape == second.shape
    assert (first - second).abs().max() <= 1e-5


def kept_pieces(cache: Path) -> Counter[tuple[str, bytes]]:
    """How often the activation of each piece lies in the cache."""
    found: Counter[tuple[str, bytes]] = Counter()
    for path in cache.glob("activations/*/*.safetensors"):
        found.update((path.parent.name, key.tobytes()) for key in Shard.read(path).keys)
    return found


def test_two_processes_do_what_one_does_with_twice_the_batch(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    rest = words(photos, tmp_path / "two", weights, 8, *STRATEGIES["lpft"])
    status, out, err = ended(started(rest, REGRAFT_CACHE=str(cache)))
    assert status == 0, err
    alone(photos, tmp_path / "one", weights, 16, *STRATEGIES["lpft"])
    close_curves(tmp_path / "two", tmp_path / "one")

    assert len(re.findall("report: ", out)) == 1
    two = facts(tmp_path / "two")
    assert two["status"] == "done"
    assert two["processes"] == {"world": 2, "backend": "gloo"}
    assert two["test_label_reads"] == 1
    assert (tmp_path / "two" / "report.html").is_file()
    # Every activation was computed by one process, in at least two files of each shelf.
    kept = kept_pieces(cache)
    assert set(kept.values()) == {1}
    for shelf in (cache / "activations").glob("[!.]*"):
        assert len(list(shelf.glob("*.safetensors"))) >= 2


def test_two_processes_train_what_edits_added(photos: Path, weights: Path, tmp_path: Path) -> None:
    """Low-rank changes that are merged, and adapters that stay."""
    edits = "[{edit: lora, match: ['*.out'], options: {rank: 2}}, {edit: adapter, match: ['*.back']}]"
    rest = ["--strategy", "adapters", "--set", "stop.epochs=2", "--set", "streams.target.views=0"]
    groups = "groups=[{match: ['*'], rate: 0.001}]"
    for change in (f"stages.tune.edits={edits}", "trainable=[lora, adapter, head]", groups):
        rest += ["--set", change]
    status, _, err = ended(started(words(photos, tmp_path / "two", weights, 8, *rest)))
    assert status == 0, err
    alone(photos, tmp_path / "one", weights, 16, *rest)
    close_curves(tmp_path / "two", tmp_path / "one")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert sum(".adapter." in name for name in first) == 4 * sum("back.weight" in name for name in first)
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)


def test_an_interrupt_of_one_process_stops_all_and_both_go_on(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    """The whole network is trained; rank 1 gets Ctrl-C within the second epoch, and later the run goes on."""
    folder = tmp_path / "two"
    status, _, err = ended(
        started(words(photos, folder, weights, 8, *STRATEGIES["full"], network="stopping"))
    )
    assert status != 0
    assert facts(folder)["status"] == "interrupted", err
    assert "torchrun --nproc-per-node 2 -m regraft resume" in facts(folder)["outcome"]
    codes = set(re.findall(r"exitcode\s*: (-?\d+)", err))
    assert "130" in codes <= {"130", "-15"}, err  # torchrun ends whoever has not ended after the first one
    newest = max((folder / "checkpoints").glob("*/state.json"))
    assert json.loads(newest.read_text())["standing"]["step"] == 5  # of three in an epoch
    assert len(curve(folder)) == 1
    with pytest.raises(ResumeError, match="begun by 2 processes and 1 process would go on"):
        resume(folder)

    status, _, err = ended(started(["resume", str(folder), "--builder", f"{NETWORKS}:build_convolutional"]))
    assert status == 0, err
    # Every epoch is there once. Rounding grows over 75 steps, so that only the first epochs are compared.
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    assert [line["epoch"] for line in trained] == list(range(1, 26))
    # Both processes' shares are in the one term that there is, in the interrupted epoch as well.
    assert [line["terms"]["supervised"] for line in trained] == pytest.approx(
        [line["loss"] for line in trained], rel=1e-5
    )
    alone(photos, tmp_path / "one", weights, 16, *STRATEGIES["full"])
    first = torch.tensor(curve(tmp_path / "one"))[:2]
    assert (torch.tensor(curve(folder))[:2] - first).abs().max() <= 1e-5


def test_an_error_of_one_process_ends_both_with_the_same_words(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    rest = words(photos, tmp_path / "two", weights, 8, *STRATEGIES["lpft"], network="failing")
    status, _, err = ended(started(rest))
    assert status == 1
    assert re.search(r"step \d: the loss is not finite at", facts(tmp_path / "two")["outcome"])
    assert facts(tmp_path / "two")["status"] == "failed"
    assert len(re.findall("the loss is not finite", err)) == 1, err
    assert set(re.findall(r"exitcode\s*: (-?\d+)", err)) == {"1"}
    # What both processes read is kept, and one process runs it again; here nothing fails.
    found = rg.replay(tmp_path / "two", builder=f"{NETWORKS}:build_failing")
    assert (found.where, found.same_batch) == ("nowhere", True)
    assert len({name for name, _ in found.losses}) == 16


def test_a_process_that_is_short_of_memory_drops_no_example(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    """Rank 1 divides its seven examples further than rank 0; then both do, and a checkpoint says so."""
    more = [*STRATEGIES["full"], "--set", "stop.epochs=3", "--set", "streams.target.mix.mixup=0.4"]
    status, _, err = ended(started(words(photos, tmp_path / "two", weights, 7, *more, network="tight")))
    assert status == 0, err
    lines = [json.loads(line) for line in (tmp_path / "two" / "history.jsonl").read_text().splitlines()]
    (told,) = (line for line in lines if line["kind"] == "memory")
    assert told["slices"] == 2
    assert "another process ran out; steps are computed with 4 examples at a time" in told["note"]
    alone(photos, tmp_path / "one", weights, 14, *more)
    close_curves(tmp_path / "two", tmp_path / "one")


def test_batch_norm_never_gets_one_example_of_a_short_batch(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    """Of 38 training examples two are left for the last batch of two processes."""
    torch.manual_seed(0)
    save_file(build_normed().state_dict(), tmp_path / "normed.safetensors")
    more = [*STRATEGIES["full"], "--set", "stop.epochs=2", "--set", "norm_statistics=move"]
    rest = words(photos, tmp_path / "two", tmp_path, 18, *more, network="normed")
    status, _, err = ended(started(rest))
    assert status == 0, err
    assert len(curve(tmp_path / "two")) == 2


def combined_plan(photos: Path, weights: Path, batch: int) -> Plan:
    """A head, weights learned from the sizes of two data sets' losses, a soup, and examples as the head."""
    written, _ = prepare_plan(
        rg.Target.from_images(photos),
        source=f"file:{weights / 'convolutional'}.safetensors",
        builder=f"{NETWORKS}:build_convolutional",
        strategy="joint:uncertainty",
        changes=[f"streams.target.batch={batch}", f"streams.source.batch={batch}", "stop.epochs=2"],
        size=32,
    )
    data = written.model_dump(mode="json")
    data["streams"]["source"]["data"] = str(photos)
    data["stages"] += [
        {"name": "soup", "kind": "average", "of": ["head", "tune"], "rule": "greedy"},
        {"name": "examples", "kind": "solve", "solver": "knn"},
    ]
    return Plan.model_validate(data)


def test_soups_neighbours_and_learned_weights_are_those_of_one_process(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    write_plan(combined_plan(photos, weights, 8), tmp_path / "plan.yaml")
    rest = ["fit", str(photos), "--plan", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "two")]
    rest += ["--builder", f"{NETWORKS}:build_convolutional", "--device", "cpu", "--backend", "eager"]
    status, _, err = ended(started(rest))
    assert status == 0, err
    plan = combined_plan(photos, weights, 16)
    builder = f"{NETWORKS}:build_convolutional"
    settings = Settings("cpu", backend="eager")
    rg.transfer(photos, out=tmp_path / "one", plan=plan, builder=builder, settings=settings)
    close_curves(tmp_path / "two", tmp_path / "one")

    two, one = (lines_of(tmp_path / name) for name in ("two", "one"))
    assert [line["kind"] for line in two] == [line["kind"] for line in one]
    learned = [line["weights"] for line in two if line["kind"] == "train"]
    assert len(learned) == 2
    assert all(weight not in (0.5, 1.0) for weight in learned[-1].values())
    expected = [line["weights"] for line in one if line["kind"] == "train"]
    assert learned == [pytest.approx(weights, abs=1e-5) for weights in expected]
    for stage in ("soup", "examples"):
        (found,), (alone_found,) = (
            [line for line in lines if line["stage"] == stage] for lines in (two, one)
        )
        assert found["chosen"] == alone_found["chosen"]
    models = [load_file(tmp_path / name / "model.safetensors") for name in ("two", "one")]
    assert {name: value.shape for name, value in models[0].items()} == {
        name: value.shape for name, value in models[1].items()
    }
    for name, value in models[0].items():
        assert torch.allclose(value.double(), models[1][name].double(), atol=1e-4), name


@pytest.mark.parametrize("network", ["convolutional", "transformer"])
def test_divided_weights_learn_what_whole_ones_do(
    network: str, photos: Path, weights: Path, tmp_path: Path
) -> None:
    more = [*STRATEGIES["full"], "--set", "stop.epochs=3"]
    rest = words(photos, tmp_path / "two", weights, 8, *more, "--sharding", "full", network=network)
    status, _, err = ended(started(rest))
    assert status == 0, err
    alone(photos, tmp_path / "one", weights, 16, *more, network=network)
    close_curves(tmp_path / "two", tmp_path / "one")
    two, one = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    assert {name: value.shape for name, value in two.items()} == {n: v.shape for n, v in one.items()}
    assert facts(tmp_path / "two")["settings"]["sharding"] == "full"


def test_the_first_cause_is_told_to_who_is_left_alone() -> None:
    store = HashStore()
    boards = [Board(store, rank, 2) for rank in range(2)]
    boards[1].report(NonFiniteLossError("step 3: the loss is not finite"))
    heard = boards[0].cause("in a step")
    assert isinstance(heard, NonFiniteLossError)
    assert str(heard) == "step 3: the loss is not finite"
    assert heard_from(heard) == 1


def test_a_foreign_error_is_told_with_its_rank() -> None:
    store = HashStore()
    Board(store, 1, 2).report(ValueError("no such layer"))
    heard = Board(store, 0, 2).cause("in a step")
    assert isinstance(heard, TrainingError)
    assert str(heard) == "rank 1 failed: ValueError: no such layer"


def test_who_says_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.engine.processes.failure._HEAR", 0.1)
    found = Board(HashStore(), 0, 3).cause("while gradients are added up", RuntimeError("closed"))
    assert isinstance(found, TrainingError)
    assert "rank 1 and rank 2 of 3 processes did not answer while gradients are added up" in str(found)


def test_one_process_says_what_all_have(monkeypatch: pytest.MonkeyPatch) -> None:
    store = HashStore()
    errors = [TrainingError("the same"), TrainingError("the same")]
    Board(store, 0, 2).report(errors[0])
    Board(store, 1, 2).part(errors[1])
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert spoken_by(errors[1]) is None
    assert spoken_by(TrainingError("its own")) == "rank 1: "
    monkeypatch.setenv("RANK", "0")
    assert spoken_by(errors[0]) == ""


def test_what_runs_in_one_process_is_refused_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_many("prove")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="Type: regraft prove"):
        refuse_many("prove")


def test_a_launcher_that_started_one_process_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with joined(Settings("cpu")) as processes:
        assert processes == ALONE
    assert "torchrun --nproc-per-node 2 -m regraft" in capsys.readouterr().err


def test_sharding_wants_several_processes() -> None:
    with pytest.raises(UsageError, match="torchrun --nproc-per-node 2"), joined(Settings(sharding="full")):
        pass
    with pytest.raises(UsageError, match="there are: none, full"):
        Settings(sharding="half")


def test_what_cannot_be_divided_is_refused_by_name() -> None:
    stage = TrainStage(name="tune", terms=(), groups=(), stop=StopSpec(epochs=1))
    followed = {"student": ModelSpec(source="small:image"), "shadow": ModelSpec(average_of="student")}
    plan = Plan.model_construct(models=followed, streams={}, stages=(stage,))
    check_divisible(Settings(), plan, stage)
    with pytest.raises(PlanError, match="the model 'shadow' follows 'student'"):
        check_divisible(Settings(sharding="full"), plan, stage)
    alone = plan.model_copy(update={"models": {"student": followed["student"]}})
    with pytest.raises(PlanError, match="Use bfloat16 or float32"):
        check_divisible(Settings(sharding="full", precision="float16"), alone, stage)


def test_a_single_process_agrees_with_itself() -> None:
    assert ALONE.agree([1.0, 2.0]) == [1.0, 2.0]
    assert ALONE.share({"a": 1}) == {"a": 1}
    assert ALONE.collect(3) == [3]
    assert ALONE.command("resume x") == "regraft resume x"
    assert replace(ALONE, world=4).command("resume x") == "torchrun --nproc-per-node 4 -m regraft resume x"
