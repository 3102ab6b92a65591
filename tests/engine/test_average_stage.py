"""What stages left is kept, averaged, judged and put back; a run that was stopped in between ends alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from regraft.core.errors import PlanError
from regraft.core.hashing import hash_tensors
from regraft.engine import check_plan, execute
from regraft.engine.workspace import Workspace
from regraft.plans import AverageStage, Plan
from tests.engine.conftest import Bench
from tests.engine.test_resume import bare_lines, stop, weights

CHANGES = ("stop.epochs=1", "stop.keep=last", "streams.target.batch=24")


def averaging(plan: Plan, *averages: dict[str, Any]) -> Plan:
    """The plan with average stages behind its own."""
    stages = [AverageStage(name=f"average {i}", **one) for i, one in enumerate(averages)]
    return Plan.model_validate(
        plan.model_copy(update={"stages": (*plan.stages, *stages)}).model_dump(mode="json")
    )


def state(work: Workspace) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in work.models["student"].state_dict().items()}


def watch(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The student's weights after each stage."""
    seen: list[dict[str, Tensor]] = []
    run = execute.__globals__["_run_stage"]

    def watched(index: int, work: Workspace, checkpoint: Any) -> None:
        run(index, work, checkpoint)
        seen.append(state(work))

    monkeypatch.setitem(execute.__globals__, "_run_stage", watched)
    return seen


def test_averages_are_made_of_what_the_named_stages_left(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = averaging(
        bench.plan("lpft:1", *CHANGES),
        {"of": ("head", "tune"), "rule": "interpolation", "options": {"share": 0.25}},
        {"of": ("head",)},
        {"of": ("tune",)},
        {"of": ("initial", "head", "tune", "average 0")},
        {"of": ("head", "tune"), "rule": "interpolation", "options": {"grid": [0, 0.5, 1]}},
    )
    seen = watch(monkeypatch)
    work = bench.open(plan)
    execute(work)
    head, tuned, quarter, back, forth, mean, chosen = seen
    moved = {name for name in head if not torch.equal(head[name], tuned[name])}
    assert {name.partition(".")[0] for name in moved} == {"trunk", "heads"}
    for name, value in quarter.items():
        torch.testing.assert_close(value, 0.75 * head[name] + 0.25 * tuned[name] if name in moved else value)
    assert hash_tensors(back) == hash_tensors(head)
    assert hash_tensors(forth) == hash_tensors(tuned)
    for name in moved:
        torch.testing.assert_close(mean[name], (2 * head[name] + tuned[name] + quarter[name]) / 4)
    line = work.history.lines[-1]
    ends = [one for one in work.history.lines if one["kind"] == "average"]
    assert line["scores"][0] == pytest.approx(ends[1]["validation"]["loss"])
    assert line["scores"][2] == pytest.approx(ends[2]["validation"]["loss"])
    assert line["validation"]["loss"] == pytest.approx(min(line["scores"]))
    best = {0: head, 1: tuned}.get(line["chosen"])
    assert best is None or hash_tensors(chosen) == hash_tensors(best)
    assert set(line["metrics"]) == set(line["validation"]) - {"loss", "calibrated loss"}


def test_it_resumes_to_the_bit_with_only_what_differs_in_the_checkpoint(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = averaging(
        bench.plan("lpft:1", *CHANGES),
        {"of": ("head", "tune"), "rule": "interpolation"},
        {"of": ("average 0", "initial")},
    )
    whole = bench.open(plan)
    execute(whole)
    stop(bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0), 2, monkeypatch)
    kept = [path.name for path in sorted((tmp_path / "checkpoints").glob("0*/left.*"))]
    assert "left.0.safetensors" in kept
    newest = sorted((tmp_path / "checkpoints").glob("0*"))[-1]
    model = sum(tensor.nbytes for tensor in whole.models["student"].state_dict().values())
    assert sum(path.stat().st_size for path in newest.glob("left.*")) < 0.05 * model
    resumed = bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    assert weights(resumed) == weights(whole)
    assert bare_lines(resumed.history.lines) == bare_lines(whole.history.lines)


def test_statistics_of_batch_norm_are_those_of_the_averaged_weights(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = averaging(
        bench.plan("full", *CHANGES, "stop.steps=2", "streams.target.views=0"),
        {"of": ("initial", "tune"), "rule": "interpolation", "options": {"share": 0.5}},
        {"of": ("tune",)},
        {
            "of": ("initial", "tune"),
            "rule": "interpolation",
            "options": {"share": 0.5, "norm_statistics": "average"},
        },
    )
    seen = watch(monkeypatch)
    work = bench.open(plan)
    linked = state(work)
    execute(work)
    tuned, half, back, plain = seen
    assert hash_tensors(back) == hash_tensors(tuned)
    assert torch.equal(half["heads.output_label.weight"], tuned["heads.output_label.weight"])
    name = "trunk.network._bn0.running_mean"
    torch.testing.assert_close(plain[name], (linked[name] + tuned[name]) / 2)
    assert not torch.allclose(half[name], plain[name], rtol=1e-3)
    model = work.models["student"]
    model.load_state_dict(half)
    inside: list[Tensor] = []
    layer = model.get_submodule("trunk.network._bn0")
    hook = layer.register_forward_pre_hook(lambda _, given: inside.append(given[0].mean((0, 2, 3))))
    with torch.no_grad():
        model.trunk(work.inputs.batch(work.draw.train))
    hook.remove()
    assert len(work.draw.train) <= 64, "one batch"
    torch.testing.assert_close(inside[0], half[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"of": ("tune",), "rule": "blend"}, "no average is called 'blend'"),
        ({"of": ("tune",), "options": {"norm_statistics": "guess"}}, "there are auto, recompute, average"),
        ({"of": ("tune",), "rule": "interpolation"}, "lies between 2 stages"),
    ],
)
def test_what_cannot_be_averaged_is_refused_before_anything_runs(
    bench: Bench, stage: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        check_plan(averaging(bench.plan("full"), stage))
