"""From a source to facts about it: a shipped table of published figures, its name, its network."""

from __future__ import annotations

import csv
import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from regraft.choosing.prior.counting import count_macs, kind_of_network
from regraft.choosing.prior.facts import Facts
from regraft.choosing.prior.families import family_of
from regraft.core.errors import BundleError
from regraft.core.files import read_json
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources.source import Source

KNOWN = Path(__file__).with_name("known.csv")

_LARGE = r"in(et)?[_-]?21k|in22k|22k|in12k|jft|ig1b|yfcc|swag|laion|openai|metaclip|dfn|webli|merged"
_UNLABELLED = r"mim|mae(?!st)|dino|beit(?!.*ft22k)|data2vec|lvd|simclr|moco|byol|swav|ijepa|aimv2|fcmae"
_TUNED = r"fine-?t[eu]n|finteun|_ft_(?!in1k|in22k|in12k)"


def facts_of(source: Source) -> Facts:
    """What is known of a source without running it; nothing is fetched.

    Published figures come from the table ``known.csv`` beside this file, by the source's name. What that
    lacks is read off the name (family, pretraining), the preprocessing (size) and the network without its
    weights (parameters; multiplications, counted on the meta device). Published figures are those of the
    native size, whatever size the source was opened with. A finished run has the facts of the source that it
    grew on, and was fine-tuned.
    """
    if source.parts:
        return _joined([facts_of(part) for part in source.parts])
    if source.name.startswith("bundle:"):
        return _of_run(source)
    found = known_facts(source.name) or _of_name(source)
    return _completed(found, source)


def known_facts(name: str) -> Facts | None:
    """What the shipped table says of a name, ``timm:resnet50.a1_in1k``; None for a name that it lacks.

    A timm name without a tag is the weights that timm takes by default. Capitals do not count.
    """
    table = _table()
    return table.get(name.lower()) or table.get(_untagged(name.lower()))


@functools.cache
def _table() -> dict[str, Facts]:
    with KNOWN.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    table: dict[str, Facts] = {}
    for row in rows:
        name = row["name"].lower()
        table[name] = facts_from_row(row)
        # A network's default weights stand first.
        table.setdefault(_untagged(name), table[name])
    return table


def facts_from_row(row: dict[str, str]) -> Facts:
    """Facts from a row of a table of published figures: parameters in millions, macs in thousand millions."""
    return Facts(
        pretraining=row["pretraining"] or "unknown",
        top1=float(row["top1"]) if row["top1"] else None,
        parameters=round(float(row["parameters"] or 0) * 1e6),
        macs=float(row["macs"]) * 1e9 if row["macs"] else None,
        size=int(row["size"]) if row["size"] else None,
        family=row["family"],
    )


def _untagged(name: str) -> str:
    """A timm name without its tag is looked up under this key, which no source can be named by."""
    return f"{name.partition('.')[0]}." if name.startswith("timm:") else name


def pretraining_of(name: str) -> str:
    """What a name says of its weights' training, ``imagenet-21k, then 1k`` of ``.augreg_in21k_ft_in1k``."""
    lower = name.lower()
    large, unlabelled = re.search(_LARGE, lower), re.search(_UNLABELLED, lower)
    labelled = re.search(r"in1k|(?<!\d)1k|ft1k", lower)
    if re.search(_TUNED, lower):
        return "fine-tuned"
    if large:
        return "imagenet-21k, then 1k" if labelled else "imagenet-21k"
    if unlabelled:
        return "self-supervised, then 1k" if labelled else "self-supervised"
    return "imagenet-1k" if labelled else "unknown"


def _of_name(source: Source) -> Facts:
    """What the source's own name and its builder's say."""
    options = source.builder.options
    words = [source.name.partition(":")[2] or source.name]
    words += [str(options[key]) for key in ("variant", "model") if key in options]
    config = options.get("config")
    words += [str(config.get("model_type", ""))] if isinstance(config, dict) else []
    return Facts(pretraining=_pretraining(source), family=family_of(" ".join(words)))


def _pretraining(source: Source) -> str:
    if source.weights is None:
        return "none"
    if not isinstance(source.preprocessing, ImagePreprocessing):
        return "text"
    said = pretraining_of(source.name)
    stated = len(source.heads[0].classes) if source.heads else 0
    library = source.name.partition(":")[0] in ("timm", "torchvision", "packaged")
    if said == "unknown" and (library or stated == _IMAGENET_CLASSES):
        return "imagenet-1k"
    return said


_IMAGENET_CLASSES = 1000


def _completed(facts: Facts, source: Source) -> Facts:
    """The facts with what only the source at hand tells; a source without weights has learned nothing."""
    if source.weights is None:
        facts = replace(facts, pretraining="none", top1=None)
    steps = source.preprocessing
    read = min(steps.size) if isinstance(steps, ImagePreprocessing) else None
    size = facts.size or read
    return replace(
        facts,
        parameters=facts.parameters or source.parameters,
        macs=facts.macs or (count_macs(source) if read == size else None),
        size=size,
        family=facts.family or kind_of_network(source),
    )


def _of_run(source: Source) -> Facts:
    """The facts of the source that a run grew on, as far as its folder names it; then it was fine-tuned."""
    run = _run_of(source)
    grown = run.get("source") or {}
    facts = known_facts(str(grown.get("name", ""))) or _of_name(source)
    tuned = grown.get("sha256") and not str(run.get("strategy", "")).startswith("scratch")
    trained, top1 = ("fine-tuned", facts.top1) if tuned else ("small set", None)
    return _completed(replace(facts, pretraining=trained, top1=top1), source)


def _run_of(source: Source) -> dict[str, Any]:
    """What ``run.json`` says; empty where there is none."""
    files = source.weights.files if source.weights else ()
    path = files[0].with_name("run.json") if files else None
    try:
        run = read_json(path) if path is not None and path.is_file() else {}
    except ValueError as error:
        raise BundleError(f"{path} is damaged: {error}") from error
    return run if isinstance(run, dict) else {}


def _joined(parts: list[Facts]) -> Facts:
    """Sources side by side: the best part's facts at the cost of all."""
    best = max(parts, key=lambda part: part.top1 or 0.0)
    macs = [part.macs for part in parts if part.macs is not None]
    return replace(
        best,
        parameters=sum(part.parameters for part in parts),
        macs=sum(macs) if len(macs) == len(parts) else None,
    )
