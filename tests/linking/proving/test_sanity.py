"""A checkpoint alone proves nothing; what its tensors show is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from regraft.core.errors import LinkError
from regraft.linking import Link, Proof, find_link
from regraft.linking.origin import Origin
from regraft.linking.proving.sanity import check_scales, check_tensors
from regraft.linking.whole import WholeBlueprint
from regraft.sources import find, read_weights

Tensors = dict[str, Tensor]
LinkFile = Callable[[Tensors], Link]


def build() -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (3, 8, 8, 8):
        layers += [nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def images(scale: float = 1.0) -> Tensor:
    return scale * torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def trained() -> Tensors:
    """A network whose batch-norm statistics are those of the images."""
    torch.manual_seed(0)
    model = build()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # an average over all batches
    with torch.no_grad():
        for _ in range(3):
            model(images())
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def link_file(tmp_path: Path) -> LinkFile:
    def make(tensors: Tensors) -> Link:
        path = tmp_path / "alone.safetensors"
        save_file(tensors, path)
        return find_link(Origin("alone", file=path), WholeBlueprint("target", build))

    return make


def test_a_sound_checkpoint_is_not_proven_either(trained: Tensors, link_file: LinkFile) -> None:
    proof = link_file(trained).verify(images())
    assert isinstance(proof, Proof)
    assert not proof.proven
    assert proof.statistics == ()
    assert proof.sentence.startswith("not proven: the source is a checkpoint without a network")
    assert "swapped values under right names cannot be seen from a checkpoint alone" in proof.sentence
    assert "its statistics look sound" in proof.sentence
    assert link_file(trained).fix(images()).fixes == ()


def test_swapped_norms_show_in_the_moments(trained: Tensors, link_file: LinkFile) -> None:
    """Statistics of the second norm at the first: what enters it does not fit them."""
    tensors = dict(trained)
    tensors["1.running_mean"] = trained["1.running_mean"] + 5
    proof = link_file(tensors).verify(images())
    assert not proof.proven
    assert proof.first_module == "1"
    assert proof.statistics[0].startswith("1: what enters it is ")
    assert "standard deviations off its running mean" in proof.statistics[0]
    assert link_file(trained).verify(images(20.0)).first_module == "1"


def test_without_given_inputs_moments_are_not_judged(trained: Tensors, link_file: LinkFile) -> None:
    proof = link_file({**trained, "1.running_mean": trained["1.running_mean"] + 5}).verify()
    assert proof.first_module == ""
    assert any("there were none" in note for note in proof.notes)


BROKEN = [
    ("4.running_var", -0.5, "4.running_var: a variance below zero"),
    ("6.weight", 0.25, "6.weight: every value is 0.25"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), BROKEN)
def test_broken_tensors_are_named(
    trained: Tensors, link_file: LinkFile, name: str, value: float, sentence: str
) -> None:
    proof = link_file({**trained, name: torch.full_like(trained[name], value)}).verify(images())
    assert sentence in proof.statistics
    assert sentence in proof.sentence


def test_values_that_are_no_numbers(trained: Tensors, link_file: LinkFile) -> None:
    broken = {**trained, "3.weight": torch.full_like(trained["3.weight"], float("nan"))}
    assert check_tensors(broken) == ["3.weight: holds values that are not finite"]
    proof = link_file(broken).verify(images())
    assert not proof.proven
    assert "3.weight of the source holds 576 values that are not finite" in proof.sentence


def test_a_layer_of_another_scale_is_named(trained: Tensors, link_file: LinkFile) -> None:
    proof = link_file({**trained, "6.weight": trained["6.weight"] * 1e4}).verify(images())
    assert any(one.startswith("6.weight: gain ") for one in proof.statistics)


def test_real_weights_look_sound() -> None:
    weights = read_weights(find("packaged:efficientnet-lite0"))
    assert check_tensors(weights) == []
    assert check_scales(weights) == []


def test_inputs_that_the_target_cannot_read(trained: Tensors, link_file: LinkFile) -> None:
    with pytest.raises(LinkError, match="the target cannot read the inputs"):
        link_file(trained).verify(torch.randn(2, 4, 16, 16))
