"""The published tables: which facts are known of the models that they name."""

from __future__ import annotations

import csv
import functools
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from regraft.choosing.prior.facts import Facts
from regraft.choosing.prior.families import family_of
from regraft.choosing.prior.finding import facts_from_row, known_facts, pretraining_of
from regraft.choosing.prior.fitting import Table

RECALLED = Path(__file__).with_name("recalled.csv")
FIRST_TOP1 = {
    "resnet50": 76.130,
    "resnet101": 77.374,
    "resnet152": 78.312,
    "mobilenet_v2": 71.878,
    "mobilenet_v3_large": 74.042,
    "efficientnet_b1": 78.642,
}
"""Of torchvision's first weights, which the tables used, where its default weights are others."""
MEDMNIST = {
    "resnet": "resnet18",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0",
    "vgg": "vgg16",
    "convnext": "convnext_tiny",
    "mnasnet": "mnasnet1_0",
    "mobilenet": "mobilenet_v3_large",
    "shufflenet": "shufflenet_v2_x1_0",
}
"""The variant that a bare family's name is taken for; but for resnet18 the table does not say."""
VTAB = {
    "From-Scratch": "none",
    "Sup-100%": "imagenet-1k",
    "Sup-Exemplar-100%": "imagenet-1k",
    "Sup-Rotation-100%": "imagenet-1k",
    "Semi-Exemplar-10%": "semi-supervised",
    "Semi-Rotation-10%": "semi-supervised",
    "Exemplar": "self-supervised",
    "Jigsaw": "self-supervised",
    "Rel.Pat.Loc": "self-supervised",
    "Rotation": "self-supervised",
}
SAME_SET = {
    "flowers102": "flowers",
    "oxford_flowers102": "flowers",
    "oxford_pets": "pets",
    "oxford_iiit_pet": "pets",
    "resisc": "resisc45",
    "svhn_cropped": "svhn",
    "camelyon": "patch_camelyon",
    "retinopathy": "diabetic_retinopathy_detection",
    "clevr_dist": "clevr_distance",
    "dspr_loc": "dsprites_location",
    "dspr_orient": "dsprites_orientation",
    "snorb_azim": "smallnorb_label_azimuth",
    "snorb_elev": "smallnorb_label_elevation",
    "kitti_dist": "kitti",
}
LEFT_OUT = ("transrate13",)
"""Its models have no names."""


def read(folder: Path) -> list[Table]:
    """All tables of ``finetune_accuracy.csv`` in a folder, whose models have names."""
    path = folder / "finetune_accuracy.csv"
    if not path.is_file():
        raise SystemExit(f"{path} is not there; --data names the folder of the published tables")
    grouped: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    for row in rows_of(path):
        if row["source"] not in LEFT_OUT:
            grouped[row["source"], row["dataset"]].append((row["model"], float(row["accuracy"])))
    return [_table(benchmark, dataset, rows) for (benchmark, dataset), rows in sorted(grouped.items())]


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file whose comments begin with #."""
    with path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def _table(benchmark: str, dataset: str, rows: list[tuple[str, float]]) -> Table:
    models = tuple(model for model, _ in rows)
    facts = tuple(facts_in(benchmark, model) for model in models)
    return Table(benchmark, dataset, models, facts, np.array([accuracy for _, accuracy in rows]))


def set_name(dataset: str) -> str:
    """One name for one data set, whatever a benchmark calls it."""
    plain = dataset.lower().replace("-", "_").replace("cifar_", "cifar")
    return SAME_SET.get(plain, plain)


@functools.cache
def facts_in(benchmark: str, model: str) -> Facts:
    """What is known of a model that a benchmark names."""
    if benchmark in ("sfda_ssl12", "ncti_ssl_extra"):
        return _recalled()[f"ssl:{model}"]
    if benchmark.startswith("stable19"):
        return _recalled()[f"keras:{model}"]
    if benchmark.startswith("parc"):
        return _parc(*model.split("@"))
    if benchmark.startswith("vtab"):
        return _resnet("resnet50", VTAB.get(model, "generative"), 76.130 if model == "Sup-100%" else None)
    if benchmark == "medmnist_source":
        imagenet = model == "imagenet"
        return _resnet("resnet18", "imagenet-1k" if imagenet else "small set", 69.758 if imagenet else None)
    if benchmark == "transfergraph_vtab1k":
        return _hub(model)
    return _vision(MEDMNIST.get(model, model))


def _vision(name: str) -> Facts:
    found = known_facts(f"torchvision:{name}")
    assert found is not None, name
    return replace(found, top1=FIRST_TOP1.get(name, found.top1))


def _resnet(name: str, pretraining: str, top1: float | None) -> Facts:
    return replace(_vision(name), pretraining=pretraining, top1=top1)


def _parc(architecture: str, source: str) -> Facts:
    facts = _vision(architecture)
    if source == "imagenet":
        return facts
    kind = "small set"
    if re.search(r"rcnn|retinanet", source):
        kind = "detection"
    elif re.search(r"imagenet", source):
        kind = "self-supervised"
    return replace(facts, pretraining=kind, top1=None)


def _hub(model: str) -> Facts:
    """A model of the hub by its name alone: what it says of family, pretraining and size."""
    known = known_facts(f"hf:{model}")
    if known is not None:
        return known
    base = _base(model.lower())
    said = pretraining_of(model)
    if base is not None:
        return replace(base, pretraining="fine-tuned")
    return Facts(
        pretraining="fine-tuned" if said in ("unknown", "fine-tuned") else said, family=family_of(model)
    )


def _base(name: str) -> Facts | None:
    """The public model whose whole name stands in that of one that grew on it."""
    for known in (
        "google/vit-base-patch16-224-in21k",
        "google/vit-large-patch16-224",
        "google/vit-base-patch16-224",
        "microsoft/swin-tiny-patch4-window7-224",
        "facebook/convnext-tiny-224",
    ):
        if known.partition("/")[2] in name or (
            known.endswith("convnext-tiny-224") and "convnext-tiny" in name
        ):
            return known_facts(f"hf:{known}")
    return None


@functools.cache
def _recalled() -> dict[str, Facts]:
    return {row["name"]: facts_from_row(row) for row in rows_of(RECALLED)}
