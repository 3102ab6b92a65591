"""Digits as image files, and EfficientNet-Lite0 at 32 pixels: real weights, real data, seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from regraft.engine import Checkpoints, History, Opened, Settings, Workspace, open_workspace
from regraft.engine.open import draw_examples, fitted_tasks, headed_tasks
from regraft.engine.stream_data import StreamData
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import ModelSpec, Plan, change_plan
from regraft.sources import Source, find
from regraft.strategies import plan_for
from regraft.strategies.base import COOLING, WAY_BACK
from regraft.targets import Prepared, Target, prepare
from regraft.tasks import make_task

SIZE = 32


def write_digits(folder: Path, count: int, classes: int = 3) -> Path:
    """``count`` digits of the first classes as PNG files in class folders."""
    digits = load_digits()
    chosen = np.flatnonzero(digits.target < classes)[:count]
    for index in chosen:
        place = folder / f"digit-{digits.target[index]}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = (digits.images[index] * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).resize((SIZE, SIZE)).save(place / f"{index:04d}.png")
    return folder


def last_line(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last line of a history that a train stage wrote."""
    return [line for line in lines if line["kind"] == "train"][-1]


@dataclass(frozen=True)
class Bench:
    """A source, prepared digits and a way to open a workspace for a strategy."""

    source: Source
    prepared: Prepared

    @property
    def target(self) -> Target:
        return self.prepared.target

    def link(self) -> Link:
        return self._link

    @cached_property
    def _link(self) -> Link:
        tasks = tuple(make_task(spec) for spec in self.target.tasks)
        return find_link(self.source, Blueprint(self.source, tasks))

    def plan(self, strategy: str, *changes: str, seed: int = 0, whole: bool = False) -> Plan:
        """A strategy's plan; without ``whole`` it ends where the training ends."""
        plan = plan_for(self.link(), strategy, seed=seed)
        if not whole:
            own = tuple(stage for stage in plan.stages if stage.name not in (COOLING, WAY_BACK))
            plan = plan.model_copy(update={"stages": own})
        return change_plan(plan, list(changes))

    def open(
        self,
        plan: Plan,
        *,
        folder: Path | None = None,
        checkpoint_seconds: float = 30.0,
        backend: str = "eager",
        workers: int = 0,
        others: Mapping[str, StreamData] | None = None,
    ) -> Workspace:
        draw = draw_examples(plan, self.target)
        tasks = fitted_tasks(self.target, draw)
        headed = headed_tasks(plan, tasks, others or {})
        specs = {name: spec for name, spec in plan.models.items() if spec.average_of is None}
        sources = {name: self._source(spec) for name, spec in specs.items()}
        links = {
            name: Opened(source, source).link(specs[name], headed, seed=plan.seed)
            for name, source in sources.items()
        }
        own_inputs = {
            name: prepare(self.target, source.preprocessing, workers=1).inputs
            for name, source in sources.items()
            if source.preprocessing != self.source.preprocessing
        }
        return open_workspace(
            plan,
            self.target,
            self.prepared.inputs,
            links,
            tasks,
            draw,
            settings=Settings(
                device="cpu", backend=backend, checkpoint_seconds=checkpoint_seconds, workers=workers
            ),
            history=History(folder / "history.jsonl" if folder else None),
            checkpoints=Checkpoints(folder / "checkpoints") if folder else None,
            keep=False,
            others=others,
            own_inputs=own_inputs,
        )

    def _source(self, spec: ModelSpec) -> Source:
        same = (spec.source, spec.options) == (self.source.name, self.source.options)
        return self.source if same else find(spec.source, **spec.options)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = write_digits(tmp_path_factory.mktemp("digits"), 90)
    source = find("packaged:efficientnet-lite0", size=SIZE)
    return Bench(source, prepare(Target.from_images(folder), source.preprocessing, workers=1))
