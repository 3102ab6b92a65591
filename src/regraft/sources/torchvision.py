"""``torchvision:NAME``: image classifiers of the torchvision library."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from regraft.core.errors import SourceError
from regraft.core.inputs import Batch
from regraft.core.preprocessing import ImagePreprocessing, Interpolation
from regraft.sources.source import BuilderSpec, NativeHead, Source
from regraft.sources.vision import check_arguments, require_vision

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.sources.trunk import Block, Trunk

PURPOSE = "Reading torchvision models"
EXTRA = "torchvision"
_HEADS = ("fc", "heads.head", "head", "classifier")


def find(rest: str, *, pretrained: bool = True, size: int | None = None) -> Source:
    """The torchvision classifier of this name with its best weights, or without (``pretrained=False``)."""
    vision = require_vision("torchvision", PURPOSE, EXTRA)
    known = vision.models.list_models(module=vision.models)
    if rest not in known:
        import difflib

        near = " or ".join(f"torchvision:{name}" for name in difflib.get_close_matches(rest, known, n=3))
        raise SourceError(
            f"torchvision has no classifier {rest!r}." + (f" Did you mean {near}?" if near else "")
        )
    best = vision.models.get_model_weights(rest).DEFAULT
    steps = _preprocessing(best.transforms())
    # With weights, these two normalise their inputs once more inside the network.
    twice = {"transform_input": True} if rest in ("googlenet", "inception_v3") and pretrained else {}
    head = _head_name(_network(rest, twice))
    return Source(
        name=f"torchvision:{rest}",
        builder=BuilderSpec("torchvision", {"model": rest, "arguments": twice}),
        weights=_weights(rest, best) if pretrained else None,
        preprocessing=steps.resized(size) if size else steps,
        heads=(NativeHead(f"{head}.weight", f"{head}.bias", tuple(best.meta["categories"])),),
        cite=str(best.meta.get("recipe", "")),
    )


def _preprocessing(transforms: Any) -> ImagePreprocessing:
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    names: tuple[Interpolation, ...] = ("nearest", "bilinear", "bicubic", "lanczos")
    value = transforms.interpolation.value
    return ImagePreprocessing(
        size=(crop, crop),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        crop_fraction=min(1.0, crop / resize),
        interpolation=value if value in names else "bilinear",
    )


def _weights(name: str, best: Any) -> Any:
    from regraft.sources.checkpoint import describe
    from regraft.sources.offline import cached_download

    return describe([cached_download(f"torchvision:{name}", best.url)], "BSD-3-Clause")


def _network(model: str, arguments: dict[str, Any]) -> Any:
    import torch

    with torch.device("meta"):
        return _create(model, arguments)


def _create(model: str, arguments: dict[str, Any]) -> Any:
    vision = require_vision("torchvision", PURPOSE, EXTRA)
    extra = {"aux_logits": False, "init_weights": True} if model in ("googlenet", "inception_v3") else {}
    return vision.models.get_model(model, weights=None, **extra, **arguments)


def _head_name(network: Any) -> str:
    """The last linear layer, which gives the classes."""
    from torch import nn

    for name in _HEADS:
        module = getattr(network, name, None) if "." not in name else _inner(network, name)
        if isinstance(module, nn.Linear):
            return name
        if isinstance(module, nn.Sequential) and len(module) and isinstance(module[-1], nn.Linear):
            return f"{name}.{len(module) - 1}"
    raise SourceError(
        f"{type(network).__name__} ends in no linear layer; hand it over with regraft.from_module"
    )


def _inner(network: Any, name: str) -> Any:
    try:
        return network.get_submodule(name)
    except AttributeError:
        return None


def build(*, model: str, arguments: dict[str, Any]) -> Trunk:
    """The network without its last linear layer: a chain where its forward pass is known, else found."""
    from torch import nn

    from regraft.sources.trunk import Trunk

    check_arguments("torchvision", model, arguments, ("transform_input",))
    network = _create(model, arguments)
    path, _, leaf = _head_name(network).rpartition(".")
    parent = network.get_submodule(path)
    width = getattr(parent, leaf).in_features
    setattr(parent, leaf, nn.Identity())
    blocks, passing = _chain(network) or (_whole, None)
    return Trunk(network, blocks, width, passing=passing)


def _chain(network: Any) -> tuple[list[Block], dict[str, str]] | None:
    from torchvision import models

    if isinstance(network, models.ResNet):
        return _resnet(network)
    if isinstance(network, (models.EfficientNet, models.MobileNetV3, models.ConvNeXt)):
        return _features(network)
    if isinstance(network, models.VisionTransformer):
        return _vit(network)
    return None


def _resnet(network: Any) -> tuple[list[Block], dict[str, str]]:
    from regraft.sources.trunk import Block

    steps = [_step("stem", ("conv1", "bn1", "relu", "maxpool"), first=True)]
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        steps += [_step(f"{layer}.{i}", (f"{layer}.{i}",)) for i, _ in enumerate(getattr(network, layer))]
    return [*steps, Block("pool", _flat_pool)], {"map": steps[-1].name}


def _features(network: Any) -> tuple[list[Block], dict[str, str]]:
    from torchvision import models

    from regraft.sources.trunk import Block

    steps = [_step(f"features.{i}", (f"features.{i}",), first=i == 0) for i, _ in enumerate(network.features)]
    # ConvNeXt's classifier normalises and flattens; elsewhere flattening comes before it.
    pool = _square_pool if isinstance(network, models.ConvNeXt) else _tail_pool
    return [*steps, Block("pool", pool, ("classifier",))], {"map": steps[-1].name}


def _vit(network: Any) -> tuple[list[Block], dict[str, str]]:
    from regraft.sources.trunk import Block

    names = [name for name, _ in network.encoder.layers.named_children()]
    steps = [Block("embed", _vit_embed, ("conv_proj", "class_token", "encoder.pos_embedding"))]
    steps += [_step(f"layers.{i}", (f"encoder.layers.{name}",)) for i, name in enumerate(names)]
    steps.append(_step("ln", ("encoder.ln",)))
    return [*steps, Block("pool", _first_token, ("heads",))], {"tokens": "ln"}


def _step(name: str, modules: tuple[str, ...], *, first: bool = False) -> Block:
    from regraft.sources.timm import _run
    from regraft.sources.trunk import Block

    return Block(name, partial(_run, modules, first), modules)


def _flat_pool(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.avgpool(activation).flatten(1)
    return tensor


def _tail_pool(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.classifier(network.avgpool(activation).flatten(1))
    return tensor


def _square_pool(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.classifier(network.avgpool(activation))
    return tensor


def _vit_embed(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    import torch

    patches = network._process_input(inputs["pixels"])
    classes = network.class_token.expand(patches.shape[0], -1, -1)
    tensor: Tensor = network.encoder.dropout(
        torch.cat([classes, patches], dim=1) + network.encoder.pos_embedding
    )
    return tensor


def _first_token(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    assert activation is not None
    tensor: Tensor = network.heads(activation[:, 0])
    return tensor


def _whole(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network(inputs["pixels"])
    return tensor
