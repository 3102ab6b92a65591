"""Several data sets in one run: found again, changed data noticed, test examples left out aloud."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regraft as rg
from regraft.api.streams import find_streams, prepare_streams
from regraft.core.errors import BundleError, DataError, PlanError, ResumeError, UsageError
from regraft.plans import Plan, StreamSpec, TermSpec, TrainStage

SETTINGS = rg.Settings("cpu")


@pytest.fixture(scope="module")
def target(photos: Path) -> rg.Target:
    return rg.Target.from_images(photos)


@pytest.fixture(scope="module")
def link(target: rg.Target) -> rg.Link:
    return rg.link("packaged:efficientnet-lite0", target, size=32)


@pytest.fixture(scope="module")
def plan(link: rg.Link) -> Plan:
    """Two steps behind a frozen prefix that read labelled, other labelled and unlabelled pictures."""
    changes = ["stop.steps=2", "stop.epochs=null", "streams.target.batch=8"]
    written = rg.plan(link, "lpft:1", settings=changes)
    stages = tuple(_with_terms(stage) if isinstance(stage, TrainStage) else stage for stage in written.stages)
    others = {
        "elsewhere": StreamSpec(reads="source", batch=6),
        "rest": StreamSpec(reads="unlabelled", batch=5),
    }
    return written.model_copy(update={"stages": stages, "streams": {**written.streams, **others}})


def _with_terms(stage: TrainStage) -> TrainStage:
    more = (
        TermSpec(computes="supervised", streams=("elsewhere",), weight=0.5),
        TermSpec(computes="entropy", streams=("rest",), weight=0.1),
    )
    return stage.model_copy(update={"terms": (*stage.terms, *more)})


@pytest.fixture(scope="module")
def elsewhere(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of 12 of the photos turned around, of two of the three classes."""
    from PIL import Image

    root = tmp_path_factory.mktemp("elsewhere")
    for name in ("one", "two"):
        (root / name).mkdir()
        for path in sorted((photos / name).iterdir())[:6]:
            Image.open(path).transpose(Image.Transpose.ROTATE_180).save(root / name / path.name)
    return root


def test_a_run_over_three_data_sets(
    plan: Plan,
    target: rg.Target,
    photos: Path,
    elsewhere: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"elsewhere": elsewhere, "rest": str(photos)}
    run = rg.fit(plan, target, out=tmp_path / "run", streams=given, settings=SETTINGS)
    said = capsys.readouterr().err
    held = len(target.test) + len(target.draw(0).validation)
    assert f"{held} examples of the stream 'rest' are in the target's test or validation part" in said
    assert "stream 'elsewhere' are in" not in said
    facts = run.facts["streams"]
    assert (facts["elsewhere"]["examples"], facts["elsewhere"]["labelled"]) == (12, True)
    assert (facts["rest"]["examples"], facts["rest"]["labelled"]) == (60, False)
    assert run.facts["settings"]["precision"] == "float32"


def test_changed_data_are_noticed_when_a_run_goes_on(
    plan: Plan,
    target: rg.Target,
    photos: Path,
    elsewhere: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(elsewhere, mine)
    with monkeypatch.context() as patch:
        patch.setattr("regraft.api.fit.execute", lambda work: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rg.fit(
                plan,
                target,
                out=tmp_path / "run",
                streams={"elsewhere": mine, "rest": photos},
                settings=SETTINGS,
            )
    victim = next((mine / "one").iterdir())
    victim.unlink()
    with pytest.raises(ResumeError, match="data of the stream 'elsewhere' changed since the run began"):
        rg.resume(tmp_path / "run")
    mine.rename(tmp_path / "other")
    looked = rf"stream 'elsewhere' of .* \(a folder of images\) are looked for at {mine} .*: regraft resume"
    with pytest.raises(DataError, match=looked):
        rg.resume(tmp_path / "run")


def test_data_in_memory_are_handed_over_again_for_a_proof(
    link: rg.Link,
    target: rg.Target,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written = rg.plan(link, "lpft:1", settings=["stop.steps=1", "stop.epochs=null"])
    more = [TermSpec(computes="entropy", streams=(name,), weight=0.1) for name in ("rest", "same")]
    stages = tuple(
        stage.model_copy(update={"terms": (*stage.terms, *more)}) if isinstance(stage, TrainStage) else stage
        for stage in written.stages
    )
    others = {
        "rest": StreamSpec(reads="unlabelled", batch=4),
        "same": StreamSpec(reads="unlabelled", batch=4, data=str(photos)),
    }
    streams = {**written.streams, **others}
    plan = written.model_copy(update={"stages": stages, "streams": streams})
    pictures = list(np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8))
    run = rg.fit(plan, target, out=tmp_path / "run", streams={"rest": pictures}, settings=SETTINGS)
    with pytest.raises(ResumeError, match="rest lived in memory only: hand them over again"):
        rg.prove(run)
    with pytest.raises(BundleError, match=r"data of the stream 'rest' changed since the run began \(hash"):
        rg.prove(run, streams={"rest": [*pictures[1:], pictures[0] // 2]})
    seen = []

    def stop_here(arms: Any, draw: Any, **options: Any) -> None:
        seen.extend(arms[0].others["rest"].examples)
        for seed in (1, 2):
            arms[0]._open(arms[0].plans[0], draw(seed))
        raise KeyboardInterrupt

    monkeypatch.setattr("regraft.api.prove.run_trials", stop_here)
    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt):
        rg.prove(run, streams={"rest": pictures})
    assert len(seen) == 6
    assert capsys.readouterr().err.count("are left out of the stream.") == 1


def test_labels_are_those_of_the_runs_own_classes(link: rg.Link, plan: Plan, target: rg.Target) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    preprocessing = link.graft.source.preprocessing

    def prepared(labels: list[str]) -> np.ndarray:
        given = {"elsewhere": (pictures, np.array(labels)), "rest": [pictures[0], pictures[1]]}
        found = find_streams(plan, given)
        made = prepare_streams(found, plan, target.tasks, preprocessing, max_unreadable=0.0)
        assert made["rest"].labels is None
        assert len(made["rest"].examples) == 2
        labels_ = made["elsewhere"].labels
        assert labels_ is not None
        return next(iter(labels_.values()))

    classes = target.tasks[0].classes
    assert [classes[one] for one in prepared(["two", "one", "two", "one", "two", "one"])] == [
        "two",
        "one",
    ] * 3
    with pytest.raises(PlanError, match=r"'elsewhere' has other labels .* nine\. It knows one, two, zero"):
        prepared(["nine", "one", "nine", "one", "nine", "one"])


def test_data_have_to_be_there_and_to_belong_to_a_stream(plan: Plan) -> None:
    with pytest.raises(
        PlanError, match=r"'elsewhere' reads other data, and there are none: name them in the plan"
    ):
        find_streams(plan, {})
    with pytest.raises(UsageError, match=r"for the stream more, and .* are: elsewhere, rest"):
        find_streams(plan, {"more": "photos"})
