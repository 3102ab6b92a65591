"""Streams whose labels have heads of their own: trained with the target's, and nowhere else to be seen."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from regraft.core.errors import PlanError
from regraft.core.randomness import torch_randomness
from regraft.core.task_spec import TaskSpec
from regraft.engine import Workspace, execute
from regraft.engine.bundle import write_model
from regraft.engine.open import headed_tasks
from regraft.engine.stream_data import StreamData
from regraft.engine.train_stage import TrainStageRun
from regraft.inference.predictor import Predictor
from regraft.linking import Grafted
from regraft.plans import Plan, StreamSpec
from regraft.tasks import make_task
from regraft.terms.solvers.ridge import solve_ridge
from tests.engine.conftest import Bench
from tests.engine.test_combining import CHANGES, STEPS
from tests.engine.test_resume import assert_resumes


def source_data(bench: Bench) -> StreamData:
    """Half of the target's pictures, labelled by what is asked of no other output: round or not."""
    inputs, target = bench.prepared.inputs, bench.target
    labels = (np.asarray(target._labels["label"]) == 0).astype(np.int64)
    labels[target.pool[4]] = -1
    task = make_task(TaskSpec("source.round", "binary", ("no", "yes")))
    hashes, chosen = target.examples.hashes, target.pool[::2]
    return StreamData(
        "source", inputs, hashes, {"source.round": labels}, "hash", chosen, {"source.round": task}
    )


def open_joint(bench: Bench, plan: Plan, **given: object) -> Workspace:
    return bench.open(plan, others={"source": source_data(bench)}, **given)  # type: ignore[arg-type]


def logits(model: Grafted, run: TrainStageRun, examples: np.ndarray, head: str) -> Tensor:
    pixels = run.work.inputs.batch(examples)["pixels"]
    return model.heads[head](model.trunk({"pixels": pixels}))


def test_joint_against_a_loop_by_hand(bench: Bench) -> None:
    plan = bench.plan(
        "joint:0.5", *CHANGES, "streams.source.batch=5", "stages.tune.trainable=[blocks.15, head]"
    )
    run, other = (TrainStageRun(plan.stages[-1], open_joint(bench, plan), None) for _ in range(2))  # type: ignore[arg-type]
    run.freeze.set_modes(run.model)
    other.freeze.set_modes(other.model)
    model, data = other.model, source_data(bench)
    trained = [p for name, p in model.named_parameters() if name in run.freeze.trainable]
    source, target = run.objective.streams["source"], run.objective.streams["target"]
    assert run.leading is source
    assert set(source.examples) <= set(data.examples) - set(run.work.draw.validation)
    for step in range(STEPS):
        first, second = source.at(step), target.at(step)
        assert len(first) == 5
        assert data.labels is not None
        wanted = torch.from_numpy(data.labels["source.round"][first])
        with torch_randomness(0, "step", step):
            loss = functional.cross_entropy(
                logits(model, other, first, "output_source_round"), wanted, ignore_index=-1
            )
            labels = torch.from_numpy(run.work.target.labels(second)["label"])
            loss = loss + 0.5 * functional.cross_entropy(logits(model, other, second, "output_label"), labels)
        gradient = torch.autograd.grad(loss, trained)
        norm = torch.cat([g.flatten() for g in gradient]).norm()
        with torch.no_grad():
            for parameter, own in zip(trained, gradient, strict=True):
                parameter -= 0.01 * min(1.0, 1.0 / (float(norm) + 1e-6)) * own
        assert run._step() == pytest.approx(loss.item(), abs=1e-6)
        run.standing.step += 1
    assert run.model.heads["output_source_round"].weight.abs().sum() > 0


def test_without_weight_the_source_changes_nothing(bench: Bench) -> None:
    """The special case of joint training: what the target's examples alone give, to the bit."""
    changes = ("tune.stop={epochs: 2}", "streams.target.batch=16")
    changes = tuple(f"stages.{one}" if one.startswith("tune") else one for one in changes)
    alone = bench.open(bench.plan("lpft:1", *changes))
    execute(alone)
    plan = bench.plan("joint", "stages.tune.trainable=[blocks.15, head]", *changes)
    stage = bench.plan("lpft:1", *changes).stages[-1]
    terms = plan.stages[-1].terms  # type: ignore[union-attr]
    both = (terms[1], terms[0].model_copy(update={"weight": 0.0}))
    plan = plan.model_copy(update={"stages": (plan.stages[1], stage.model_copy(update={"terms": both}))})
    joint = open_joint(bench, plan)
    execute(joint)
    lines = [
        [line["validation"] for line in work.history.lines if line["kind"] == "train"]
        for work in (alone, joint)
    ]
    assert lines[0] == lines[1]
    logits = [work.logits(bench.target.test)["label"] for work in (alone, joint)]
    assert np.array_equal(*logits)


