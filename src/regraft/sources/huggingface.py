"""``hf:NAME_OR_FOLDER``: models of the transformers library, from a folder, the local cache or the hub."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.core.errors import SourceError, UsageError
from regraft.core.optional import require
from regraft.core.preprocessing import ImagePreprocessing, Interpolation, Preprocessing, TextPreprocessing
from regraft.sources.source import BuilderSpec, Source

FILES = ("*.json", "*.txt", "*.md", "*.model")
WEIGHTS = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
# What PIL calls its filters: preprocessor_config.json holds these numbers.
_FILTERS: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def find(rest: str, *, size: int | None = None, pooling: str | None = None) -> Source:
    """The model of this name or in this folder.

    ``size`` is the input size in pixels, for images; ``pooling`` is ``mean``, ``cls`` or ``native``.
    """
    from regraft.sources.transformer import EXTRA, PURPOSE

    require("transformers", PURPOSE, EXTRA)
    folder = Path(rest).expanduser()
    if not folder.is_dir():
        from regraft.sources.offline import hub_folder

        folder = hub_folder(rest, needed=("config.json",), weights=WEIGHTS, extra=FILES)
    return from_folder(f"hf:{rest}", folder, size=size, pooling=pooling)


def from_folder(
    name: str, folder: Path, *, licence: str = "", size: int | None = None, pooling: str | None = None
) -> Source:
    """The source in a folder of transformers' files."""
    from regraft.sources.checkpoint import describe, weight_files

    config = _read_json(folder / "config.json")
    if not config.get("model_type"):
        raise SourceError(
            f"{folder} is no transformers model: its config.json is missing or names no model_type"
        )
    path = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    if path is None:
        raise SourceError(f"{folder} holds no weights; expected one of {', '.join(WEIGHTS)}")
    preprocessing = _preprocessing(folder, config, size)
    pooling = _pooling(folder, config, preprocessing, pooling)
    source = Source(
        name=name,
        builder=BuilderSpec("transformers", {"config": config, "pooling": pooling}),
        weights=describe(weight_files(path), licence or _licence(folder)),
        preprocessing=preprocessing,
        cite=f"the model card of {name}",
    )
    return replace(
        source, builder=BuilderSpec("transformers", {**source.builder.options, "width": _width(source)})
    )


def _width(source: Source) -> int:
    """How many features come out: the hidden size, or for images what a run without values gives."""
    import torch

    from regraft.sources.native import example_batch
    from regraft.sources.transformer import build, load_config

    if source.modality == "text":
        return int(load_config(source.builder.options["config"]).hidden_size or 0)
    batch = {key: value.to("meta") for key, value in example_batch(source, count=1).items()}
    with torch.device("meta"), torch.no_grad():
        trunk = build(**source.builder.options, width=1).eval()
        return int(trunk(batch).shape[1])


def _pooling(folder: Path, config: dict[str, Any], steps: Preprocessing, asked: str | None) -> str:
    if asked is not None:
        if asked not in ("mean", "cls", "native"):
            raise UsageError(f"pooling is mean, cls or native, not {asked!r}")
        return asked
    if isinstance(steps, ImagePreprocessing):
        return "cls" if config["model_type"] == "vit" else "native"
    sentence = _read_json(folder / "1_Pooling" / "config.json")
    return "cls" if sentence.get("pooling_mode_cls_token") else "mean"


def _preprocessing(folder: Path, config: dict[str, Any], size: int | None) -> Preprocessing:
    """Images where the files say how to prepare pixels, text where there is a tokenizer."""
    images = _read_json(folder / "preprocessor_config.json")
    if "image_mean" in images or "num_channels" in config:
        return _image(images, config, size)
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise SourceError(
            f"{folder} says neither how to prepare images (preprocessor_config.json) nor text "
            "(tokenizer.json). A slow tokenizer is turned into one by "
            "AutoTokenizer.from_pretrained(..).save_pretrained(..)"
        )
    if size is not None:
        raise UsageError(f"{folder} reads text: it has no input size in pixels")
    return TextPreprocessing(
        tokenizer=tokenizer.read_bytes(),
        max_length=_max_length(folder, config),
        pad_id=int(config.get("pad_token_id") or 0),
    )


def _image(images: dict[str, Any], config: dict[str, Any], size: int | None) -> ImagePreprocessing:
    crop = images.get("crop_size") if images.get("do_center_crop") else None
    resize = images.get("size") or config.get("image_size") or 224
    height, width = _pair(crop or resize)
    shorter = resize.get("shortest_edge") if isinstance(resize, dict) else None
    fraction = images.get("crop_pct") or (min(height, width) / shorter if crop and shorter else 1.0)
    steps = ImagePreprocessing(
        size=(height, width),
        mean=_triple(images.get("image_mean", (0.485, 0.456, 0.406))),
        std=_triple(images.get("image_std", (0.229, 0.224, 0.225))),
        crop_fraction=min(1.0, float(fraction)),
        interpolation=_FILTERS.get(images.get("resample", 2), "bilinear"),
        keep_aspect=bool(crop) or shorter is not None,
    )
    return steps.resized(size) if size else steps


def _pair(size: Any) -> tuple[int, int]:
    if isinstance(size, dict):
        side: Any = size.get("shortest_edge", 224)
        return int(size.get("height", side)), int(size.get("width", side))
    if isinstance(size, (list, tuple)):
        return int(size[0]), int(size[1])
    return int(size), int(size)


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in (values if len(values) == 3 else [values[0]] * 3))
    return first, second, third


def _max_length(folder: Path, config: dict[str, Any]) -> int:
    sentence = _read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    stated = sentence or _read_json(folder / "tokenizer_config.json").get("model_max_length") or 512
    positions = int(config.get("max_position_embeddings") or 512)
    # RoBERTa's positions start behind the padding id.
    offset = int(config.get("pad_token_id") or 0) + 1 if "roberta" in str(config.get("model_type")) else 0
    return int(min(stated, positions - offset, 512))


def _licence(folder: Path) -> str:
    """What the model card's first lines say."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    match = re.search(r"^license:\s*(\S+)", text, flags=re.MULTILINE)
    return match.group(1) if match else "not stated"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise SourceError(f"{path} is damaged: {error}") from error
    return value if isinstance(value, dict) else {}
