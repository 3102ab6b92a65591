"""Two processes against one with twice the batch: by how much the losses differ.

    python benchmarks/processes.py

Each network is trained by one process with a batch of 16, and by two (torchrun, gloo) with 8 each, on the
same digits. The first two have nothing that looks at more than one example or draws random numbers: they must
agree within 1e-5. Batch norm that trains and dropout are shown for contrast. With --sharding full the two
processes also divide the trained weights among them (FSDP2). Losses are means over an epoch's steps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import torch
from common import environment, parser, print_table, workplace, write_results
from safetensors.torch import save_file
from torch import Tensor, nn

AIM = 1e-5
NETWORKS = {
    # name: builder, batch norm's statistics, whether it has to agree
    "residual, batch norm frozen": ("residual", "frozen", True),
    "transformer, layer norm": ("transformer", "frozen", True),
    "residual, batch norm training": ("residual", "move", False),
    "transformer, dropout 0.1": ("dropping", "frozen", False),
}


class Residual(nn.Module):
    """Two convolutions and a batch norm beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.Conv2d(width, width, 3, padding=1)
        self.back = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.back(torch.relu(self.out(self.norm(x))))


class Patches(nn.Module):
    """Pictures as tokens with positions."""

    def __init__(self, width: int):
        super().__init__()
        self.cut = nn.Conv2d(3, width, 8, stride=8)
        self.positions = nn.Parameter(torch.zeros(1, 16, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.cut(x).flatten(2).transpose(1, 2) + self.positions


class Mean(nn.Module):
    """The mean token."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def build_residual() -> nn.Sequential:
    stem = nn.Conv2d(3, 16, 3, stride=2)
    return nn.Sequential(OrderedDict(stem=stem, first=Residual(16), second=Residual(16)))


def build_transformer(dropout: float = 0.0) -> nn.Sequential:
    layers = [nn.TransformerEncoderLayer(32, 4, 64, dropout, batch_first=True) for _ in range(2)]
    return nn.Sequential(OrderedDict(stem=Patches(32), first=layers[0], second=layers[1], pool=Mean()))


def build_dropping() -> nn.Sequential:
    return build_transformer(0.1)


def write_photos(folder: Path) -> Path:
    """Digits as class folders."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=3)
    for index in range(120):
        place = folder / f"digit-{digits.target[index]}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.rint(digits.images[index] * (255 / 16)).astype(np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(place / f"{index:03d}.png")
    return folder


def train(
    folder: Path, network: str, norms: str, epochs: int, processes: int, *more: str
) -> list[list[float]]:
    """Training and validation loss of each epoch; an epoch is one pass over the digits."""
    builder, weights = NETWORKS[network][0], folder / f"{NETWORKS[network][0]}.safetensors"
    torch.manual_seed(0)
    save_file(globals()[f"build_{builder}"]().state_dict(), weights)
    out = folder / f"{builder}-{norms}-{processes}{''.join(more)}"
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2"] if processes == 2 else []
    line = [
        *(sys.executable, *launcher, "-m", "regraft", "fit", str(folder / "photos"), "--out", str(out)),
        *("--source", f"file:{weights}", "--builder", f"processes:build_{builder}", "--size", "32"),
        *("--strategy", "lpft:all", "--device", "cpu", "--backend", "eager", "--threads", "1"),
        *("--set", f"streams.target.batch={16 // processes}", "--set", "streams.target.views=0"),
        *("--set", f"stop.epochs={epochs}", "--set", "stop.patience=null"),
        *("--set", f"norm_statistics={norms}", *more),
    ]
    found = environment(folder / "cache")
    found["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [found.get("PYTHONPATH")])]
    )
    done = subprocess.run(line, env=found, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = [json.loads(text) for text in (out / "history.jsonl").read_text().splitlines()]
    return [[line["loss"], line["validation"]["loss"]] for line in lines if line["kind"] == "train"]


def main() -> None:
    given = parser(__doc__, "processes")
    given.add_argument("--epochs", type=int, default=3, help="passes over the digits")
    options = given.parse_args()
    rows, figures = [], {}
    with workplace() as folder:
        write_photos(folder / "photos")
        for name, (_, norms, agrees) in NETWORKS.items():
            one = torch.tensor(train(folder, name, norms, options.epochs, 1))
            for kind, more in (("two processes", ()), ("two, weights divided", ("--sharding", "full"))):
                two = torch.tensor(train(folder, name, norms, options.epochs, 2, *more))
                apart = (one - two).abs().amax(1)
                met = ("yes" if float(apart.max()) <= AIM else "NO") if agrees else "differs by design"
                rows.append([name, kind, *(f"{value:.1e}" for value in apart.tolist()), met])
                figures[f"{name}: {kind}"] = {"difference": apart.tolist(), "expected": agrees}
    print_table(["network", "against", *(f"epoch {n + 1}" for n in range(options.epochs)), "<= 1e-5"], rows)
    write_results(options.json, {"aim": AIM, "networks": figures})


if __name__ == "__main__":
    main()
