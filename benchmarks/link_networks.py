"""Small networks of `link_adversarial.py`: many layers of equal shape, so that a wrong link fits as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Sizes:
    """What a network is built with; ``order`` is that of q, k and v in a fused layer."""

    width: int = 16
    depth: int = 3
    classes: int = 10
    order: str = "qkv"
    eps: float = 1e-5
    activation: str = "relu"

    def but(self, **changes: Any) -> Sizes:
        """With some of them changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Architecture:
    """A kind of network.

    Attributes
    ----------
    heads
        Paths of its last layers, so that a test can take them away or silence them.
    fused
        Whether it has q, k and v in one layer.
    """

    name: str
    build: Callable[[Sizes], nn.Module]
    inputs: Callable[[torch.Generator], Any]
    head: str = "head"
    fused: bool = False


def _act(name: str) -> nn.Module:
    return {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}[name]()


class Plain(nn.Module):
    """Convolutions of one width, each with a batch norm."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.stem = nn.Conv2d(3, sizes.width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(sizes.width, eps=sizes.eps)
        self.convs = nn.ModuleList(
            nn.Conv2d(sizes.width, sizes.width, 3, padding=1) for _ in range(sizes.depth)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(sizes.width, eps=sizes.eps) for _ in range(sizes.depth))
        self.act = _act(sizes.activation)
        self.head = nn.Linear(sizes.width, sizes.classes)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.act(self.stem_norm(self.stem(pixels)))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            features = self.act(norm(conv(features)))
        return self.head(features.mean((2, 3)))


class Residual(nn.Module):
    """Two convolutions and a short cut."""

    def __init__(self, into: int, width: int, stride: int, sizes: Sizes):
        super().__init__()
        self.conv1 = nn.Conv2d(into, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width, eps=sizes.eps)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width, eps=sizes.eps)
        self.short = nn.Conv2d(into, width, 1, stride, bias=False) if stride > 1 else nn.Identity()
        self.act = _act(sizes.activation)

    def forward(self, given: Tensor) -> Tensor:
        hidden = self.act(self.norm1(self.conv1(given)))
        return self.act(self.norm2(self.conv2(hidden)) + self.short(given))


class ResNet(nn.Module):
    """Two stages of residual blocks."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width = sizes.width
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.stage1 = nn.Sequential(*[Residual(width, width, 1, sizes) for _ in range(sizes.depth - 1)])
        self.stage2 = nn.Sequential(
            Residual(width, 2 * width, 2, sizes),
            *[Residual(2 * width, 2 * width, 1, sizes) for _ in range(sizes.depth - 2)],
        )
        self.head = nn.Linear(2 * width, sizes.classes)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.stage2(self.stage1(self.stem(pixels))).mean((2, 3)))


class Inverted(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width, inner = sizes.width, 2 * sizes.width
        self.expand, self.norm1 = nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner, sizes.eps)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.norm2 = nn.BatchNorm2d(inner, sizes.eps)
        self.reduce, self.excite = nn.Conv2d(inner, width, 1), nn.Conv2d(width, inner, 1)
        self.project, self.norm3 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width, sizes.eps)
        self.act = _act(sizes.activation)

    def forward(self, given: Tensor) -> Tensor:
        hidden = self.act(self.norm1(self.expand(given)))
        hidden = self.act(self.norm2(self.depthwise(hidden)))
        gate = self.excite(self.act(self.reduce(hidden.mean((2, 3), keepdim=True)))).sigmoid()
        return given + self.norm3(self.project(hidden * gate))


class MobileNet(nn.Module):
    """Inverted residuals."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.stem = nn.Conv2d(3, sizes.width, 3, 2, padding=1)
        self.blocks = nn.ModuleList(Inverted(sizes) for _ in range(sizes.depth))
        self.head = nn.Linear(sizes.width, sizes.classes)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.stem(pixels)
        for block in self.blocks:
            features = block(features)
        return self.head(features.mean((2, 3)))


class Attending(nn.Module):
    """A pre-norm block with q, k and v in one layer, in the order that the sizes say."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width = sizes.width
        self.norm1, self.norm2 = nn.LayerNorm(width, sizes.eps), nn.LayerNorm(width, sizes.eps)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)
        self.act = _act(sizes.activation)
        self.order = sizes.order

    def forward(self, given: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(given)).chunk(3, -1)
        heads = [part.unflatten(-1, (4, -1)).transpose(1, 2) for part in parts]
        q, k, v = (heads[self.order.index(part)] for part in "qkv")
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        given = given + self.proj(mixed)
        return given + self.fc2(self.act(self.fc1(self.norm2(given))))


class Vision(nn.Module):
    """A vision transformer with a class token."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.patches = nn.Conv2d(3, sizes.width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.positions = nn.Parameter(torch.zeros(1, 17, sizes.width))
        self.blocks = nn.ModuleList(Attending(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, sizes.eps)
        self.head = nn.Linear(sizes.width, sizes.classes)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        features = torch.cat([self.token.expand(len(patches), -1, -1), patches], 1) + self.positions
        for block in self.blocks:
            features = block(features)
        return self.head(self.norm(features)[:, 0])


class Mixing(nn.Module):
    """Linear layers over places, then over channels; places and channels are equally many."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width, places = sizes.width, 16
        self.norm1, self.norm2 = nn.LayerNorm(width, sizes.eps), nn.LayerNorm(width, sizes.eps)
        self.across1, self.across2 = nn.Linear(places, places), nn.Linear(places, places)
        self.along1, self.along2 = nn.Linear(width, width), nn.Linear(width, width)
        self.act = _act(sizes.activation)

    def forward(self, given: Tensor) -> Tensor:
        turned = self.norm1(given).transpose(1, 2)
        given = given + self.across2(self.act(self.across1(turned))).transpose(1, 2)
        return given + self.along2(self.act(self.along1(self.norm2(given))))


