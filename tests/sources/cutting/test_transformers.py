"""Architectures of the transformers library, small and with random weights, cut by their graphs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as hf

from regraft.sources import Trunk
from regraft.sources.transformer import as_trunk, pooler_arguments

TEXT: dict[str, Any] = {"vocab_size": 60}
LAYERS = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}


def build(kind: Any, config: Any, pooling: str) -> Trunk:
    torch.manual_seed(0)
    network = kind._from_config(config, dtype=torch.float32, **pooler_arguments(kind, pooling))
    return as_trunk(network, pooling, 16)


@pytest.mark.parametrize(
    ("kind", "config", "blocks", "apart"),
    [
        ("DistilBert", {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 16}, 5, ()),
        ("GPT2", {"n_embd": 16, "n_layer": 3, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1}, 6, ()),
        ("Albert", {**LAYERS, "embedding_size": 8, "hidden_dropout_prob": 0.1}, 6, ()),
        ("MPNet", LAYERS, 5, ("relative_attention_bias.weight",)),
        ("DebertaV2", {**LAYERS, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, 5, ()),
        ("Electra", {**LAYERS, "embedding_size": 8}, 5, ()),
        ("RoFormer", {**LAYERS, "embedding_size": 16}, 5, ()),
        ("OPT", {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "ffn_dim": 16,
                 "word_embed_proj_dim": 16, "max_position_embeddings": 32}, 5, ()),
        ("MobileBert", {**LAYERS, "embedding_size": 16, "intra_bottleneck_size": 16}, 5, ()),
    ],
)  # fmt: skip
def test_texts(
    kind: str, config: dict[str, Any], blocks: int, apart: tuple[str, ...], cutting: SimpleNamespace
) -> None:
    trunk = build(getattr(hf, f"{kind}Model"), getattr(hf, f"{kind}Config")(**TEXT, **config), "mean")
    cutting.check(trunk, cutting.text_steps(), apart=apart)
    assert len(trunk.blocks) >= blocks
    assert "tokens" in trunk.outputs
    assert trunk.block_names[-1] == "pool"


@pytest.mark.parametrize(
    ("kind", "config", "blocks"),
    [
        ("Swin", {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2],
                  "window_size": 4}, 8),
        ("ConvNext", {"hidden_sizes": [8, 16], "depths": [2, 2], "num_stages": 2, "drop_path_rate": 0.2}, 7),
        ("RegNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2], "groups_width": 4}, 6),
        ("ResNet", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [2, 2],
                    "layer_type": "basic"}, 6),
        ("MobileNetV2", {"depth_multiplier": 0.1, "image_size": 32}, 10),
        ("Dinov2", {**LAYERS, "image_size": 32, "patch_size": 8, "drop_path_rate": 0.2}, 5),
        ("Beit", {**LAYERS, "image_size": 32, "patch_size": 8, "use_relative_position_bias": True}, 5),
    ],
)  # fmt: skip
def test_images(kind: str, config: dict[str, Any], blocks: int, cutting: SimpleNamespace) -> None:
    config = {key: value for key, value in config.items() if (kind, key) != ("Dinov2", "intermediate_size")}
    trunk = build(getattr(hf, f"{kind}Model"), getattr(hf, f"{kind}Config")(**config), "native")
    cutting.check(trunk, cutting.image_steps(32))
    assert len(trunk.blocks) >= blocks
