"""Writing the parts of a bundle that prediction needs: safetensors and JSON, no code and no pickle."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file

from regraft.core.files import atomic_path, write_bytes, write_json
from regraft.core.hashing import hash_file
from regraft.engine.checkpoint import apart
from regraft.linking import Grafted
from regraft.sources import Source
from regraft.tasks import Task

MODEL_FORMAT = 1


def write_model(
    folder: Path,
    model: Grafted,
    network: Source,
    tasks: dict[str, Task],
    *,
    weights: Source | None = None,
    whole: float | None = None,
) -> None:
    """Write ``model.safetensors``, ``model.json`` and the tokenizer.

    ``model.json`` comes last, so that a folder that has one has everything. ``network`` rebuilds the model
    and says how its inputs are prepared; ``weights`` is what it grew on, where that is another source. Heads
    of outputs that are none of ``tasks`` are left out.
    """
    source = weights or network
    file = folder / "model.safetensors"
    kept = model.without_heads(tuple(name for name in model.outputs if name not in tasks))
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}
    with atomic_path(file) as part:
        save_file(apart(state), part)
    tokenizer = getattr(network.preprocessing, "tokenizer", None)
    if tokenizer is not None:
        write_bytes(folder / "tokenizer" / "tokenizer.json", tokenizer)
    facts = {
        "format": MODEL_FORMAT,
        "source": source.name,
        "network": network.name,
        "builder": replace(network.builder, added=model.trunk.added).to_json(),
        "preprocessing": network.preprocessing.to_json(),
        "tasks": [task.spec.to_json() for task in tasks.values()],
        "heads": model.own_heads(),
        "whole": whole,
        "width": model.trunk.width,
        "parameters": sum(p.numel() for name, p in model.named_parameters() if name in kept),
        "licence": source.weights.licence if source.weights else "",
        "sha256": hash_file(file),
        "bytes": os.path.getsize(file),
    }
    write_json(folder / "model.json", facts)
