"""Heads that are not linear live in checkpoints and bundles; a temperature is written into the head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from regraft.core.errors import PlanError
from regraft.core.files import read_json
from regraft.engine import check_plan, execute, write_model
from regraft.inference.export import export_safetensors
from regraft.inference.predictor import Predictor
from regraft.plans import Plan, SolveStage
from regraft.sources import find
from regraft.tasks.neighbours import NeighbourHead
from tests.engine.conftest import Bench
from tests.engine.test_resume import bare_lines, stop, weights


def followed(plan: Plan, *solvers: str, **changes: object) -> Plan:
    """The plan with solve stages behind its own, and its first stage changed."""
    first = plan.stages[0].model_copy(update=changes)
    more = [SolveStage(name=solver, solver=solver) for solver in solvers]
    stages = (first, *plan.stages[1:], *more)
    return Plan.model_validate(plan.model_copy(update={"stages": stages}).model_dump(mode="json"))


def test_neighbours_are_kept_in_the_bundle_and_found_there(bench: Bench, tmp_path: Path) -> None:
    work = bench.open(bench.plan("probe:knn"))
    execute(work)
    head = work.models["student"].heads["output_label"]
    assert isinstance(head, NeighbourHead)
    assert head.spec.examples == len(work.draw.train) + len(work.draw.validation)
    assert head.spec.neighbours == work.history.lines[0]["chosen"]
    assert work.trained_parameters == 0
    before = work.logits(work.target.test)["label"]
    truth = np.asarray([name.split("/")[0] for name in bench.target.examples.names])[work.target.test]
    classes = np.asarray(bench.target.tasks[0].classes)
    assert (classes[before.argmax(1)] == truth).mean() > 0.6
    write_model(tmp_path, work.models["student"], bench.source, work.tasks)
    assert read_json(tmp_path / "model.json")["heads"]["label"]["kind"] == "neighbours"
    predictor = Predictor.load(tmp_path)
    found = predictor.logits_of(work.inputs, work.target.test)["label"]
    np.testing.assert_allclose(found, before, rtol=1e-4, atol=1e-4)
    assert find(f"bundle:{tmp_path}").heads == (), "no linear head that could be taken over"
    made = export_safetensors(predictor, tmp_path / "plain.safetensors")
    with safe_open(made["file"], framework="pt") as file:
        assert "heads.output_label.examples" in set(file.keys())
        assert '"neighbours"' in file.metadata()["heads"]


def test_a_run_with_neighbours_resumes(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ("stop.epochs=1", "stop.keep=last", "streams.target.batch=24")
    plan = followed(bench.plan("lpft:1", *changes), "knn", "temperature")
    whole = bench.open(plan)
    execute(whole)
    stop(bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0), 2, monkeypatch)
    resumed = bench.open(plan, folder=tmp_path, checkpoint_seconds=0.0)
    execute(resumed)
    finished = bench.open(plan, folder=tmp_path)
    execute(finished)  # nothing is left to do: the head comes from the checkpoint
    for work in (resumed, finished):
        assert weights(work) == weights(whole)
        assert bare_lines(work.history.lines) == bare_lines(whole.history.lines)


def test_a_temperature_is_written_into_the_head(bench: Bench) -> None:
    plain, cooled = (
        bench.open(followed(bench.plan("probe"), *more, refit=False)) for more in ((), ("temperature",))
    )
    execute(plain)
    execute(cooled)
    line = cooled.history.lines[-1]
    assert line["examples"] == len(cooled.draw.validation)
    one, other = (work.models["student"].heads["output_label"] for work in (plain, cooled))
    torch.testing.assert_close(other.weight * line["chosen"], one.weight)
    torch.testing.assert_close(other.bias * line["chosen"], one.bias)
    assert line["scores"][1] <= line["scores"][0] + 0.05  # one doubt among few examples costs a little


@pytest.mark.parametrize(
    ("strategy", "solvers", "message"),
    [
        ("probe", ("temperature",), "head.* fits its head to them once more: --set stages.head.refit=false"),
        ("probe", ("magic",), "no solver is called 'magic'; there are: centroid, knn, .*temperature"),
        ("lpft", ("knn", "centroid"), None),
    ],
)
def test_what_cannot_follow_is_refused(
    bench: Bench, strategy: str, solvers: tuple[str, ...], message: str | None
) -> None:
    plan = followed(bench.plan(strategy), *solvers)
    if message is None:
        check_plan(plan)
        return
    with pytest.raises(PlanError, match=message):
        check_plan(plan)


def test_heads_are_not_solved_on_the_examples_that_judge_them(bench: Bench) -> None:
    plan = bench.plan("lpft:1", "streams.target.part=all")
    with pytest.raises(
        PlanError, match=r"stage 'head' solves heads on the stream 'target', whose part is 'all'"
    ):
        check_plan(plan)


def test_neighbours_are_neither_trained_nor_averaged(bench: Bench) -> None:
    with pytest.raises(
        PlanError, match=r"'head' makes the examples themselves the head, .* put stage 'tune' in"
    ):
        check_plan(followed(bench.plan("lpft"), solver="knn"))
    with pytest.raises(PlanError, match="'ridge' has no option depth; it has: grid"):
        check_plan(followed(bench.plan("probe"), options={"depth": 3}))
