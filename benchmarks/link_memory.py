"""Memory and time of linking a checkpoint of 334 million parameters, beside transformers and safetensors.

A BERT of 24 layers and width 1,024 with made-up weights is saved three times: in one file, in shards, in
half precision. Each case runs in an interpreter of its own, with one thread and the file in the system's
cache, one case after the other in each of several rounds. All imports come first, and so does linking a
network of one layer, which imports what is imported on the way. Then the peak of the resident memory is
reset (5 to /proc/self/clear_refs): the rise is VmHWM at the end less VmRSS at this moment. Times are
compared as seconds of the processor, which other work on the machine moves least.

    python benchmarks/link_memory.py
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import parser, print_table, workplace, write_results

if TYPE_CHECKING:
    from torch import Tensor, nn

FILES = {"one file": "one", "shards": "shards", "float16": "half"}
CASES = {
    "safetensors: read and clone": ("one file", "safetensors"),
    "transformers: from_pretrained, mapped": ("one file", "transformers"),
    "transformers: .. and each number read": ("one file", "transformers-read"),
    "regraft: link and load, same network": ("one file", "find-same"),
    "regraft: saved link, same network": ("one file", "apply-same"),
    "regraft: link and load, nn.TransformerEncoder": ("one file", "find-encoder"),
    "regraft: saved link, nn.TransformerEncoder": ("one file", "apply-encoder"),
    "regraft: link and load, new classifier": ("one file", "find-classifier"),
    "regraft: saved link, new classifier": ("one file", "apply-classifier"),
    "safetensors: read and clone, shards": ("shards", "safetensors"),
    "regraft: link and load, shards": ("shards", "find-same"),
    "regraft: saved link, shards": ("shards", "apply-same"),
    "safetensors: read and clone, float16": ("float16", "safetensors"),
    "regraft: saved link, float16 -> float16": ("float16", "apply-half"),
    "safetensors: read and cast, float16": ("float16", "safetensors-cast"),
    "regraft: saved link, float16 -> float32": ("float16", "apply-same"),
}
MEMORY_AIM, TIME_AIM = 1.15, 1.5
MIB = 1 << 20


def generate(folder: Path, layers: int) -> None:
    """Save the checkpoint three times: in one file, in shards, in half precision."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=1024, num_hidden_layers=layers, num_attention_heads=16, intermediate_size=4096
    )
    model = BertModel(config, add_pooling_layer=False)
    model.save_pretrained(folder / "one", max_shard_size="100GB")
    model.save_pretrained(folder / "shards", max_shard_size="300MB")
    model.half().save_pretrained(folder / "half", max_shard_size="100GB")


def networks(config: Any) -> dict[str, Callable[[], nn.Module]]:
    """The targets: the same network, one of torch's own layers, one with a classifier, one of float16."""
    import torch
    from torch import nn
    from transformers import BertForSequenceClassification, BertModel

    class Encoder(nn.Module):
        """BERT in torch's own layers, which fuse q, k and v."""

        def __init__(self) -> None:
            super().__init__()
            width = config.hidden_size
            self.words = nn.Embedding(config.vocab_size, width)
            self.places = nn.Embedding(config.max_position_embeddings, width)
            self.kinds = nn.Embedding(config.type_vocab_size, width)
            self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
            layer = nn.TransformerEncoderLayer(
                width,
                config.num_attention_heads,
                config.intermediate_size,
                activation="gelu",
                layer_norm_eps=config.layer_norm_eps,
                batch_first=True,
            )
            self.layers = nn.TransformerEncoder(layer, config.num_hidden_layers, enable_nested_tensor=False)

        def forward(self, input_ids: Tensor) -> Tensor:
            places = self.places(torch.arange(input_ids.shape[1]))
            made: Tensor = self.layers(
                self.norm(self.words(input_ids) + places + self.kinds(torch.zeros_like(input_ids)))
            )
            return made

    return {
        "same": lambda: BertModel(config, add_pooling_layer=False),
        "encoder": Encoder,
        "classifier": lambda: BertForSequenceClassification(config),
        "half": lambda: BertModel(config, add_pooling_layer=False).half(),
    }


def weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def memory(field: str) -> int:
    """A line of /proc/self/status in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


class Measured:
    """Seconds and the rise of the peak of one piece of work."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self.base = memory("VmRSS")
        self.seconds: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        self.start, self.busy = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        """Seconds since the last lap, and those in which the processor worked on it."""
        self.seconds[name] = time.perf_counter() - self.start
        self.processor[name] = time.process_time() - self.busy
        self.start, self.busy = time.perf_counter(), time.process_time()

    def figures(self, model_bytes: int) -> dict[str, Any]:
        rise = memory("VmHWM") - self.base
        return {"rise": rise, "model": model_bytes, "seconds": self.seconds, "processor": self.processor}


def one(folder: Path, saved: Path, case: str) -> dict[str, Any]:
    """One case, in this process."""
    import torch

    torch.set_num_threads(1)
    if case.startswith("safetensors"):
        return read_alone(folder, cast=case.endswith("cast"))
    if case.startswith("transformers"):
        return with_transformers(folder, read=case.endswith("read"))
    kind, _, network = case.partition("-")
    return with_regraft(folder, saved / f"{network}.json", network, search=kind == "find")


def read_alone(folder: Path, *, cast: bool) -> dict[str, Any]:
    import torch
    from safetensors import safe_open

    measured = Measured()
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, "pt") as stream:
            for name in stream.keys():  # noqa: SIM118 - not a dict
                tensor = stream.get_tensor(name)
                tensors[name] = tensor.float() if cast else tensor.clone()
    measured.lap("load")
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    return measured.figures(sum(tensor.nbytes for tensor in tensors.values()))


def with_transformers(folder: Path, *, read: bool) -> dict[str, Any]:
    import torch
    from transformers import BertConfig, BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    tiny = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(tiny, add_pooling_layer=False)
    measured = Measured()
    model = BertModel.from_pretrained(folder, add_pooling_layer=False)
    if read:
        with torch.no_grad():
            assert all(bool(parameter.sum().isfinite()) for parameter in model.parameters())
    measured.lap("load")
    return measured.figures(size_of(model))


def with_regraft(folder: Path, saved: Path, name: str, *, search: bool) -> dict[str, Any]:
    import torch
    from transformers import BertConfig

    import regraft as rg
    from regraft.linking.saving import save_link

    rehearse()
    build = networks(BertConfig.from_pretrained(folder))[name]
    ids = {"input_ids": torch.arange(8)[None]}
    source = (
        str(index)
        if (index := folder / "model.safetensors.index.json").is_file()
        else weight_files(folder)[0]
    )
    measured = Measured()
    if search:
        link = rg.link(source, build, inputs=ids, waivers=waivers(name))
        measured.lap("link")
    else:
        link = rg.link(source, build, inputs=ids, saved=saved)
        measured.lap("open")
    model = link.load()
    measured.lap("load")
    figures = measured.figures(size_of(model))
    if search:
        save_link(link, saved)
        save_link(link, saved.with_name("half.json"))
    figures["largest difference"] = difference(model, folder, ids)
    return figures


def waivers(name: str) -> list[str]:
    """The checkpoint has no pooler and no classifier: both are new."""
    return ["bert.pooler.*", "classifier.*"] if name == "classifier" else []


def rehearse() -> None:
    """Link a network of one layer to another one, so that all that is imported on the way is imported."""
    import torch
    from torch import nn

    import regraft as rg

    one, other = nn.Sequential(nn.Linear(2, 3)), nn.Sequential()
    other.add_module("head", nn.Linear(2, 3))
    rg.link(one, lambda: other, inputs=torch.zeros(1, 2)).load()


def size_of(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])


def difference(model: nn.Module, folder: Path, ids: dict[str, Tensor]) -> float:
    """The largest difference to what transformers' own network computes, relative to its largest value."""
    import torch
    from transformers import BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    own = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=next(model.parameters()).dtype)
    trunk = getattr(model, "bert", model)
    with torch.inference_mode():
        given, expected = trunk(**ids), own.eval()(**ids).last_hidden_state.float()
    given = (given if isinstance(given, torch.Tensor) else given.last_hidden_state).float()
    return float((given - expected).abs().max() / expected.abs().max())


