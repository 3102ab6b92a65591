"""``timm:NAME``: image models of the timm library."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.errors import SourceError
from regraft.core.inputs import Batch
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources.imagenet import class_names
from regraft.sources.source import BuilderSpec, NativeHead, Source, Weights
from regraft.sources.vision import check_arguments, require_vision

if TYPE_CHECKING:
    from torch import Tensor

    from regraft.sources.trunk import Block, Trunk

PURPOSE = "Reading timm models"
EXTRA = "regraft[timm]"
CITE = "Wightman, PyTorch Image Models, doi:10.5281/zenodo.4414861"


def find(rest: str, *, pretrained: bool = True, size: int | None = None) -> Source:
    """The timm model of this name; ``pretrained=False`` for its network without weights.

    ``size`` is the input size in pixels, the one that it was trained for if not given.
    """
    timm = require_vision("timm", PURPOSE, EXTRA)
    name = rest.partition(".")[0]
    if name not in timm.list_models(name):
        near = timm.list_models(f"*{name[:6]}*")[:3]
        hint = f" Did you mean {' or '.join(f'timm:{other}' for other in near)}?" if near else ""
        raise SourceError(f"timm {timm.__version__} has no model {rest!r}.{hint}")
    config = timm.get_pretrained_cfg(rest)
    steps, fixed = _preprocessing(config, size)
    arguments = {"img_size": size} if size and fixed else {}
    return Source(
        name=f"timm:{rest}",
        builder=BuilderSpec("timm", {"model": name, "arguments": arguments}),
        weights=_weights(rest, config) if pretrained else None,
        preprocessing=steps,
        heads=_heads(config),
        cite=str(getattr(config, "paper_ids", None) or CITE),
    )


def _preprocessing(config: Any, size: int | None) -> tuple[ImagePreprocessing, bool]:
    """What the model reads, and whether its network is built for one size."""
    _, height, width = config.input_size
    steps = ImagePreprocessing(
        size=(height, width),
        mean=tuple(config.mean),
        std=tuple(config.std),
        crop_fraction=float(config.crop_pct),
        interpolation=config.interpolation
        if config.interpolation in ("bilinear", "bicubic", "nearest")
        else "bicubic",
        keep_aspect=config.crop_mode != "squash",
    )
    return (steps.resized(size) if size else steps), bool(config.fixed_input_size)


def _heads(config: Any) -> tuple[NativeHead, ...]:
    if not config.classifier or not isinstance(config.classifier, str):
        return ()
    classes = class_names() if config.num_classes == 1000 else ()
    return (NativeHead(f"{config.classifier}.weight", f"{config.classifier}.bias", classes),)


def _weights(name: str, config: Any) -> Weights:
    from regraft.sources.checkpoint import describe

    if not config.hf_hub_id and not config.url:
        raise SourceError(
            f"timm has no pretrained weights of {name!r}; pretrained=False gives its network without"
        )
    return describe([_weight_file(name, config)], str(config.license or "not stated"))


def _weight_file(name: str, config: Any) -> Path:
    from regraft.sources.offline import cached_download, hub_folder

    if config.hf_hub_id:
        files = ("model.safetensors", "pytorch_model.bin")
        folder = hub_folder(config.hf_hub_id, needed=("config.json",), weights=files)
        return next(folder / file for file in files if (folder / file).is_file())
    return cached_download(f"timm:{name}", config.url)


def build(*, model: str, arguments: dict[str, Any]) -> Trunk:
    """The network without its classifier: a chain where its forward pass is known, else a found one."""
    from regraft.sources.trunk import Trunk

    timm = require_vision("timm", PURPOSE, EXTRA)
    check_arguments("timm", model, arguments, ("img_size",))
    network = timm.create_model(model, pretrained=False, num_classes=0, **arguments)
    blocks, passing = _chain(network) or (_whole, None)
    return Trunk(network, blocks, getattr(network, "head_hidden_size", network.num_features), passing=passing)


def _chain(network: Any) -> tuple[list[Block], dict[str, str]] | None:
    from timm.models import convnext, efficientnet, mobilenetv3, resnet, vision_transformer

    chains = (
        (efficientnet.EfficientNet, _efficientnet),
        (mobilenetv3.MobileNetV3, _efficientnet),
        (resnet.ResNet, _resnet),
        (convnext.ConvNeXt, _convnext),
        (vision_transformer.VisionTransformer, _vit),
    )
    for known, chain in chains:
        # A subclass that changes the forward pass is another network.
        same = isinstance(network, known) and type(network).forward_features is known.forward_features
        if same:
            return chain(network)
    return None


def _efficientnet(network: Any) -> tuple[list[Block], dict[str, str]]:
    from regraft.sources.trunk import Block

    has_head = "EfficientNet" in [kind.__name__ for kind in type(network).__mro__]
    steps = [_step("stem", ("conv_stem", "bn1"), first=True)]
    steps += [
        _step(f"blocks.{i}.{j}", (f"blocks.{i}.{j}",))
        for i, stage in enumerate(network.blocks)
        for j, _ in enumerate(stage)
    ]
    if has_head:
        steps.append(_step("conv_head", ("conv_head", "bn2")))
    pool = Block("pool", _pool, () if has_head else ("",))
    return [*steps, pool], {"map": steps[-1].name}


def _resnet(network: Any) -> tuple[list[Block], dict[str, str]]:
    from regraft.sources.trunk import Block

    steps = [_step("stem", ("conv1", "bn1", "act1", "maxpool"), first=True)]
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        steps += [_step(f"{layer}.{i}", (f"{layer}.{i}",)) for i, _ in enumerate(getattr(network, layer))]
    return [*steps, Block("pool", _pool)], {"map": steps[-1].name}


def _convnext(network: Any) -> tuple[list[Block], dict[str, str]]:
    from regraft.sources.trunk import Block

    steps = [_step("stem", ("stem",), first=True)]
    for i, stage in enumerate(network.stages):
        steps.append(_step(f"stages.{i}.downsample", (f"stages.{i}.downsample",)))
        steps += [
            _step(f"stages.{i}.blocks.{j}", (f"stages.{i}.blocks.{j}",)) for j, _ in enumerate(stage.blocks)
        ]
    steps.append(_step("norm_pre", ("norm_pre",)))
    return [*steps, Block("pool", _pool, ("head",))], {"map": "norm_pre"}


def _vit(network: Any) -> tuple[list[Block], dict[str, str]]:
    from regraft.sources.trunk import Block

    steps = [Block("embed", _vit_embed, ("",))]
    steps += [_step(f"blocks.{i}", (f"blocks.{i}",)) for i, _ in enumerate(network.blocks)]
    steps.append(_step("norm", ("norm",)))
    return [*steps, Block("pool", _pool, ("attn_pool", "fc_norm", "head", "head_dist"))], {"tokens": "norm"}


def _step(name: str, modules: tuple[str, ...], *, first: bool = False) -> Block:
    """A block that runs these submodules one after the other."""
    from regraft.sources.trunk import Block

    return Block(name, partial(_run, modules, first), modules)


def _run(
    modules: tuple[str, ...], first: bool, network: Any, activation: Tensor | None, inputs: Batch
) -> Tensor:
    tensor: Any = inputs["pixels"] if first else activation
    for module in modules:
        tensor = network.get_submodule(module)(tensor)
    result: Tensor = tensor
    return result


def _vit_embed(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    embedded = network._pos_embed(network.patch_embed(inputs["pixels"]))
    tensor: Tensor = network.norm_pre(network.patch_drop(embedded))
    return tensor


def _pool(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    tensor: Tensor = network.forward_head(activation, pre_logits=True)
    return tensor


def _whole(network: Any, activation: Tensor | None, inputs: Batch) -> Tensor:
    return _pool(network, network.forward_features(inputs["pixels"]), inputs)
