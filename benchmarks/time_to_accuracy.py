"""From import to metrics: regraft's default beside a hand-written full fine-tune of the same network.

EfficientNet-Lite0 on 300 photos of solar cells (sound or defective), 500 others for test; for each seed both
sides get the same 300, drawn from the other photos. Each run is a process of its own that starts with nothing
in regraft's cache; its seconds go from starting it to having test metrics: imports, decoding, training, test.

- By hand: timm in eager mode, AdamW 1e-3 with a one-cycle schedule, random flips, batches of 32, 10 epochs.
- regraft: `rg.transfer(folder)` as it comes: a probe on frozen features, its strength chosen by
  leave-one-out on the training examples, with everything that a run writes (bundle, report).

Accuracies are compared by seed and test example: the interval of the mean difference counts the draws, their
overlap and the test examples (core/statistics.py). Aims: no worse within the interval, in a tenth of the
time.

**Cut to keep the whole under 18 minutes:** 192 instead of 224 pixels, on both sides (`--size 224` for all).

    PYTHONPATH=src .venv-vision/bin/python benchmarks/time_to_accuracy.py
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import (
    ROOT,
    aimed,
    environment,
    link_photos,
    measure_and_show,
    parser,
    photos,
    print_markdown,
    print_table,
    usual,
)

AIM = 10.0
SIDES = ("by hand", "regraft")


def by_hand(data: Path, weights: Path, size: int, epochs: int, seed: int) -> list[bool]:
    """The loop that a person writes; which test photos are told rightly."""
    import torch
    from PIL import Image
    from safetensors.torch import load_file
    from timm_side import accuracy, network_of
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    from torchvision.transforms import functional

    torch.manual_seed(seed)
    files = {part: sorted((data / part).glob("*/*.png")) for part in ("train", "test")}
    classes = sorted({file.parent.name for file in files["train"]})

    def read(part: str) -> TensorDataset:
        made = []
        for file in files[part]:
            image = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
            made.append((functional.to_tensor(image) - 0.5) / 0.5)
        labels = [classes.index(file.parent.name) for file in files[part]]
        return TensorDataset(torch.stack(made), torch.tensor(labels))

    network = network_of(load_file(weights), len(classes))
    batches = DataLoader(read("train"), batch_size=32, shuffle=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=1e-3, epochs=epochs, steps_per_epoch=len(batches)
    )
    network.train()
    for _ in range(epochs):
        for pixels, labels in batches:
            flipped = torch.where(torch.rand(len(pixels), 1, 1, 1) < 0.5, pixels.flip(3), pixels)
            loss = nn.functional.cross_entropy(network(flipped), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return accuracy(network, DataLoader(read("test"), batch_size=32))


def by_regraft(data: Path, out: Path, size: int, seed: int) -> Any:
    """The default, as it comes."""
    import regraft as rg

    return rg.transfer(data, out=out, seed=seed, size=size)


def child(options: argparse.Namespace) -> None:
    """One run; what it found goes to a file for its parent."""
    data = options.work / f"seed-{options.seed}"
    if options.child == "by hand":
        right = by_hand(
            data, options.work / "weights.safetensors", options.size, options.epochs, options.seed
        )
        seconds, note = time.time() - options.started, {}
    else:
        run = by_regraft(data, options.work / f"run-{options.seed}", options.size, options.seed)
        seconds, note = time.time() - options.started, {"spent": run.facts["seconds"]}
        files = sorted((data / "test").glob("*/*.png"))
        found = run.predict([str(file) for file in files])  # after the clock: its metrics name no examples
        right = [e["label"] == file.parent.name for e, file in zip(found, files, strict=True)]
        note["metrics"] = run.metrics["outputs"]["label"]["metrics"]["accuracy"]["value"]
    found_file = options.work / f"{options.child}-{options.seed}.json"
    found_file.write_text(json.dumps({"seconds": seconds, "right": [int(r) for r in right], **note}))


def run_child(side: str, seed: int, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "time_to_accuracy.py"), "--child", side, "--seed", str(seed)]
    command += ["--work", str(work), "--size", str(options.size), "--epochs", str(options.epochs)]
    command += ["--started", str(time.time())]
    cache = work / f"cache-{side.replace(' ', '-')}-{seed}"
    done = subprocess.run(command, env=environment(cache), stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"{side}, seed {seed}: failed with status {done.returncode}")
    found: dict[str, Any] = json.loads((work / f"{side}-{seed}.json").read_text())
    share = sum(found["right"]) / len(found["right"])
    print(f"seed {seed}, {side}: {found['seconds']:.1f} s, {share:.1%}", flush=True)
    return found


def write_data(work: Path, options: argparse.Namespace) -> float:
    """Folders ``seed-N/{train,test}/CLASS`` and the weights under timm's names; the draws' mean overlap."""
    from safetensors.torch import save_file
    from timm_side import renamed

    from regraft.sources import find, read_weights

    everything = random.Random(0).sample(photos(), len(photos()))
    test, pool = everything[: options.test], everything[options.test :]
    drawn = [random.Random(seed + 1).sample(pool, options.labels) for seed in range(options.seeds)]
    for seed, train in enumerate(drawn):
        link_photos(work / f"seed-{seed}" / "train", train)
        link_photos(work / f"seed-{seed}" / "test", test)
    save_file(renamed(read_weights(find("packaged:efficientnet-lite0"))), work / "weights.safetensors")
    pairs = [(a, b) for i, a in enumerate(drawn) for b in drawn[:i]]
    return sum(len(set(a) & set(b)) for a, b in pairs) / (options.labels * len(pairs))


def measure(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    import numpy as np

    from regraft.core.statistics import TestPart, estimate

    overlap = write_data(work, options)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for seed in range(options.seeds):
        for side in SIDES:
            runs[side].append(run_child(side, seed, work, options))
    right = {side: np.array([run["right"] for run in runs[side]], float) for side in SIDES}
    apart = right["regraft"] - right["by hand"]
    contrast = estimate(apart.mean(axis=1).tolist(), overlap=overlap, test=TestPart.of_examples(apart))
    seconds = {side: [run["seconds"] for run in runs[side]] for side in SIDES}
    return {
        "labels": options.labels,
        "test": options.test,
        "size": options.size,
        "epochs": options.epochs,
        "overlap": overlap,
        "seconds": seconds,
        "accuracy": {side: right[side].mean(axis=1).tolist() for side in SIDES},
        "ratio": float(np.median(np.divide(seconds["by hand"], seconds["regraft"]))),
        "difference": {"mean": contrast.mean, "low": contrast.low, "high": contrast.high},
        "spent": runs["regraft"][0]["spent"],
    }


def show(figures: dict[str, Any], *, markdown: bool = False) -> None:
    rows = []
    for side in SIDES:
        accuracies, seconds = figures["accuracy"][side], figures["seconds"][side]
        rows.append(
            [
                {"by hand": f"timm, {figures['epochs']} epochs", "regraft": "regraft, its default"}[side],
                ", ".join(f"{value:.1f}" for value in seconds),
                ", ".join(f"{100 * value:.1f}" for value in accuracies),
                f"{100 * sum(accuracies) / len(accuracies):.1f}",
                aimed(figures["ratio"], AIM) if side == "regraft" else "1",
            ]
        )
    draw = print_markdown if markdown else print_table
    draw(["side", "seconds, each seed", "accuracy, %", "mean", "times faster"], rows)
    apart = {key: 100 * value for key, value in figures["difference"].items()}
    worse = "worse" if apart["high"] < 0 else "no worse"
    print(
        f"\nregraft minus by hand: {apart['mean']:+.1f} points (95%: {apart['low']:+.1f} to "
        f"{apart['high']:+.1f}): {worse} within the interval. {figures['labels']} labels at "
        f"{figures['size']} pixels, {figures['test']} photos for test; regraft's seconds: {figures['spent']}"
    )


def main() -> None:
    options = parser(__doc__, "time_to_accuracy")
    usual(options)
    options.add_argument("--labels", type=int, default=300, help="photos for training")
    options.add_argument("--test", type=int, default=500, help="photos for test")
    options.add_argument("--size", type=int, default=192, help="input size in pixels")
    options.add_argument("--epochs", type=int, default=10, help="epochs of the fine-tune by hand")
    options.add_argument("--seeds", type=int, default=3, help="how many draws")
    for hidden, kind in (("--child", str), ("--work", Path), ("--started", float), ("--seed", int)):
        options.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        child(given)
        return
    if given.quick:
        given.labels, given.test, given.size, given.epochs, given.seeds = 60, 40, 64, 1, 2
    measure_and_show(given, measure, show)


if __name__ == "__main__":
    main()