class Mixer(nn.Module):
    """An MLP-mixer: nearly every matrix is a square of the same size."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.patches = nn.Conv2d(3, sizes.width, 4, 4)
        self.blocks = nn.ModuleList(Mixing(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, sizes.eps)
        self.head = nn.Linear(sizes.width, sizes.classes)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.patches(pixels).flatten(2).transpose(1, 2)
        for block in self.blocks:
            features = block(features)
        return self.head(self.norm(features).mean(1))


class UNet(nn.Module):
    """Down, up, and skips between equal sizes."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width = sizes.width
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, 2, padding=1) for _ in range(sizes.depth - 1))
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.up = nn.ModuleList(nn.Conv2d(2 * width, width, 3, padding=1) for _ in range(sizes.depth - 1))
        self.norms = nn.ModuleList(nn.GroupNorm(4, width, sizes.eps) for _ in range(sizes.depth - 1))
        self.act = _act(sizes.activation)
        self.head = nn.Conv2d(width, sizes.classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        features, skips = self.act(self.stem(pixels)), []
        for down in self.down:
            skips.append(features)
            features = self.act(down(features))
        features = self.act(self.middle(features))
        for up, norm in zip(self.up, self.norms, strict=True):
            skip = skips.pop()
            wide = functional.interpolate(features, size=skip.shape[2:])
            features = self.act(norm(up(torch.cat([wide, skip], 1))))
        return self.head(features)


class Dense(nn.Module):
    """Each layer reads everything before it."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width, growth = sizes.width, 8
        self.stem = nn.Conv2d(3, width, 3, 2, padding=1)
        wide = [width + growth * place for place in range(sizes.depth + 1)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(size, eps=sizes.eps) for size in wide[:-1])
        self.narrows = nn.ModuleList(nn.Conv2d(size, 16, 1, bias=False) for size in wide[:-1])
        self.inner = nn.ModuleList(nn.BatchNorm2d(16, eps=sizes.eps) for _ in wide[:-1])
        self.convs = nn.ModuleList(nn.Conv2d(16, growth, 3, padding=1, bias=False) for _ in wide[:-1])
        self.act = _act(sizes.activation)
        self.head = nn.Linear(wide[-1], sizes.classes)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.stem(pixels)
        for norm, narrow, inner, conv in zip(self.norms, self.narrows, self.inner, self.convs, strict=True):
            hidden = narrow(self.act(norm(features)))
            features = torch.cat([features, conv(self.act(inner(hidden)))], 1)
        return self.head(features.mean((2, 3)))


class Recurrent(nn.Module):
    """Embedded ids, an LSTM of several layers, classes."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.words = nn.Embedding(50, sizes.width)
        self.cells = nn.LSTM(sizes.width, sizes.width, sizes.depth, batch_first=True)
        self.norm = nn.LayerNorm(sizes.width, sizes.eps)
        self.head = nn.Linear(sizes.width, sizes.classes)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.cells(self.words(ids))[0][:, -1]))


class Classified(nn.Module):
    """A text network of transformers and a head of one's own."""

    def __init__(self, body: nn.Module, sizes: Sizes):
        super().__init__()
        self.body = body
        self.head = nn.Linear(sizes.width, sizes.classes)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.body(ids).last_hidden_state.mean(1))


def _bert(sizes: Sizes) -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=50,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.depth - 1,
        num_attention_heads=4,
        intermediate_size=sizes.width,
        max_position_embeddings=16,
        layer_norm_eps=sizes.eps,
        hidden_act=sizes.activation,
    )
    return Classified(BertModel(config, add_pooling_layer=False), sizes)


def _gpt2(sizes: Sizes) -> nn.Module:
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        vocab_size=50,
        n_embd=sizes.width,
        n_layer=sizes.depth - 1,
        n_head=4,
        n_inner=sizes.width,
        n_positions=16,
        layer_norm_epsilon=sizes.eps,
        activation_function=sizes.activation,
        bos_token_id=1,
        eos_token_id=1,
    )
    return Classified(GPT2Model(config), sizes)


def _images(generator: torch.Generator) -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=generator)


def _ids(generator: torch.Generator) -> Tensor:
    return torch.randint(2, 50, (4, 12), generator=generator)


ARCHITECTURES = (
    Architecture("cnn", Plain, _images),
    Architecture("resnet", ResNet, _images),
    Architecture("mobilenet", MobileNet, _images),
    Architecture("densenet", Dense, _images),
    Architecture("unet", UNet, _images),
    Architecture("vit", Vision, _images, fused=True),
    Architecture("mixer", Mixer, _images),
    Architecture("lstm", Recurrent, _ids),
    Architecture("bert", _bert, _ids),
    Architecture("gpt2", _gpt2, _ids),
)
