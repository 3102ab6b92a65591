"""Facts of every kind of source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from regraft.choosing.prior import PRETRAINING, Facts, facts_of
from regraft.choosing.prior.families import family_of
from regraft.choosing.prior.finding import known_facts, pretraining_of
from regraft.core.errors import BundleError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources import Source, find


def block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(8, 4, 1))


def test_published_figures_are_those_of_the_native_size() -> None:
    facts = facts_of(find("packaged:efficientnet-lite2", size=64))
    assert facts == Facts("imagenet-1k", 77.6, 6_090_000, 0.89e9, 260, "efficientnet")


def test_a_text_source() -> None:
    facts = facts_of(find("packaged:minilm"))
    assert facts == Facts("text", None, 22_700_000, None, None, "minilm")


def test_a_network_of_ones_own_is_counted_by_hand() -> None:
    source = Source.from_module(block(), ImagePreprocessing(size=(10, 10)))
    count = 10 * 10 * (3 * 8 * 9 + 8 * 4)
    assert facts_of(source) == Facts("unknown", None, 3 * 8 * 9 + 8 * 4 + 4, count, 10, "convolutional")
    fresh = Source.from_builder(block, ImagePreprocessing(size=(10, 10)))
    assert facts_of(fresh).pretraining == "none"


def test_classes_of_imagenet_and_joined_sources() -> None:
    named = Source.from_module(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000)),
        ImagePreprocessing(size=(8, 8)),
        head="2",
        classes=[str(i) for i in range(1000)],
    )
    assert facts_of(named).pretraining == "imagenet-1k"
    joined = facts_of(find("packaged:efficientnet-lite0+packaged:efficientnet-lite1"))
    assert (joined.top1, joined.parameters, joined.macs) == (76.7, 10_070_000, pytest.approx(1.04e9))


def test_a_finished_run_has_what_it_grew_on(image_run: Path, tmp_path: Path) -> None:
    run = find(f"bundle:{image_run}")
    facts = facts_of(run)
    assert (facts.pretraining, facts.top1, facts.family) == ("fine-tuned", 75.1, "efficientnet")
    assert run.weights is not None
    moved = replace(run, weights=replace(run.weights, files=(tmp_path / "model.safetensors",)))
    (tmp_path / "run.json").write_text(
        '{"strategy": "scratch", "source": {"name": "small:image", "sha256": ""}}'
    )
    assert (facts_of(moved).pretraining, facts_of(moved).top1) == ("small set", None)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(BundleError, match=r"run\.json is damaged"):
        facts_of(moved)


def test_a_name_without_a_tag_is_the_default_weights() -> None:
    default, tagged = known_facts("timm:resnet50"), known_facts("timm:resnet50.tv_in1k")
    assert default == known_facts("timm:resnet50.a1_in1k")
    assert default is not None
    assert tagged is not None
    assert (default.top1, tagged.top1, tagged.family) == (80.382, 76.156, "resnet")
    assert known_facts("HF:Google/vit-base-patch16-224-in21k") is not None
    assert known_facts("timm:no_such_net") is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit_base_patch16_224.augreg_in21k_ft_in1k", "imagenet-21k, then 1k"),
        ("microsoft/swin-base-patch4-window7-224-in22k", "imagenet-21k"),
        ("facebook/convnext-base-224-22k-1k", "imagenet-21k, then 1k"),
        ("resnet50.a1_in1k", "imagenet-1k"),
        ("vit_base_patch16_224.mae", "self-supervised"),
        ("nielsr/swin-tiny-patch4-window7-224-finetuned-eurosat", "fine-tuned"),
        ("my-net", "unknown"),
    ],
)
def test_pretraining_is_read_off_names(name: str, said: str) -> None:
    assert pretraining_of(name) == said


def test_families_are_read_off_names() -> None:
    names = [
        "wide_resnet50_2",
        "tf_efficientnet_lite0",
        "mnasnet1_0",
        "advance",
        "vit_b_16",
        "mobilevit_s",
        "gvi",
    ]
    assert [family_of(name) for name in names] == [
        *("resnet", "efficientnet", "mobilenet", "", "vit", "mobilevit", ""),
    ]


def test_facts_are_plain_values() -> None:
    facts = Facts("imagenet-1k", 76.1, 25_000_000, 4.1e9, 224, "resnet")
    assert Facts.from_json(facts.to_json()) == facts
    assert Facts() == Facts("unknown", None, 0, None, None, "")
    with pytest.raises(ValueError, match=r"pretraining is one of imagenet-1k, .*; got 'imagenet'"):
        Facts("imagenet")
    with pytest.raises(ValueError, match="not negative"):
        Facts("text", top1=-1.0)
    assert "unknown" not in PRETRAINING
