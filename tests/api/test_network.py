"""The target model's network may be another than the source's: one of the user's own with a block more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

import regraft as rg
from regraft.core.errors import LinkError, PlanError, UsageError
from regraft.core.files import read_json, write_json
from regraft.plans import change_plan, plan_from_yaml, plan_to_yaml
from tests.api.own_networks import build_four_channels, build_grown, build_old

OLD, GROWN = "tests.api.own_networks:build_old", "tests.api.own_networks:build_grown"
QUICK = rg.Settings("cpu", backend="eager")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old network, trained on digits for a moment."""
    digits = load_digits()
    pixels = torch.from_numpy(digits.images[200:600] / 16).float()[:, None].repeat(1, 3, 1, 1)
    labels = torch.from_numpy(digits.target[200:600])
    torch.manual_seed(0)
    network, head = build_old(), nn.Linear(16, 10)
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=3e-3)
    images = nn.functional.interpolate(pixels, size=24)
    for step in range(40):
        rows = torch.arange(step * 64, step * 64 + 64) % len(labels)
        loss = nn.functional.cross_entropy(head(network(images[rows]).mean((2, 3))), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    path = tmp_path_factory.mktemp("old") / "old.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def grown_run(checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> rg.Run:
    """An lpft run on the old weights in the grown network at 24 pixels. Not to be changed."""
    return rg.transfer(
        photos,
        out=tmp_path_factory.mktemp("runs") / "grown",
        source=f"file:{checkpoint}",
        network=GROWN,
        size=24,
        waivers=["added.*"],
        strategy="lpft:1",
        changes=["stop.epochs=2"],
        settings=QUICK,
    )


def test_weights_of_one_source_live_in_the_network_of_another(grown_run: rg.Run, checkpoint: Path) -> None:
    facts = read_json(grown_run.folder / "run.json")
    assert facts["source"]["name"] == f"file:{checkpoint}"
    assert facts["source"]["sha256"] == facts["hashes"]["weights"] != ""
    assert facts["source"]["parameters"] == sum(p.numel() for p in build_old().state_dict().values())
    assert facts["network"]["name"] == "user"
    assert facts["network"]["sha256"] == ""
    model = read_json(grown_run.folder / "model.json")
    assert model["builder"]["name"] == "user"
    assert model["preprocessing"]["size"] == [24, 24]
    assert model["source"] == f"file:{checkpoint}"
    (link,) = read_json(grown_run.folder / "link.json")["models"].values()
    carried = {row["target"] for row in link["rows"] if row["action"] != "fresh"}
    assert {"trunk.network.stem.0.weight", "trunk.network.second.back.bias"} <= carried
    assert not any("added" in name for name in carried)


def test_the_plan_says_whose_network_it_is_and_names_no_code(grown_run: rg.Run) -> None:
    student = grown_run.plan.models["student"]
    assert student.network == "user"
    assert student.network_options["preprocessing"]["size"] == [24, 24]
    assert "own_networks" not in (grown_run.folder / "plan.yaml").read_text()
    assert plan_from_yaml(plan_to_yaml(grown_run.plan)) == grown_run.plan


def test_lpft_trains_the_blocks_that_nothing_carries_over_to(grown_run: rg.Run) -> None:
    (tune,) = [stage for stage in grown_run.plan.stages if stage.kind == "train"]
    assert tune.trainable == ("added", "second", "head")
    assert tune.frozen_prefix == "first"


def test_a_probe_says_that_fresh_blocks_stay_as_they_are(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = rg.transfer(
        photos,
        out=tmp_path / "run",
        source=f"file:{checkpoint}",
        network=build_grown,
        size=24,
        waivers=["added.*"],
        settings=QUICK,
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "Nothing carries over to 1 of 4 blocks, in part or whole (added), and a probe" in said
    assert run.predict(sorted(photos.glob("*/*.png"))[:1])[0]["label"] in {"zero", "one", "two"}


def test_a_network_that_the_source_does_not_fill_has_to_be_excused(
    checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(LinkError, match=r"added\.out\.weight"):
        rg.transfer(photos, out=tmp_path / "run", source=f"file:{checkpoint}", network=GROWN, size=24)


def test_predicting_takes_the_networks_builder(grown_run: rg.Run, photos: Path) -> None:
    items = sorted(photos.glob("*/*.png"))[:4]
    with pytest.raises(UsageError, match="is a network of your own: hand its builder over again"):
        rg.Predictor.load(grown_run.folder)
    loaded = rg.Predictor.load(grown_run.folder, builder=GROWN)
    assert loaded.predict(items) == grown_run.predict(items)
    assert rg.evaluate(grown_run.folder, photos, builder=GROWN)["count"] == 60


def test_a_run_goes_on_with_its_networks_builder(grown_run: rg.Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(grown_run.folder, tmp_path / "run"))
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "status": "interrupted"})
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="hand its builder over"):
        rg.resume(folder)
    again = rg.resume(folder, builder=GROWN)
    assert again.status == "done"
    theirs, ours = (one / "model.safetensors" for one in (grown_run.folder, folder))
    assert theirs.read_bytes() == ours.read_bytes()


def test_the_scratch_arm_has_the_same_network(grown_run: rg.Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(grown_run.folder, tmp_path / "run"))
    evidence = rg.prove(folder, seeds=3, budget=None, scratch="same", builder=GROWN)
    names = [arm.name for arm in evidence.arms]
    assert names[0].startswith("lpft on file:")
    assert names[0].endswith("in the network user")
    assert "scratch, same network" in names
    counts = {arm.name: arm.trained_parameters for arm in evidence.arms}
    grown = sum(parameter.numel() for parameter in build_grown().parameters())
    assert counts["scratch, same network"] == grown + 3 * 16 + 3


def test_a_plan_file_is_carried_out_with_the_network_handed_over(grown_run: rg.Run, tmp_path: Path) -> None:
    plan, target = grown_run.folder / "plan.yaml", grown_run.facts["origin"]["path"]
    run = rg.transfer(target, out=tmp_path / "run", plan=plan, network=GROWN, settings=QUICK)
    assert run.metrics == grown_run.metrics


def test_a_source_made_by_hand_is_a_network_too(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    steps = rg.ImagePreprocessing(size=(24, 24), mean=(0.5,) * 3, std=(0.5,) * 3)
    network = rg.Source.from_builder(build_old, steps, name="mine")
    assert network.weights is None
    run = rg.transfer(
        photos, out=tmp_path / "run", source=f"file:{checkpoint}", network=network, settings=QUICK
    )
    assert read_json(run.folder / "run.json")["network"]["name"] == "mine"
    evidence = rg.prove(run, seeds=3, budget=None, scratch="same")  # it is smaller than the small one
    assert len(evidence.arms) == 3
    assert rg.Predictor.load(run.folder, builder=OLD).preprocessing == steps


def test_a_network_is_found_by_name(photos: Path, tmp_path: Path) -> None:
    source = rg.Source.from_module(build_old(), rg.ImagePreprocessing(size=(24, 24)))
    with pytest.raises(LinkError, match=r"0\.0% of the shared parameters carry over"):
        rg.transfer(photos, out=tmp_path / "run", source=source, network="small:image", size=24)


def test_a_named_network_is_in_the_plan_and_needs_no_builder(photos: Path, tmp_path: Path) -> None:
    source = rg.Source.find("packaged:efficientnet-lite0", size=32)
    run = rg.transfer(
        photos, out=tmp_path / "run", source=source, network=source.name, size=40, settings=QUICK
    )
    student = run.plan.models["student"]
    assert (student.network, student.network_options) == (source.name, {"size": 40})
    assert student.options == {"size": 32}
    assert read_json(run.folder / "model.json")["preprocessing"]["size"] == [40, 40]
    again = rg.transfer(photos, out=tmp_path / "again", plan=run.plan, settings=QUICK)
    assert again.metrics == run.metrics
    with pytest.raises(UsageError, match="the plan's network is packaged:efficientnet-lite0: leave network="):
        rg.fit(run.plan, photos, out=tmp_path / "third", network=GROWN)


def test_what_a_call_has_wrong_is_said(checkpoint: Path, grown_run: rg.Run, tmp_path: Path) -> None:
    target, plan = grown_run.facts["origin"]["path"], grown_run.plan
    network = rg.Source.from_builder(build_old, rg.ImagePreprocessing(size=(24, 24)))
    with pytest.raises(UsageError, match="user is open already; open it with size=32 instead"):
        rg.transfer(target, out=tmp_path / "run", source=f"file:{checkpoint}", network=network, size=32)
    named = change_plan(plan, ["models.student.network_options.builder=os:getcwd"])
    with pytest.raises(PlanError, match="names a builder; hand it over with --builder instead"):
        rg.fit(named, target, out=tmp_path / "run", builder=GROWN)
    strange = change_plan(plan, ["models.student.network_options.colour=red"])
    with pytest.raises(PlanError, match="has no colour; it may have head, preprocessing, size"):
        rg.fit(strange, target, out=tmp_path / "run", builder=GROWN)
    same = rg.plan(rg.link("packaged:efficientnet-lite0", target, size=32))
    with pytest.raises(UsageError, match="has its source's own network"):
        rg.fit(same, target, out=tmp_path / "run", network=GROWN)


def test_a_network_takes_as_many_channels_as_its_first_convolution(checkpoint: Path) -> None:
    from regraft.sources import find_weights, own_network

    network = own_network(build_four_channels, find_weights(f"file:{checkpoint}"), size=24)
    assert network.preprocessing == rg.ImagePreprocessing(size=(24, 24)).with_channels(4)
    assert json.loads(json.dumps(network.preprocessing.to_json()))["mean"][3] == 0.5


def test_a_network_of_four_channels_reads_alpha_all_the_way(photos: Path, tmp_path: Path) -> None:
    for path in photos.glob("*/*.png"):
        alpha = np.asarray(Image.open(path).convert("L"))
        folder = tmp_path / "clear" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.dstack([np.zeros((32, 32, 3), np.uint8), alpha])).save(folder / path.name)
    steps = rg.ImagePreprocessing.for_channels(4, size=(24, 24))
    torch.manual_seed(0)
    source = rg.Source.from_module(build_four_channels(), steps)
    run = rg.transfer(tmp_path / "clear", out=tmp_path / "run", source=source, settings=QUICK)
    assert run.metrics["outputs"]["label"]["metrics"]["accuracy"]["value"] > 0.5, (
        "only alpha tells classes apart"
    )
    evidence = rg.prove(run, seeds=3, budget=None, scratch="small")
    assert evidence.arms[2].kind == "scratch"
    loaded = rg.Predictor.load(run.folder, builder="tests.api.own_networks:build_four_channels")
    items = sorted((tmp_path / "clear").glob("*/*.png"))[:3]
    assert loaded.predict(items) == run.predict(items)


def test_a_network_that_cannot_read_what_it_is_given_says_so() -> None:
    with pytest.raises(
        rg.SourceError, match=r"cannot run on what its preprocessing gives \(pixels \(1, 3, 24"
    ):
        rg.Source.from_builder(build_four_channels, rg.ImagePreprocessing(size=(24, 24)))


def test_a_chain_of_runs_grows_on(grown_run: rg.Run, photos: Path, tmp_path: Path) -> None:
    run = rg.transfer(
        photos,
        out=tmp_path / "run",
        source=f"bundle:{grown_run.folder}",
        builder=GROWN,
        settings=QUICK,
    )
    assert np.isfinite(run.metrics["outputs"]["label"]["metrics"]["accuracy"]["value"])