def test_they_resume_to_the_bit_and_leave_no_trace_in_the_bundle(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan("joint:learned", "stages.tune.stop={steps: 6, keep: last}", "streams.source.batch=16")
    whole = assert_resumes(partial(open_joint, bench, plan), tmp_path, after=3, monkeypatch=monkeypatch)
    line = whole.history.lines[-1]
    assert set(line["weights"]) == {"supervised", "supervised 2"}
    assert 0 < line["weights"]["supervised"] != line["weights"]["supervised 2"] == 1.0
    assert set(line["validation"]) == {"loss", "calibrated loss", "accuracy"}

    model = whole.models["student"]
    assert model.heads["output_source_round"].weight.abs().sum() > 0
    write_model(tmp_path / "bundle", model, bench.source, whole.tasks)
    predictor = Predictor.load(tmp_path / "bundle")
    assert [task.spec.name for task in predictor.tasks] == ["label"]
    found = predictor.model.state_dict()
    assert set(model.state_dict()) - set(found) == {
        "heads.output_source_round.weight",
        "heads.output_source_round.bias",
    }
    assert all(torch.equal(found[name], model.state_dict()[name]) for name in found)


def test_heads_of_its_own_are_solved_on_the_streams_examples(bench: Bench) -> None:
    plan = bench.plan("joint")
    plan = plan.model_copy(update={"stages": plan.stages[:1]})
    work = open_joint(bench, plan)
    data, before = work.others["source"], work.models["student"].heads["output_label"].weight.clone()
    execute(work)
    assert data.labels is not None
    features = work.features("student", data.examples).numpy()  # the stream's inputs are the target's here
    task, labels = data.tasks["source.round"], data.labels["source.round"][data.examples]
    wanted = solve_ridge(features, labels, task).calibrated()
    head = work.models["student"].heads["output_source_round"]
    assert torch.equal(head.weight, torch.from_numpy(wanted.weight).float())
    assert head.weight.abs().max() > 0
    assert torch.equal(work.models["student"].heads["output_label"].weight, before)
    assert [line["output"] for line in work.history.lines] == ["source.round"]


def test_a_shared_head_is_solved_on_every_stream_that_is_named(bench: Bench) -> None:
    plan = bench.plan("joint:shared", "stages.head.streams=source,target")
    plan = plan.model_copy(update={"stages": plan.stages[:1]})
    found = source_data(bench)
    labels = {"label": np.asarray(bench.target._labels["label"])}
    data = StreamData("source", found.inputs, found.contents, labels, "hash", found.examples)
    work = bench.open(plan, others={"source": data})
    execute(work)
    rows = np.concatenate([work.others["source"].examples, work.draw.train])
    assert not set(rows) & set(work.draw.validation)
    features = work.features("student", rows).numpy()
    wanted = solve_ridge(features, labels["label"][rows], work.tasks["label"]).calibrated()
    head = work.models["student"].heads["output_label"]
    assert torch.allclose(head.weight, torch.from_numpy(wanted.weight).float(), atol=1e-6)


def test_what_a_solve_stage_cannot_read_is_refused(bench: Bench) -> None:
    unlabelled = bench.plan("joint", "streams.source.labelled=false", "stages.tune.terms=[]")
    plan = unlabelled.model_copy(update={"stages": unlabelled.stages[:1]})
    with pytest.raises(PlanError, match="on the stream 'source', which has no labels"):
        execute(open_joint(bench, plan))
    with pytest.raises(PlanError, match="makes examples of the stream source a head"):
        open_joint(bench, bench.plan("joint", "stages.source-head.solver=knn"))
    plan = bench.plan("joint", "stages.source-head.outputs=[label]")
    with pytest.raises(
        PlanError, match=r"solves the output label; its streams \(source\) have: source\.round"
    ):
        execute(open_joint(bench, plan))


def test_terms_look_at_the_outputs_of_their_stream(bench: Bench) -> None:
    plan = bench.plan("joint", "stages.tune.terms.0.outputs=[label]")
    with pytest.raises(PlanError, match=r"looks at the output label; the data have: source\.round"):
        open_joint(bench, plan)
    with pytest.raises(ValueError, match="heads of its own are for a stream of labelled other data"):
        StreamSpec(heads="own")


def test_a_stream_may_not_take_the_names_of_the_targets_outputs(bench: Bench) -> None:
    data = source_data(bench)
    with pytest.raises(PlanError, match=r"names that the target's have \(source\.round\): give the stream"):
        headed_tasks(bench.plan("joint:0.5"), data.tasks, {"source": data})
