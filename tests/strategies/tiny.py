"""Sources with random weights that run in milliseconds: a convolutional network and a transformer."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources import Source, find, from_module

SIZE = 16
CLASSES = tuple("abcdef")


class Residual(nn.Module):
    """Two convolutions beside the identity, the first one normalised."""

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.back = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(torch.relu(self.norm(self.out(x))))


def build_convolutional(width: int = 12) -> nn.Sequential:
    """A stem and three residual blocks, pooled, with a classifier of six classes."""
    stem = nn.Sequential(nn.Conv2d(3, width, 3, stride=2, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    blocks = {f"stages{number}": Residual(width) for number in range(3)}
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = nn.Linear(width, len(CLASSES))
    return nn.Sequential(OrderedDict(stem=stem, **blocks, mean=pool, classifier=classifier))


def convolutional(seed: int = 0, width: int = 12) -> Source:
    """The convolutional network with weights drawn by ``seed``; batch-norm statistics are not all alike."""
    torch.manual_seed(seed)
    module = build_convolutional(width)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    steps = ImagePreprocessing(size=(SIZE, SIZE), crop_fraction=1.0)
    return from_module(module, steps, name=f"tiny-{seed}", head="classifier", classes=CLASSES)


def transformer(folder: Path, texts: Sequence[str], seed: int = 0) -> Source:
    """A BERT of two layers without dropout, written to ``folder`` as its library does."""
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = sorted({word for text in texts for word in text.split()})[:200]
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 16}))
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return find(f"hf:{folder}")


class Recurrent(nn.Module):
    """The voice encoder of resemblyzer, made small and reading words: a stacked LSTM and a projection."""

    def __init__(self, words: int, width: int = 8):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, num_layers=3, batch_first=True)
        self.linear = nn.Linear(width, width)

    def forward(self, input_ids: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(self.words(input_ids))
        return torch.relu(self.linear(hidden[-1]))


def recurrent(bert: Source, seed: int = 0) -> Source:
    """The recurrent network, reading what the transformer reads."""
    torch.manual_seed(seed)
    words = bert.builder.options["config"]["vocab_size"]
    return from_module(Recurrent(words), bert.preprocessing, name=f"recurrent-{seed}")