def run(work: Path, name: str) -> dict[str, Any]:
    """One case in an interpreter of its own."""
    file, case = CASES[name]
    folder = work / FILES[file]
    for path in weight_files(folder):
        with open(path, "rb", buffering=0) as stream:  # into the system's cache
            while stream.read(64 * MIB):
                pass
    command = [sys.executable, __file__, "--case", case, "--folder", str(folder), "--saved", str(work)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed with status {done.returncode}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def gather(work: Path, rounds: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    for number in range(rounds):
        for name in CASES:
            found[name].append(run(work, name))
            print(f"round {number + 1}: {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    return {name: summary(name, figures, found) for name, figures in found.items()}


def summary(
    name: str, figures: list[dict[str, Any]], found: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """The largest rise; medians of seconds, and of the ratio to safetensors alone in the same round."""
    file, case = CASES[name]
    cast = file == "float16" and case == "apply-same"
    alone = found[
        next(n for n, c in CASES.items() if c == (file, "safetensors-cast" if cast else "safetensors"))
    ]
    bases = [one["processor"]["load"] for one in alone]
    loads = [one["processor"]["load"] for one in figures]
    wholes = [sum(one["processor"].values()) for one in figures]
    return {
        "rise MiB": round(max(one["rise"] for one in figures) / MIB, 1),
        "model MiB": round(figures[0]["model"] / MIB, 1),
        "rise / model": round(max(one["rise"] / one["model"] for one in figures), 3),
        "seconds": medians([one["seconds"] for one in figures]),
        "processor seconds": medians([one["processor"] for one in figures]),
        "load / safetensors alone": ratio(loads, bases),
        "all / safetensors alone": ratio(wholes, bases),
        "largest difference": max(one.get("largest difference", 0.0) for one in figures),
        "rounds": figures,
    }


def medians(laps: list[dict[str, float]]) -> dict[str, float]:
    return {lap: round(statistics.median(one[lap] for one in laps), 3) for lap in laps[0]}


def ratio(values: list[float], bases: list[float]) -> float:
    """The median of the ratio in each round."""
    return round(statistics.median(a / b for a, b in zip(values, bases, strict=True)), 2)


def show(cases: dict[str, Any]) -> None:
    rows = []
    for name, case in cases.items():
        seconds = " + ".join(f"{value:.2f} ({lap})" for lap, value in case["processor seconds"].items())
        memory_ratio, time_ratio = case["rise / model"], case["load / safetensors alone"]
        row = [name, case["rise MiB"], memory_ratio, seconds, time_ratio, case["all / safetensors alone"]]
        rows.append([*row, f"{case['largest difference']:.1e}" if "regraft" in name else ""])
    columns = [
        "case",
        "rise, MiB",
        "rise / model",
        "processor s",
        "load / alone",
        "all / alone",
        "difference",
    ]
    print_table(columns, rows)
    missed = [
        name
        for name, case in cases.items()
        if name.startswith("regraft")
        and (
            case["rise / model"] > MEMORY_AIM
            or ("saved" in name and case["load / safetensors alone"] > TIME_AIM)
        )
    ]
    print(
        f"aims: rise at most {MEMORY_AIM} of the model; a saved link loads in {TIME_AIM} of safetensors alone"
    )
    print(f"missed: {', '.join(missed) or 'none'}")


def main() -> None:
    options = parser(__doc__, "link_memory")
    options.add_argument("--layers", type=int, default=24, help="layers of the transformer")
    options.add_argument("--rounds", type=int, default=5, help="how often each case is measured")
    options.add_argument("--work", type=Path, help="where the checkpoints go and stay")
    for name in ("case", "folder", "saved"):
        options.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.case:
        print(json.dumps(one(Path(given.folder), Path(given.saved), given.case)))
        return
    with workplace(given.work) as work:
        if not (work / "half").is_dir():
            generate(work, given.layers)
        cases = gather(work, given.rounds)
        sizes = {
            name: sum(path.stat().st_size for path in weight_files(work / f)) for name, f in FILES.items()
        }
    show(cases)
    write_results(given.json, {"layers": given.layers, "file bytes": sizes, "cases": cases})


if __name__ == "__main__":
    main()
