"""Predictor: a finished run, loaded for prediction. It needs no training code and names none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from regraft.core.errors import BundleError, LinkError, UsageError
from regraft.core.files import read_json
from regraft.core.inputs import Inputs
from regraft.core.preprocessing import Preprocessing
from regraft.core.task_spec import TaskSpec
from regraft.inference.embedding import BATCH, Embedder
from regraft.inference.stream import Stream
from regraft.linking import Blueprint, Grafted, restore
from regraft.sources import find
from regraft.targets import Items, list_items
from regraft.tasks import Task, make_task

Prediction = dict[str, Any]


@dataclass(frozen=True)
class Predictor:
    """A model with its preprocessing and tasks: everything that prediction needs.

    Example::

        predictor = Predictor.load("runs/leaves")
        predictor.predict(["new.jpg"])  # [{"item": "new.jpg", "label": "oak", "probabilities": {..}, ..}]
    """

    model: Grafted
    preprocessing: Preprocessing
    tasks: tuple[Task, ...]
    whole: float | None = None
    """The value that stood for white in the arrays that the model was fitted on, where it was."""

    @classmethod
    def load(cls, folder: str | Path, *, builder: Any = None) -> Predictor:
        """Load a finished run.

        ``builder`` rebuilds a network of the user's own: a callable, or ``module:function``. Raises
        :class:`BundleError` for a folder that is no finished run or is damaged.
        """
        folder = Path(folder)
        facts = read_model_facts(folder)
        options = {} if builder is None else {"builder": builder}
        source = find(f"bundle:{folder}", **options)
        tasks = tuple(make_task(TaskSpec.from_json(spec)) for spec in facts["tasks"])
        if source.weights is None or source.weights.sha256 != facts.get("sha256"):
            raise BundleError(
                f"{folder / 'model.safetensors'} is not the file that the run wrote: its sha256 is not "
                "the one in model.json. Copy the run's folder anew, or fit again"
            )
        try:
            blueprint = Blueprint(source, tasks, heads=facts.get("heads", {}))
            model = restore(blueprint, load_file(folder / "model.safetensors"))
        except (OSError, TypeError, ValueError, SafetensorError, LinkError) as error:
            raise BundleError(
                f"{folder / 'model.safetensors'} cannot be loaded into the network: {error}"
            ) from error
        return cls(model, source.preprocessing, tasks, facts.get("whole"))

    def predict(
        self, items: Any, *, column: str | None = None, outputs: Sequence[str] = (), backend: str = "auto"
    ) -> list[Prediction]:
        """Predict for files, folders, globs, tables, arrays or texts; one entry for each, in input order.

        ``outputs`` says which are wanted, all if none is named; of targets put together, ``cells`` names all
        that are called ``cells.OUTPUT``. Raises :class:`UsageError` for a name that is none.

        An entry is ``{"item", "outputs": {NAME: {"task", ..}}}``, with a single output's fields beside
        ``item``; one that could not be read is ``{"item", "error"}``. Few items are run eagerly and many
        compiled, where that pays (``backend``); the next items are read while these are run.
        """
        tasks = self._named(outputs)
        listed = list_items(items, self.preprocessing, column=column, whole=self.whole)
        trunk = self.model.eval().trunk
        device = next(self.model.parameters()).device
        stream = Stream(trunk, len(trunk.blocks), total=len(listed), backend=backend, device=device)
        return [
            entry for part in stream.read(listed.parts()) for entry in self._predicted(part, stream, tasks)
        ]

    def _named(self, outputs: Sequence[str]) -> tuple[Task, ...]:
        """The tasks of some outputs, in the model's order."""
        names = [task.spec.name for task in self.tasks]
        strange = [one for one in outputs if not any(_is_or_is_of(name, one) for name in names)]
        if strange:
            raise UsageError(f"there is no output {', '.join(strange)}; there are: {', '.join(names)}")
        asked = (any(_is_or_is_of(name, one) for one in outputs) for name in names)
        return tuple(task for task, wanted in zip(self.tasks, asked, strict=True) if wanted or not outputs)

    def _predicted(self, found: Items, stream: Stream, tasks: tuple[Task, ...]) -> list[Prediction]:
        decoded: dict[str, list[dict[str, Any]]] = {}
        if len(found.inputs):
            logits = heads_on(self.model, stream.pooled(found.inputs))
            scores = {task.spec.name: task.scores(logits[task.spec.name]) for task in tasks}
            decoded = {task.spec.name: task.decode(scores[task.spec.name]) for task in tasks}
        entries: list[Prediction] = [
            {"item": name, "error": found.errors.get(index, "")} for index, name in enumerate(found.names)
        ]
        for row, index in enumerate(found.readable):
            outputs = {name: fields[row] for name, fields in decoded.items()}
            entries[index] = _entry(found.names[index], outputs)
        return entries

    def scores(self, inputs: Inputs, *, backend: str = "eager") -> dict[str, np.ndarray]:
        """Probabilities ``(N, K)`` or values ``(N,)`` by output, for prepared inputs."""
        logits = self.logits(inputs, backend=backend)
        return {task.spec.name: task.scores(logits[task.spec.name]) for task in self.tasks}

    def logits(self, inputs: Inputs, *, backend: str = "eager") -> dict[str, np.ndarray]:
        """What the heads give, ``float32 (N, K)`` by output."""
        return self.logits_of(inputs, np.arange(len(inputs)), backend=backend)

    def logits_of(
        self, inputs: Inputs, examples: np.ndarray, *, backend: str = "eager"
    ) -> dict[str, np.ndarray]:
        """The same for some of the examples."""
        return model_logits(self.model, inputs, examples, backend=backend)


