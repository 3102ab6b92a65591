"""Networks of `link_pairs.py`: what is linked to what, in small sizes where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Case:
    """Two networks that may compute the same.

    Attributes
    ----------
    expected
        ``proven``, ``fixed`` (proven after a fix), or ``refused``: not linked, or not proven.
    source
        Builds the source, or what regraft calls it.
    reference
        What the source computes, where ``source`` is only a name.
    reads_source, reads_target
        What is compared, out of what a network returns.
    resampled
        ``(target's tensor, what it has to be)``: made by another library out of the source's state dict.
    """

    name: str
    expected: str
    source: Build | str | Path
    target: Build
    inputs: Callable[[torch.Generator], Any]
    reference: Build | None = None
    reads_source: Callable[[Any], Tensor] = field(default=lambda given: first_tensor(given))
    reads_target: Callable[[Any], Tensor] = field(default=lambda given: first_tensor(given))
    resampled: tuple[str, Callable[[dict[str, Tensor]], Tensor]] | None = None
    names: tuple[str, ...] = ()


def first_tensor(given: Any) -> Tensor:
    """The tensor that a network returned, or the first one of several."""
    if isinstance(given, Tensor):
        return given
    if hasattr(given, "values"):
        given = list(given.values())
    return first_tensor(given[0])


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every tensor anew, batch-norm statistics included, so that a wrong one shows in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.is_floating_point() and not tensor.is_meta:
                tensor.copy_(_draw(name, tensor, generator))
    return module.eval()


def _draw(name: str, tensor: Tensor, generator: torch.Generator) -> Tensor:
    if "inv_freq" in name or "relative_coords" in name or name.endswith("attn_mask"):
        return tensor  # these are computed, not learned
    noise = torch.randn(tensor.shape, generator=generator)
    if name.endswith("running_var") or (tensor.ndim <= 1 and not name.endswith(("bias", "running_mean"))):
        return 0.5 + torch.rand(tensor.shape, generator=generator)
    if tensor.ndim <= 1:
        return 0.2 * noise
    if any(word in name for word in ("pos", "token", "table", "wte", "wpe", "embeddings.", "relative")):
        return 0.5 * noise
    if "gamma" in name or "layer_scale" in name:
        return 0.5 + torch.rand(tensor.shape, generator=generator)
    return noise * (1.5 / max(1, tensor[0].numel())) ** 0.5


def images(size: int, count: int = 2) -> Callable[[torch.Generator], Tensor]:
    """Noise of the shape of ``count`` images."""
    return lambda generator: torch.randn(count, 3, size, size, generator=generator)


def tokens(most: int, length: int = 12) -> Callable[[torch.Generator], Tensor]:
    """Ids below ``most``."""
    return lambda generator: torch.randint(2, most, (2, length), generator=generator)


def torchvision_to_timm() -> list[Case]:
    """The pairs of both libraries at full size."""
    names = {
        "resnet18": ("resnet18", 96, "proven"),
        "resnet50": ("resnet50", 96, "proven"),
        "wide_resnet50_2": ("wide_resnet50_2", 96, "proven"),
        "resnext50_32x4d": ("resnext50_32x4d", 96, "proven"),
        "densenet121": ("densenet121", 96, "proven"),
        "inception_v3": ("inception_v3", 107, "proven"),
        "mobilenet_v2": ("mobilenetv2_100", 96, "proven"),
        "efficientnet_b0": ("efficientnet_b0", 96, "proven"),
        "convnext_tiny": ("convnext_tiny", 96, "proven"),
        "vgg16_bn": ("vgg16_bn", 224, "proven"),
        "mobilenet_v3_large": ("mobilenetv3_large_100", 96, "fixed"),
        "vit_b_16": ("vit_base_patch16_224", 224, "proven"),
        "swin_t": ("swin_tiny_patch4_window7_224", 224, "proven"),
        "regnet_y_400mf": ("regnety_004", 96, "proven"),
        "efficientnet_v2_s": ("efficientnetv2_rw_s", 96, "refused"),
    }
    return [
        Case(
            f"torchvision {one} -> timm {other}", expected, _torchvision(one), named_timm(other), images(size)
        )
        for one, (other, size, expected) in names.items()
    ]


def timm_to_torchvision() -> list[Case]:
    """The other direction, where layouts differ."""
    names = {
        "vit_base_patch16_224": ("vit_b_16", 224, "proven"),
        "swin_tiny_patch4_window7_224": ("swin_t", 224, "proven"),
        "convnext_tiny": ("convnext_tiny", 96, "proven"),
        "regnety_004": ("regnet_y_400mf", 96, "proven"),
        "mobilenetv3_large_100": ("mobilenet_v3_large", 96, "fixed"),
    }
    return [
        Case(
            f"timm {one} -> torchvision {other}", expected, named_timm(one), _torchvision(other), images(size)
        )
        for one, (other, size, expected) in names.items()
    ]


def _torchvision(name: str) -> Build:
    def build() -> nn.Module:
        import torchvision

        options = {"init_weights": False} if name == "inception_v3" else {}
        return torchvision.models.get_model(name, weights=None, **options)

    return build


def named_timm(name: str, **options: Any) -> Build:
    """A network of timm by its name."""

    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **options)

    return build


def hugging(kind: str, config: str, **options: Any) -> Build:
    """A network of transformers by the names of its class and of its configuration."""

    def build() -> nn.Module:
        import transformers

        return getattr(transformers, kind)(getattr(transformers, config)(**options))

    return build


_VIT = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "image_size": 32,
    "patch_size": 8,
}
_TIMM_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}


def vision_transformers() -> list[Case]:
    """q, k and v apart in transformers, fused in timm and torchvision; other epsilons in most."""
    vit = hugging("ViTForImageClassification", "ViTConfig", num_labels=10, **_VIT)
    bare = lambda: hugging("ViTModel", "ViTConfig", **_VIT)()  # noqa: E731
    timm_vit = named_timm("vit_tiny_patch16_224", num_classes=10, **_TIMM_VIT)
    tokens_only = named_timm("vit_tiny_patch16_224", num_classes=0, global_pool="", **_TIMM_VIT)
    deit = hugging("DeiTForImageClassificationWithTeacher", "DeiTConfig", num_labels=10, **_VIT)
    timm_deit = named_timm("deit_tiny_distilled_patch16_224", num_classes=10, **_TIMM_VIT)
    beit = hugging(
        "BeitForImageClassification",
        "BeitConfig",
        num_labels=10,
        use_relative_position_bias=True,
        use_mean_pooling=True,
        **_VIT,
    )
    return [
        Case("HF ViT (tokens) -> timm vit", "fixed", bare, tokens_only, images(32)),
        Case("HF ViT (classes) -> timm vit", "fixed", vit, timm_vit, images(32)),
        Case("timm vit -> HF ViT (classes)", "fixed", timm_vit, vit, images(32)),
        Case("HF ViT (classes) -> torchvision vit", "fixed", vit, _torchvision_vit, images(32)),
        Case("HF DeiT (distilled) -> timm deit", "fixed", deit, timm_deit, images(32)),
        # The target gives the logits of each token as well, of which the source gives nothing to compare.
        Case("timm deit (distilled) -> HF DeiT", "refused", timm_deit, deit, images(32)),
        Case(
            "HF BEiT -> timm beit",
            "proven",
            beit,
            named_timm("beit_base_patch16_224", num_classes=10, **_TIMM_VIT),
            images(32),
        ),
        *_dinov2(),
    ]


def _torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 8, 3, 4, 48, 192, num_classes=10)


def _dinov2() -> list[Case]:
    """Position tables of another grid: transformers resamples while it runs, timm when it loads."""
    sizes = {**_VIT, "image_size": 56, "patch_size": 14}
    source = hugging("Dinov2Model", "Dinov2Config", mlp_ratio=4, **sizes)
    options = {**_TIMM_VIT, "patch_size": 14, "num_classes": 0, "global_pool": ""}
    wide = named_timm("vit_small_patch14_dinov2", **{**options, "img_size": 84})
    same = named_timm("vit_small_patch14_dinov2", **{**options, "img_size": 56})
    narrow = named_timm("vit_small_patch14_dinov2", **{**options, "img_size": 42})
    return [
        Case("HF DINOv2 -> timm dinov2, same grid", "proven", source, same, images(56)),
        Case(
            "HF DINOv2, grid 4x4 -> timm dinov2, 6x6",
            "refused",  # transformers resamples without anti-aliasing, with another cubic kernel
            source,
            wide,
            images(84),
            resampled=("pos_embed", lambda state: _timm_grid(state["embeddings.position_embeddings"], 6)),
        ),
        Case(
            "timm dinov2, grid 4x4 -> 3x3",
            "proven",
            named_timm("vit_small_patch14_dinov2", **{**options, "img_size": 56, "dynamic_img_size": True}),
            narrow,
            images(42),
            resampled=("pos_embed", lambda state: _timm_grid(state["pos_embed"], 3)),
        ),
    ]


def _timm_grid(table: Tensor, side: int) -> Tensor:
    from timm.layers import resample_abs_pos_embed

    return resample_abs_pos_embed(table, [side, side], num_prefix_tokens=1)


def convolutions_and_windows() -> list[Case]:
    """Swin, ConvNeXt, ResNet, RegNet, MobileNet of transformers."""
    swin = hugging(
        "SwinForImageClassification",
        "SwinConfig",
        image_size=64,
        patch_size=4,
        embed_dim=24,
        depths=[2, 2, 2],
        num_heads=[2, 4, 8],
        window_size=4,
        num_labels=10,
    )
    timm_swin = named_timm(
        "swin_tiny_patch4_window7_224",
        img_size=64,
        embed_dim=24,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        window_size=4,
        num_classes=10,
    )
    widths = {"depths": [2, 2, 3, 2], "hidden_sizes": [16, 24, 32, 48]}
    next_ = hugging("ConvNextForImageClassification", "ConvNextConfig", num_labels=10, **widths)
    timm_next = named_timm("convnext_tiny", depths=(2, 2, 3, 2), dims=(16, 24, 32, 48), num_classes=10)
    resnet = hugging("ResNetForImageClassification", "ResNetConfig", num_labels=1000)
    regnet = hugging(
        "RegNetForImageClassification",
        "RegNetConfig",
        embedding_size=32,
        hidden_sizes=[48, 104, 208, 440],
        depths=[1, 3, 6, 6],
        groups_width=8,
        layer_type="y",
        num_labels=1000,
    )
    mobile = hugging("MobileNetV2ForImageClassification", "MobileNetV2Config", num_labels=1000)
    return [
        Case("HF Swin -> timm swin", "proven", swin, timm_swin, images(64)),
        Case("timm swin -> HF Swin", "proven", timm_swin, swin, images(64)),
        Case("HF ConvNeXt -> timm convnext", "proven", next_, timm_next, images(64)),
        Case("timm convnext -> HF ConvNeXt", "proven", timm_next, next_, images(64)),
        Case("HF ResNet-50 -> torchvision resnet50", "proven", resnet, _torchvision("resnet50"), images(96)),
        Case("HF RegNet-Y -> timm regnety_004", "proven", regnet, named_timm("regnety_004"), images(96)),
        Case(
            "HF MobileNetV2 -> timm mobilenetv2_100",
            "fixed",
            mobile,
            named_timm("mobilenetv2_100"),
            images(96),
        ),
    ]
