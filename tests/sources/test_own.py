"""Networks of the user's own without weights, and sources that are opened for their tensors alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from regraft.core.errors import PlanError, UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources import (
    build_trunk,
    find,
    find_network,
    find_weights,
    from_builder,
    is_own,
    is_source_name,
    own_network,
    own_options,
    read_weights,
    reopen_own,
    takes_option,
)
from regraft.sources.source import Source

STEPS = ImagePreprocessing(size=(16, 16))


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3))


def words() -> nn.Embedding:
    return nn.Embedding(40000, 6)


class Stating(nn.Conv2d):
    """A network that says what it reads."""

    preprocessing = ImagePreprocessing.for_channels(2, size=(9, 9))

    def __init__(self) -> None:
        super().__init__(2, 5, 3)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    save_file(small().state_dict(), path)
    return path


def test_a_network_of_ones_own_has_no_weights_and_is_cut() -> None:
    source = from_builder(small, STEPS)
    assert (source.name, source.weights, source.builder.options["width"]) == ("user", None, 8)
    assert build_trunk(source).block_names == ("0", "1", "2", "pool")
    assert source.parameters == sum(parameter.numel() for parameter in small().parameters())
    assert source.same_network(from_builder(small, STEPS))
    assert not source.same_network(from_builder(small, STEPS.resized(24)))
    assert not source.same_network(from_builder(lambda: small(), STEPS))


def test_what_a_plan_says_of_it_opens_it_again() -> None:
    like = Source.from_module(small(), ImagePreprocessing())
    network = from_builder(small, STEPS, head="2")
    options = json.loads(json.dumps(own_options(network)))
    again = reopen_own(small, options, like)
    assert again == network
    assert again.builder.options == {"head": "2", "width": 4}
    assert is_own(network)
    with pytest.raises(PlanError, match="has no width; it may have head, preprocessing, size"):
        reopen_own(small, {"width": 3}, like)
    with pytest.raises(PlanError, match=r"network_options does not hold: .*'size'"):
        reopen_own(small, {"preprocessing": {"modality": "image"}}, like)
    assert reopen_own(small, {"size": 20}, like).preprocessing == ImagePreprocessing(size=(20, 20))


def test_a_text_network_borrows_the_sources_tokenizer() -> None:
    like = find("packaged:minilm")
    network = own_network(words, like)
    assert network.preprocessing == like.preprocessing
    assert reopen_own(words, own_options(network), like) == network
    image = Source.from_module(small(), STEPS)
    with pytest.raises(PlanError, match=r"tokenizer\.json is missing"):
        reopen_own(words, own_options(network), image)
    with pytest.raises(UsageError, match="size=32 is for images, and the source reads texts"):
        own_network(words, like, size=32)


def test_a_network_may_state_what_it_reads() -> None:
    like = Source.from_module(small(), STEPS)
    assert own_network(Stating, like).preprocessing == Stating.preprocessing
    with pytest.raises(UsageError, match="states its own preprocessing; leave size=32 out"):
        own_network(Stating, like, size=32)


def test_weights_alone_need_no_builder(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="say what builds it"):
        find(f"file:{checkpoint}")
    source = find_weights(f"file:{checkpoint}", head="2", classes=["a"] * 8)
    assert set(read_weights(source)) == set(small().state_dict())
    assert source.parameters == sum(tensor.numel() for tensor in small().state_dict().values())
    assert source.head == ("2.weight", "2.bias")
    with pytest.raises(UsageError, match="hand its builder over again"), torch.device("meta"):
        build_trunk(source)
    assert find_weights(f"file:{checkpoint}", builder=small).handed is small
    with pytest.raises(UsageError, match="has no option colour"):
        find_weights(f"file:{checkpoint}", colour="red")
    assert find_weights("packaged:efficientnet-lite0", size=32) == find(
        "packaged:efficientnet-lite0", size=32
    )


def test_names_of_sources_and_functions_are_told_apart(checkpoint: Path) -> None:
    names = ["timm:resnet18", str(checkpoint), "bundle:runs/x", "small:image"]
    assert all(is_source_name(name) for name in names)
    assert not is_source_name("mymodels:build")
    assert takes_option("file:anything", "builder")
    assert not takes_option("small:image", "builder")
    assert find_network("small:image", size=32).name == "small:image"