def _is_or_is_of(name: str, asked: str) -> bool:
    return name == asked or name.startswith(f"{asked}.")


def model_logits(
    model: Grafted, inputs: Inputs, examples: np.ndarray, *, backend: str
) -> dict[str, np.ndarray]:
    """What the heads of a model give for examples, ``float32 (N, K)`` by output, in ``eval()`` mode."""
    model.eval()
    if len(examples) == 0:
        return {name: np.zeros((0, 1), np.float32) for name in model.outputs}
    device = next(model.parameters()).device
    cut = len(model.trunk.blocks)
    frozen = Embedder(model.trunk, inputs, cut=cut, backend=backend, device=device, keep=False, examine=False)
    return heads_on(model, frozen.features(examples))


def heads_on(model: Grafted, features: torch.Tensor) -> dict[str, np.ndarray]:
    """The heads on pooled features, in batches of one size: bits do not depend on how many there are."""
    device = next(model.parameters()).device
    parts: dict[str, list[np.ndarray]] = {name: [] for name in model.outputs}
    with torch.inference_mode():
        for chunk in features.split(BATCH):
            padded = torch.cat([chunk, chunk[-1:].expand(BATCH - len(chunk), -1)]).to(device)
            for name, values in model.head_outputs(padded).items():
                parts[name].append(values[: len(chunk)].cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def read_model_facts(folder: Path) -> dict[str, Any]:
    """``model.json`` of a finished run."""
    path = folder / "model.json"
    if not folder.is_dir():
        raise BundleError(f"there is no folder {folder}. Give the folder that `regraft fit --out` wrote.")
    if not path.is_file():
        unfinished = (folder / "run.json").is_file()
        hint = f"the run has not ended; go on with: regraft resume {folder}" if unfinished else "it is no run"
        raise BundleError(f"{folder} holds no model.json: {hint}")
    try:
        facts: dict[str, Any] = read_json(path)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is damaged: {error}") from error
    return facts


def _entry(item: str, outputs: dict[str, dict[str, Any]]) -> Prediction:
    entry: Prediction = {"item": item, "outputs": outputs}
    if len(outputs) == 1:
        entry.update(next(iter(outputs.values())))
    return entry


def columns_of(predictions: Sequence[Prediction]) -> Iterable[str]:
    """Column names of the predictions as a flat table."""
    seen = dict.fromkeys(["item"])
    for entry in predictions:
        for name, fields in entry.get("outputs", {}).items():
            seen.update(dict.fromkeys(f"{name}.{field}" for field in fields if field != "probabilities"))
    return [*seen, "error"]
