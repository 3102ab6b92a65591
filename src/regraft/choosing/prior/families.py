"""Families of networks, read off their names."""

from __future__ import annotations

import re

# The first pattern that is found wins, so that what contains another name stands before it.
_PATTERNS = (
    ("efficientnet", r"efficientnet"),
    ("mobilevit", r"mobilevit"),
    ("efficientformer", r"efficientformer|efficientvit"),
    ("mobilenet", r"mobilenet|fbnet|mnasnet|lcnet|tinynet|spnasnet|hardcorenas|ghostnet"),
    ("nasnet", r"nasnet"),
    ("repvgg", r"repvgg|mobileone"),
    ("regnet", r"regnet"),
    ("convnext", r"convnext"),
    ("van", r"(?<![a-z])van(?![a-z])"),
    ("resnet", r"resnet|resnext|resnest|seresne|wide_?resnet|(?<![a-z])bit_"),
    ("densenet", r"densenet"),
    ("inception", r"inception|googlenet|xception"),
    ("vgg", r"vgg"),
    ("alexnet", r"alexnet"),
    ("squeezenet", r"squeezenet"),
    ("shufflenet", r"shufflenet"),
    ("dla", r"(?<![a-z])dla"),
    ("hrnet", r"hrnet"),
    ("nfnet", r"nfnet"),
    ("swin", r"swin"),
    ("maxvit", r"maxvit|coatnet|maxxvit"),
    ("convit", r"convit"),
    ("levit", r"levit"),
    ("pvt", r"pvt|segformer|(?<![a-z])mit-b"),
    ("poolformer", r"poolformer|caformer|convformer"),
    ("mixer", r"mixer|resmlp|gmlp"),
    ("deit", r"deit"),
    ("beit", r"beit|data2vec|(?<![a-z])eva|(?<![a-z])dit[-_]"),
    ("perceiver", r"perceiver"),
    ("cait", r"(?<![a-z])cait|xcit|crossvit|coat_"),
    ("vit", r"(?<![a-z])vit(?![a-z])|(?<=[a-z])vit(?![a-z])|vision.?transformer|dinov"),
    ("minilm", r"minilm"),
    ("roberta", r"roberta"),
    ("bert", r"bert|electra|mpnet|(?<![a-z])bge|(?<![a-z])gte"),
    ("gpt", r"(?<![a-z])(gpt|llama|mistral|qwen)-?[0-9]"),
    ("t5", r"(?<![a-z])t5"),
)


def family_of(name: str) -> str:
    """The family that a model's name belongs to, ``resnet`` of ``wide_resnet50_2``; else empty."""
    lower = name.lower()
    return next((family for family, pattern in _PATTERNS if re.search(pattern, lower)), "")
