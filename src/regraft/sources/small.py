"""``small:image`` and ``small:text``: small networks without weights, for arms that have no source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regraft.core.errors import SourceError, UsageError
from regraft.core.inputs import Batch
from regraft.core.preprocessing import ImagePreprocessing, TextPreprocessing
from regraft.sources.source import BuilderSpec, Source
from regraft.sources.trunk import Block, Trunk

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTHS = (32, 64, 128, 256)


def find(rest: str, *, size: int = 64, like: str | Source | None = None) -> Source:
    """``small:image`` reads ``size`` pixels, normalised as the source ``like`` does.

    ``small:text`` reads the tokens of the source ``like`` (``packaged:minilm`` if not given).
    """
    if rest == "image":
        return _image(size, like)
    if rest == "text":
        return _text(like or "packaged:minilm")
    from regraft.sources.registry import unknown

    raise SourceError(unknown(f"small:{rest}"))


def _image(size: int, like: str | Source | None) -> Source:
    steps = _of(like).preprocessing if like is not None else ImagePreprocessing()
    if not isinstance(steps, ImagePreprocessing):
        raise UsageError(f"small:image cannot be like {_of(like).name if like else like}, which reads text")
    channels = {} if steps.channels == 3 else {"channels": steps.channels}
    builder = BuilderSpec("small-image", {"widths": list(_WIDTHS), **channels})
    return Source("small:image", builder, None, steps.resized(size))


def _text(like: str | Source) -> Source:
    from tokenizers import Tokenizer

    source = _of(like)
    steps = source.preprocessing
    if not isinstance(steps, TextPreprocessing):
        raise UsageError(f"small:text cannot be like {source.name}, which reads images")
    vocabulary = Tokenizer.from_str(steps.tokenizer.decode()).get_vocab_size()
    builder = BuilderSpec("small-text", {"vocabulary": vocabulary, "width": 128, "pad_id": steps.pad_id})
    return Source("small:text", builder, None, steps)


def _of(like: str | Source) -> Source:
    from regraft.sources.registry import find as find_source

    return find_source(like)


def build(
    *, widths: Sequence[int] = (), channels: int = 3, vocabulary: int = 0, width: int = 0, pad_id: int = 0
) -> Trunk:
    """The image network where ``widths`` are given, else the text network."""
    return build_image(widths, channels) if widths else build_text(vocabulary, width, pad_id)


def build_image(widths: Sequence[int], channels: int = 3) -> Trunk:
    """A stem and one residual stage for each width, each halving the size; then the mean over positions."""
    network = nn.Module()
    network.stem = _unit(channels, widths[0], stride=2)
    before = [widths[0], *widths[:-1]]
    network.stages = nn.ModuleList(_Stage(a, b) for a, b in zip(before, widths, strict=True))
    stages = [Block(f"stages.{i}", partial(_stage, i), (f"stages.{i}",)) for i in range(len(widths))]
    blocks = [Block("stem", _stem, ("stem",)), *stages, Block("pool", _pool)]
    return Trunk(network, blocks, widths[-1], passing={"map": stages[-1].name})


def build_text(vocabulary: int, width: int, pad_id: int) -> Trunk:
    """Token embeddings, their mean over the attention mask, and a perceptron."""
    network = nn.Module()
    network.embedding = nn.Embedding(vocabulary, width, padding_idx=pad_id)
    network.perceptron = nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
    )
    blocks = [Block("embedding", _embed, ("embedding",)), Block("perceptron", _perceptron, ("perceptron",))]
    return Trunk(network, blocks, width)


class _Stage(nn.Module):
    """Halve the size, then a residual unit: depthwise 3x3, pointwise out and back."""

    def __init__(self, before: int, width: int):
        super().__init__()
        self.reduce = _unit(before, width, stride=2)
        self.mix = _unit(width, width, groups=width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.project = nn.Conv2d(2 * width, width, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, before, H, W)`` to ``(B, width, H/2, W/2)``."""
        reduced: Tensor = self.reduce(pixels)
        mixed: Tensor = self.project(torch.relu(self.expand(self.mix(reduced))))
        return reduced + mixed


def _unit(before: int, width: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, width, 3, stride=stride, padding=1, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def _stem(network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.get_submodule("stem")(inputs["pixels"])
    return tensor


def _stage(index: int, network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.get_submodule(f"stages.{index}")(activation)
    return tensor


def _pool(network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    assert activation is not None
    return activation.mean((2, 3))


def _embed(network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    tokens: Tensor = network.get_submodule("embedding")(inputs["input_ids"])
    kept = inputs["attention_mask"].to(tokens.dtype)[..., None]
    return (tokens * kept).sum(1) / kept.sum(1).clamp(min=1)


def _perceptron(network: nn.Module, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.get_submodule("perceptron")(activation)
    return tensor
