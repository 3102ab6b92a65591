"""Networks of the transformers library as chains: build, read and load them natively."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.errors import SourceError
from regraft.core.inputs import Batch
from regraft.core.optional import require
from regraft.sources.source import Source
from regraft.sources.trunk import Block, Trunk

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regraft.sources.checkpoint import Checkpoint

PURPOSE = "Reading transformers models"
EXTRA = "regraft[hf]"
_BERT_LIKE = ("BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel")


def build(*, config: dict[str, Any], pooling: str, width: int) -> Trunk:
    """The network of this configuration without its pooler, in float32.

    ``pooling`` is ``mean`` (over the attention mask), ``cls`` (the first token) or ``native`` (the network's
    own pooled output, else the mean over positions); ``width`` is the number of features that come out.
    """
    import torch

    model = model_class(config)
    arguments = pooler_arguments(model, pooling)
    network = model._from_config(load_config(config), dtype=torch.float32, **arguments)
    return as_trunk(network, pooling, width)


def load_config(config: Mapping[str, Any]) -> Any:
    """A configuration object; the file names a model type and never code."""
    transformers = require("transformers", PURPOSE, EXTRA)
    fields = {
        name: value
        for name, value in config.items()
        if name not in ("model_type", "auto_map", "transformers_version")
    }
    model_type = config.get("model_type")
    try:
        return transformers.AutoConfig.for_model(model_type, **fields)
    except (ValueError, KeyError) as error:
        raise SourceError(
            f"the installed transformers knows no model type {model_type!r}. A model that brings its own "
            "code is not run; build it yourself and hand it over with regraft.from_module or file:PATH"
        ) from error


def model_class(config: Mapping[str, Any]) -> Any:
    """The class that AutoModel would build."""
    transformers = require("transformers", PURPOSE, EXTRA)
    loaded = load_config(config)
    try:
        model = transformers.MODEL_MAPPING[type(loaded)]
    except KeyError as error:
        raise SourceError(
            f"transformers has no AutoModel for the model type {config.get('model_type')!r}"
        ) from error
    return model[0] if isinstance(model, (list, tuple)) else model


def pooler_arguments(model: Any, pooling: str) -> dict[str, bool]:
    """Leaves the pooler out where it would not be used."""
    known = inspect.signature(model.__init__).parameters
    return {"add_pooling_layer": False} if pooling != "native" and "add_pooling_layer" in known else {}


def as_trunk(network: Any, pooling: str, width: int) -> Trunk:
    """The chain of a network: blocks where its forward pass is known, else found ones."""
    name = type(network).__name__
    pool = Block("pool", partial(_pool, pooling))
    if name in _BERT_LIKE and not network.config.is_decoder and pooling != "native":
        count = len(network.encoder.layer)
        layers = [Block(f"layer.{i}", partial(_bert_layer, i), (f"encoder.layer.{i}",)) for i in range(count)]
        blocks = [Block("embeddings", _bert_embeddings, ("embeddings",)), *layers, pool]
        return Trunk(network, blocks, width, passing={"tokens": layers[-1].name})
    if name == "ViTModel" and hasattr(network, "layers") and pooling != "native":
        layers = [
            Block(f"layers.{i}", partial(_vit_layer, i), (f"layers.{i}",)) for i in range(len(network.layers))
        ]
        norm = Block("layernorm", _vit_norm, ("layernorm",))
        blocks = [Block("embeddings", _vit_embeddings, ("embeddings",)), *layers, norm, pool]
        return Trunk(network, blocks, width, passing={"tokens": "layernorm"})
    return Trunk(network, partial(_whole, pooling), width)


def open_weights(source: Source) -> Checkpoint:
    """The checkpoint's tensors; names older than the installed library are translated by the library."""
    import torch

    from regraft.sources.checkpoint import open_checkpoint, open_tensors
    from regraft.sources.registry import build_trunk

    assert source.weights is not None
    opened = open_checkpoint(source.weights.files)
    with torch.device("meta"):
        names = set(build_trunk(source).network.state_dict())
    missing = [
        name for name in names if not any(found == name or found.endswith("." + name) for found in opened)
    ]
    folder = _folder(source)
    if not missing or folder is None:
        return opened
    network, absent = _from_pretrained(source, folder)
    return open_tensors({name: tensor for name, tensor in network.state_dict().items() if name not in absent})


def load_native(source: Source) -> Trunk | None:
    """The source as ``from_pretrained`` loads it; None where its folder is not one of transformers'."""
    folder = _folder(source)
    if folder is None:
        return None
    network, absent = _from_pretrained(source, folder)
    if absent:
        raise SourceError(f"{source.name}: its weights lack {', '.join(sorted(absent)[:10])}")
    options = source.builder.options
    return as_trunk(network, options["pooling"], options["width"])


def _folder(source: Source) -> Path | None:
    folder = source.weights.files[0].parent if source.weights and source.weights.files else None
    return folder if folder is not None and (folder / "config.json").is_file() else None


def _from_pretrained(source: Source, folder: Path) -> tuple[nn.Module, set[str]]:
    """The network as its library loads it, and the tensors that the library had to make up."""
    import torch

    model = model_class(source.builder.options["config"])
    arguments = pooler_arguments(model, source.builder.options["pooling"])
    with _quiet():
        network, report = model.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, **arguments
        )
    return network.eval(), set(report["missing_keys"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's bars and its report: a link has one of its own."""
    from transformers.utils import logging as library

    logging: Any = library

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _bert_embeddings(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.embeddings(input_ids=inputs["input_ids"])
    return tensor


def _bert_layer(index: int, network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.encoder.layer[index](activation, _mask(network, activation, inputs))
    return tensor


def _mask(network: Any, activation: Tensor | None, inputs: Batch) -> Any:
    """The library's own mask, made anew in each layer: cheap, and no cut has to carry it."""
    from transformers.masking_utils import create_bidirectional_mask

    assert activation is not None

    mask = inputs["attention_mask"]
    return create_bidirectional_mask(config=network.config, inputs_embeds=activation, attention_mask=mask)


def _vit_embeddings(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.embeddings(inputs["pixels"])
    return tensor


def _vit_layer(index: int, network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.layers[index](activation, None)
    return tensor


def _vit_norm(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.layernorm(activation)
    return tensor


def _whole(pooling: str, network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    if "pixels" in inputs:
        given = network(pixel_values=inputs["pixels"])
    else:
        given = network(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    pooled = getattr(given, "pooler_output", None)
    if pooling == "native" and pooled is not None:
        tensor: Tensor = pooled.flatten(1)
        return tensor
    return _pool(pooling, network, given.last_hidden_state, inputs)


def _pool(pooling: str, network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    assert activation is not None
    if activation.ndim == 4:
        return activation.mean((2, 3))
    if pooling == "cls":
        return activation[:, 0]
    mask = inputs.get("attention_mask")
    if mask is None:
        return activation.mean(1)
    kept = mask.to(activation.dtype)[..., None]
    return (activation * kept).sum(1) / kept.sum(1).clamp(min=1)
