"""What every strategy trains and what it leaves, on three real networks, asserted to the bit.

EfficientNet-Lite0 (convolutions, 32 pixels), MiniLM (a transformer, short texts) and the voice encoder of
resemblyzer (a stacked LSTM over mel frames; the weights of its wheel, its network written down here). Every
train stage of each plan is opened and takes two steps on a few examples. What the plan says is then compared:
gradients are there for the trained parameters and for no others; all that is said to be frozen, buffers too,
is what it was to the bit; what is said to be trained has moved. A strategy that does not apply says why.

    pip download --no-deps resemblyzer
    python benchmarks/trained_sets.py --resemblyzer Resemblyzer-0.1.4-py3-none-any.whl
"""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import measure_and_show, parser, print_markdown, print_table, usual
from sklearn.datasets import load_digits
from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.engine import Opened, Settings, Workspace, open_workspace
from regraft.engine.leavings import Leavings
from regraft.engine.open import draw_examples, fitted_tasks, headed_tasks
from regraft.engine.sets import trained_sets
from regraft.engine.solve_stage import run_solve_stage
from regraft.engine.stream_data import StreamData
from regraft.engine.train_stage import TrainStageRun
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import Plan, SolveStage, TrainStage, change_plan
from regraft.sources import Source, find
from regraft.strategies import STRATEGIES, plan_for
from regraft.targets import Prepared, Target, prepare
from regraft.tasks import make_task

STEPS = 2  # after the first one, a factor whose other factor begins at 0 has no gradient yet


class VoiceEncoder(nn.Module):
    """The network of resemblyzer: ``Float[utterances, 1, frames, 40]`` to ``Float[utterances, 256]``."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mels[:, 0])
        raw = torch.relu(self.linear(hidden[-1]))
        return raw / raw.norm(dim=1, keepdim=True)


@dataclass(frozen=True)
class Bench:
    """A source and a few prepared examples."""

    name: str
    source: Source
    prepared: Prepared

    def link(self) -> Link:
        tasks = tuple(make_task(spec) for spec in self.prepared.target.tasks)
        return find_link(self.source, Blueprint(self.source, tasks))

    def open(self, plan: Plan) -> Workspace:
        target, inputs = self.prepared.target, self.prepared.inputs
        draw = draw_examples(plan, target)
        tasks, others = fitted_tasks(target, draw), self._others(plan)
        headed = headed_tasks(plan, tasks, others)
        specs = {name: spec for name, spec in plan.models.items() if spec.average_of is None}
        links = {
            name: Opened(self.source, self.source).link(spec, headed, seed=plan.seed)
            for name, spec in specs.items()
        }
        settings = Settings("cpu", threads=1, backend="eager", compile="never")
        return open_workspace(
            plan, target, inputs, links, tasks, draw, settings=settings, keep=False, others=others
        )

    def _others(self, plan: Plan) -> dict[str, StreamData]:
        """For streams with heads of their own: the target's examples, labelled anew."""
        target, found = self.prepared.target, {}
        for name in (name for name, spec in plan.streams.items() if spec.heads == "own"):
            labels = {}
            for output, values in target.labels(target.pool).items():
                whole = np.zeros((len(target), *values.shape[1:]), values.dtype)
                whole[target.pool] = values
                labels[f"{name}.{output}"] = whole
            specs = [replace(spec, name=f"{name}.{spec.name}") for spec in target.tasks]
            tasks = {spec.name: make_task(spec) for spec in specs}
            hashes = target.examples.hashes
            found[name] = StreamData(name, self.prepared.inputs, hashes, labels, "same", target.pool, tasks)
        return found


def convolutional(_: Path) -> Bench:
    return _of_digits("EfficientNet-Lite0", find("packaged:efficientnet-lite0", size=32))


def transformer(_: Path) -> Bench:
    source = find("packaged:minilm")
    summaries = {str(one.metadata["Summary"]) for one in importlib.metadata.distributions()}
    texts = sorted(one for one in summaries if 3 < len(one.split()) < 9)[:24]
    labels = ["few" if len(one.split()) < 6 else "many" for one in texts]
    return Bench("MiniLM", source, prepare(Target.from_arrays(texts, labels), source.preprocessing))


def recurrent(weights: Path) -> Bench:
    """Digits stand for mel frames: 40 channels, 24 frames."""
    steps = ImagePreprocessing.for_channels(1, size=(24, 40), keep_aspect=False, crop_fraction=1.0)
    source = find(f"file:{weights}", builder=VoiceEncoder, preprocessing=steps)
    return _of_digits("LSTM of resemblyzer", source)


def _of_digits(name: str, source: Source) -> Bench:
    digits = load_digits(n_class=2)
    labels = np.array(["zero", "one"])[digits.target[:24]]
    return Bench(name, source, prepare(Target.from_arrays(digits.images[:24], labels), source.preprocessing))


def rows_of(bench: Bench) -> list[dict[str, Any]]:
    """For each strategy its train stages with their sets, checked, or why there are none."""
    link, rows = bench.link(), []
    for strategy in STRATEGIES:
        about = {"network": bench.name, "strategy": strategy}
        try:
            plan = _steady(plan_for(link, strategy))
        except PlanError as error:
            rows.append({**about, "refused": str(error).replace(bench.source.name, bench.name)})
            continue
        rows += [{**about, **row} for row in checked_stages(bench, plan)]
        print(f"{bench.name}, {strategy}: as it says", file=sys.stderr)
    return rows


