"""Which number tells before training that a source does not pay: what its features gain, or how far it is?

For each target 300 labels: what frozen features gain over raw inputs in leave-one-out (what ``plan`` and
``fit`` say), and how far the inputs of batch norms are from what the source saw: the mean over channels of
``((mean - running mean)^2 + (std - running std)^2) / running variance``, first layer and median.

    python benchmarks/shape.py --work WORK digits cells
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from strategies.targets import CASES, Case

from regraft.evidence.shape.gain import features_gain
from regraft.inference import Embedder
from regraft.sources import build_trunk, find
from regraft.targets import prepare
from regraft.targets.raw import raw_values
from regraft.tasks import make_task

_FEW = 64  # examples whose statistics are compared


def look(case: Case, folder: Path, labels: int) -> str:
    """One target's line."""
    target = case.open(folder)
    source = find(case.source, **case.options)
    chosen = target.select(target.draw(0, train_size=labels, validation=0.0).train)
    prepared = prepare(chosen, source.preprocessing, max_unreadable=1.0)
    rows, trunk = np.arange(len(prepared.target)), build_trunk(source).eval()
    whole = Embedder(trunk, prepared.inputs, cut=len(trunk.blocks), backend="eager", keep=False)
    raw, what = raw_values(prepared.target, prepared.inputs, rows)
    task = make_task(prepared.target.tasks[0])
    truth = prepared.target.labels(rows)[task.spec.name]
    gain = features_gain(task, whole.features(rows).numpy(), raw, truth, what=what)
    if gain is None:
        return "too few labels"
    gained = f"gain {100 * gain.difference:+.1f} ({100 * gain.error:.1f})"
    verdict = "found" if gain.finding() else "not found"
    far = distances(trunk, prepared.inputs.batch(rows[:_FEW]))
    return f"features {gain.features:.1%}, raw {gain.raw:.1%}, {gained}, {verdict}{far}"


def distances(trunk: torch.nn.Module, batch: dict[str, torch.Tensor]) -> str:
    """How far the inputs of batch norms are from their running statistics."""
    found: list[float] = []

    def watch(layer: torch.nn.BatchNorm2d, given: tuple[torch.Tensor, ...]) -> None:
        mean, std = given[0].mean((0, 2, 3)), given[0].std((0, 2, 3))
        square = (mean - layer.running_mean) ** 2 + (std - layer.running_var.sqrt()) ** 2
        found.append(float((square / (layer.running_var + layer.eps)).mean()))

    for layer in trunk.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_pre_hook(watch)
    with torch.inference_mode():
        trunk(batch)
    return f", batch norms: first {found[0]:.2f}, median {np.median(found):.2f}" if found else ""


def main() -> None:
    """Look at the named targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", choices=sorted(CASES))
    parser.add_argument("--work", type=Path, default=Path("shape-work"))
    parser.add_argument("--labels", type=int, default=300)
    given = parser.parse_args()
    for name in given.targets:
        print(f"{name}: {look(CASES[name], given.work / name, given.labels)}", flush=True)


if __name__ == "__main__":
    main()
