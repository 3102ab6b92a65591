"""MiniLM with its real weights, and small networks of other kinds written as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from regraft.core.errors import MissingPackageError, SourceError, UsageError
from regraft.core.preprocessing import TextPreprocessing
from regraft.sources import Source, build_trunk, example_batch, find, load_native, read_weights


def test_minilm_equals_the_library_to_the_bit(minilm: Source) -> None:
    assert minilm.weights is not None
    native = transformers.AutoModel.from_pretrained(minilm.weights.files[0].parent).eval()
    batch = dict(example_batch(minilm, count=3))
    with torch.no_grad():
        tokens = native(**batch).last_hidden_state
        kept = batch["attention_mask"].float()[..., None]
        mean = (tokens * kept).sum(1) / kept.sum(1)
        trunk = build_trunk(minilm).eval()
        loaded = trunk.network.load_state_dict(read_weights(minilm), strict=False)
        assert loaded.missing_keys == []
        assert torch.equal(trunk.output(batch, "tokens"), tokens)
        assert torch.equal(trunk(batch), mean)


def test_padding_does_not_change_features(minilm: Source) -> None:
    trunk = load_native(minilm)
    ids = torch.tensor([[101, 7592, 2088, 102, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        padded = trunk({"input_ids": ids, "attention_mask": mask})
        bare = trunk({"input_ids": ids[:, :4], "attention_mask": mask[:, :4]})
    assert torch.allclose(padded, bare, atol=1e-6)


def test_minilm_trunk(minilm: Source, exactness: SimpleNamespace) -> None:
    trunk, batch = load_native(minilm), example_batch(minilm)
    assert trunk.block_names == ("embeddings", *(f"layer.{i}" for i in range(6)), "pool")
    exactness.assert_cuts_are_exact(trunk, batch)
    exactness.assert_owned_once(trunk)
    exactness.assert_copies(trunk, batch)
    exactness.assert_gradients_flow(trunk, batch)
    exactness.assert_meta(minilm)


def test_minilm_says_what_it_is(minilm: Source) -> None:
    assert isinstance(minilm.preprocessing, TextPreprocessing)
    assert minilm.preprocessing.max_length == 256
    assert minilm.outputs == ("pooled", "tokens")
    json.dumps(minilm.builder.to_json())
    with pytest.raises(UsageError, match="reads text"):
        find("packaged:minilm", size=96)


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
    )
    torch.manual_seed(0)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    steps = {
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(steps))
    return tmp_path


def test_vit_folder(vit: Path, exactness: SimpleNamespace) -> None:
    source = find(f"hf:{vit}")
    trunk, batch = load_native(source), example_batch(source)
    native = transformers.AutoModel.from_pretrained(vit).eval()
    with torch.no_grad():
        assert torch.equal(trunk(batch), native(batch["pixels"]).last_hidden_state[:, 0])
    assert trunk.block_names == ("embeddings", "layers.0", "layers.1", "layernorm", "pool")
    assert source.preprocessing.interpolation == "bicubic"  # type: ignore[union-attr]
    assert not source.preprocessing.keep_aspect  # type: ignore[union-attr]
    exactness.assert_cuts_are_exact(trunk, batch)
    exactness.assert_owned_once(trunk)
    exactness.assert_meta(source)


def test_network_without_a_known_chain_is_cut_by_its_graph(
    tmp_path: Path, exactness: SimpleNamespace
) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    source = find(f"hf:{tmp_path}", size=32)
    trunk, batch = load_native(source), example_batch(source)
    native = transformers.AutoModel.from_pretrained(tmp_path).eval()
    assert trunk.block_names == ("embedder", "encoder.stages.0", "encoder.stages.1", "pool")
    with torch.no_grad():
        assert torch.equal(trunk(batch), native(batch["pixels"]).pooler_output.flatten(1))
    assert trunk.width == 16
    exactness.assert_owned_once(trunk)


def test_sharded_checkpoint(minilm: Source, tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    network = transformers.BertModel(config)
    network.save_pretrained(tmp_path, max_shard_size="8KB")
    assert isinstance(minilm.preprocessing, TextPreprocessing)
    (tmp_path / "tokenizer.json").write_bytes(minilm.preprocessing.tokenizer)
    source = find(f"hf:{tmp_path}")
    assert source.weights is not None
    assert len(source.weights.files) > 1
    tensors = read_weights(source)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())
    source.weights.files[0].unlink()
    with pytest.raises(SourceError, match="names shards that are not there: model-00001"):
        find(f"hf:{tmp_path}")


def test_folders_that_are_no_models(tmp_path: Path, vit: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SourceError, match="is no transformers model"):
        find(f"hf:{empty}")
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps({**config, "model_type": "mystery"}))
    with pytest.raises(SourceError, match=r"knows no model type 'mystery'. A model that brings"):
        find(f"hf:{vit}")


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from regraft.core import optional

    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"Run: pip install 'regraft\[text\]'"):
        find("packaged:minilm")