def _steady(plan: Plan) -> Plan:
    """Few examples in a step, and a rate that is not 0 in the first one."""
    if not any(isinstance(stage, TrainStage) for stage in plan.stages):
        return plan
    batches = [f"streams.{name}.batch=8" for name in plan.streams]
    return change_plan(plan, ["schedule.name=constant", "schedule.warmup=0", *batches])


def checked_stages(bench: Bench, plan: Plan) -> list[dict[str, Any]]:
    """The stages of a plan, carried out but for most of their steps."""
    work, rows = bench.open(plan), []
    work.leavings = Leavings(plan, work.models)
    for stage in plan.stages:
        if isinstance(stage, SolveStage):
            before = state_of(work)
            run_solve_stage(stage, work)
            moved = {name for name, value in state_of(work).items() if differ(value, before.get(name))}
            assert all(name.startswith("heads.") for name in moved), moved
            rows.append({"stage": stage.name, "trained": ["head"], "frozen": ["all else"], "solved": True})
        elif isinstance(stage, TrainStage):
            rows.append(checked_stage(stage, work))
    return rows


def checked_stage(stage: TrainStage, work: Workspace) -> dict[str, Any]:
    """Two steps of a stage; raises AssertionError where its sets are not what it says."""
    run = TrainStageRun(stage, work, None)
    model, trained = run.model, run.freeze.trainable
    sets = trained_sets(stage, model, run.freeze)
    frozen = {name: value.clone() for name, value in run.freeze.frozen_tensors(model).items()}
    start = {name: value.detach().clone() for name, value in model.named_parameters() if name in trained}
    assert not set(frozen) & set(start)
    assert sum(value.numel() for value in start.values()) == sets.parameters
    run.freeze.set_modes(model)
    pulled: set[str] = set()
    with run.reader:
        for _ in range(STEPS):
            run._step()
            run.standing.step += 1
            graded = {n for n, p in model.named_parameters() if p.grad is not None}
            assert graded <= trained, graded - trained
            pulled |= {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    now = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    moved = [name for name, value in frozen.items() if differ(now[name], value)]
    assert not moved, moved
    still = sorted(name for name, value in start.items() if not differ(now[name], value))
    assert not pulled & set(still), pulled & set(still)  # who has a gradient moves
    run.lockstep.end()
    run.model.eval()
    run.edits.close(trained)
    return {
        "stage": stage.name,
        "trained": list(sets.trained),
        "partly": list(sets.partly),
        "frozen": list(sets.frozen),
        "computed_once": sets.computed_once,
        "parameters": sets.parameters,
        "total": sets.total,
        "tensors": {"trained": len(start), "frozen": len(frozen), "without_gradient": still},
    }


def state_of(work: Workspace) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in work.models["student"].state_dict().items()}


def differ(one: Tensor, other: Tensor | None) -> bool:
    return other is None or one.shape != other.shape or not torch.equal(one, other)


def measure(given: Namespace, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    with zipfile.ZipFile(given.resemblyzer) as wheel:
        weights = Path(wheel.extract("resemblyzer/pretrained.pt", folder))
    kinds = (recurrent,) if given.quick else (convolutional, transformer, recurrent)
    return {"rows": [row for kind in kinds for row in rows_of(kind(weights))]}


def show(figures: dict[str, Any], *, markdown: bool = False) -> None:
    """Every stage; as Markdown the last stage of each strategy, networks side by side."""
    rows = figures["rows"]
    if not markdown:
        print_table(
            ["network", "strategy", "stage", "trained, frozen, numbers trained"],
            [[row["network"], row["strategy"], row.get("stage", "-"), said(row)] for row in rows],
        )
        return
    networks = list(dict.fromkeys(row["network"] for row in rows))
    last = {(row["strategy"], row["network"]): said(row) for row in rows}
    strategies = dict.fromkeys(row["strategy"] for row in rows)
    print_markdown(
        ["strategy", *networks],
        [[f"`{one}`", *(last.get((one, network), "-") for network in networks)] for one in strategies],
    )


def said(row: dict[str, Any]) -> str:
    """A row in words."""
    if "refused" in row:
        return f"does not apply: {row['refused'].partition(':')[0]}"
    if "parameters" not in row:
        return f"{', '.join(row['trained'])}, solved"
    part = f"; a part of {', '.join(row['partly'])}" if row["partly"] else ""
    once = " (once)" if row["computed_once"] else ""
    frozen = f"; frozen {', '.join(row['frozen'])}{once}" if row["frozen"] else ""
    return f"{', '.join(row['trained'])}{part}{frozen}: {row['parameters']:,} of {row['total']:,}"


def main() -> int:
    options = parser(__doc__, "trained_sets")
    usual(options)
    options.add_argument("--resemblyzer", type=Path, help="the wheel, as pip download leaves it")
    given = options.parse_args()
    if given.resemblyzer is None and not given.markdown:
        raise SystemExit("say where the wheel of resemblyzer lies: pip download --no-deps resemblyzer")
    measure_and_show(given, measure, show)
    return 0


if __name__ == "__main__":
    sys.exit(main())
