"""Partial fine-tuning: regraft, which runs frozen blocks once, beside loops that run them in every step.

1. EfficientNet-Lite0 at 224 on 300 photos of solar cells (240 train, 60 validate after each epoch), last two
   blocks and head, 10 epochs: beside a timm loop that freezes the same layers, with the same batches, rates,
   decay and clipping, on the same decoded pixels. Losses are compared step by step: all of them with an eager
   prefix (aim 1e-5), the first 20 with a compiled one (aim 1e-4). The aim for time is 8 times faster.
2. A small vision transformer (12 layers of width 192, random weights, 224 pixels) on the same photos, and
   MiniLM on 600 descriptions of packages in 8 sections: LoRA of rank 8 on queries and values of the last two
   layers and a head, 10 epochs, beside transformers' Trainer with PEFT. Both sides train the same adapters,
   made by PEFT; regraft has no edits of its own yet, so they are put into its network by hand. What differs:
   each shuffles in its own order, and Trainer leaves dropout on in frozen layers too (MiniLM has some).

What arithmetic allows is how many times more multiplications the loop does than regraft, frozen layers and
validation included: where both sides run at one speed no ratio can be higher. A network of 6 alike layers, 2
of them trained, cannot reach 8; one whose frozen layers are those that eager code is slow at can.

Seconds are those of training, validation and, for regraft, running the frozen layers once and compiling them;
decoding, loading and imports are left out on both sides. Nothing is kept between runs.

    PYTHONPATH=src .venv-vision/bin/python benchmarks/partial.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    aimed,
    measure_and_show,
    parser,
    photo_folder,
    print_markdown,
    print_table,
    usual,
)
from lora_side import Classifier, add_lora, train
from text_target import write_table
from timm_side import Batches, network_of, renamed, train_last
from torch.utils.flop_counter import FlopCounterMode

from regraft.core.randomness import numpy_generator
from regraft.engine import Settings, Workspace, execute, open_workspace
from regraft.engine.open import draw_examples, fitted_tasks
from regraft.engine.train_stage import TrainStageRun
from regraft.linking import Blueprint, find_link
from regraft.plans import GroupSpec, Plan, StopSpec, TermSpec, TrainStage
from regraft.sources import Source, find, read_weights
from regraft.strategies import plan_for
from regraft.targets import Prepared, Target, prepare
from regraft.tasks import make_task

AIM, AIM_EAGER, AIM_COMPILED = 8.0, 1e-5, 1e-4
BATCH, FIRST = 32, 20
RATE, LORA_RATE = 3e-4, 1e-3

losses: list[float] = []


def record_steps() -> None:
    """Have every optimiser step write its loss down; trials before the first step are none."""
    step = TrainStageRun._step

    def recorded(run: TrainStageRun) -> float:
        losses.append(step(run))
        return losses[-1]

    TrainStageRun._step = recorded


def plan_of(source: Source, target: Target, trained: tuple[str, ...], prefix: str, **given: Any) -> Plan:
    """A plan of one stage that trains ``trained`` behind a frozen prefix and keeps the last weights."""
    blueprint = Blueprint(source, tuple(make_task(spec) for spec in target.tasks))
    stage = TrainStage(
        name="tune",
        terms=(TermSpec(computes="supervised", streams=("target",)),),
        trainable=(*trained, "head"),
        norm_statistics="frozen",
        frozen_prefix=prefix,
        groups=(GroupSpec(match=("*",), rate=given["rate"], weight_decay=0.01),),
        stop=StopSpec(epochs=given["epochs"], keep="last"),
    )
    return plan_for(find_link(source, blueprint), "probe").model_copy(update={"stages": (stage,)})


def open_work(
    plan: Plan, prepared: Prepared, source: Source, backend: str, *, keep: bool = False
) -> Workspace:
    draw = draw_examples(plan, prepared.target)
    tasks = fitted_tasks(prepared.target, draw)
    link = find_link(source, Blueprint(source, tuple(tasks.values())), seed=plan.seed)
    return open_workspace(
        plan,
        prepared.target,
        prepared.inputs,
        {"student": link},
        tasks,
        draw,
        settings=Settings(device="cpu", backend=backend),
        keep=keep,
    )


def carry_out(work: Workspace) -> dict[str, Any]:
    """Run the plan; seconds, the loss of each step, and how the last validation went."""
    losses.clear()
    for head in work.models["student"].heads.values():
        for parameter in head.parameters():
            torch.nn.init.zeros_(parameter)
    start = time.perf_counter()
    execute(work)
    seconds = time.perf_counter() - start
    last = work.history.lines[-1]["validation"]
    spent = {name: round(value, 2) for name, value in work.seconds.items()}
    return {
        "seconds": seconds,
        "spent": spent,
        "backends": list(work.backends),
        "losses": list(losses),
        "loss": last["loss"],
        "accuracy": last["accuracy"],
    }


def allowed(work: Workspace, cut: int, epochs: int, *, backward: float) -> float:
    """How many times more arithmetic a loop does that runs the frozen layers in every step.

    ``backward`` is the cost of a trained layer's gradients in forward passes: 2 with its weights, 1 without.
    """
    trunk = work.models["student"].trunk
    batch = work.inputs.batch(work.draw.validation[:1])
    trunk.eval()
    with torch.no_grad():
        with FlopCounterMode(display=False) as every:
            trunk(batch)
        activation = trunk.prefix(batch, cut=cut)
        with FlopCounterMode(display=False) as behind:
            trunk.suffix(activation, batch, cut=cut)
    whole, rest = every.get_total_flops(), behind.get_total_flops()
    train, check = len(work.draw.train), len(work.draw.validation)
    theirs = epochs * (train * (whole + backward * rest) + check * whole)
    ours = (train + check) * (whole - rest) + epochs * (train * (1 + backward) + check) * rest
    return float(theirs / ours)


def batches_of(work: Workspace, epochs: int) -> list[Callable[[], Batches]]:
    """The batches that regraft's stream has: the order is a function of seed, stream and epoch."""
    train = work.draw.train

    def epoch(number: int) -> Batches:
        order = train[numpy_generator(work.draw.seed, "order", "target", number).permutation(len(train))]
        whole, rest = divmod(len(order), BATCH)
        count = max(whole + (rest > 1), 1)
        for at in range(count):
            yield read(work, order[at * BATCH : None if at == count - 1 else (at + 1) * BATCH])

    return [partial(epoch, number) for number in range(epochs)]


def read(work: Workspace, examples: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and labels. Every photo is one piece."""
    return work.inputs.batch(examples)["pixels"], work.labels(examples)["label"].long()


def validation_of(work: Workspace) -> Batches:
    chosen = work.draw.validation
    return (read(work, chosen[at : at + 64]) for at in range(0, len(chosen), 64))


def photos_of(options: argparse.Namespace, folder: Path) -> Target:
    """Photos without a test part: nothing here is measured on one."""
    return Target.from_images(photo_folder(folder / "photos", options.photos)).with_test(2)


def beside_timm(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source = find("packaged:efficientnet-lite0", size=options.size)
    prepared = prepare(photos_of(options, folder), source.preprocessing)
    plan = plan_of(
        source, prepared.target, ("blocks.15", "conv_head"), "blocks.14", rate=RATE, epochs=options.epochs
    )
    sides = {}
    for backend in ("eager", "auto"):
        work = open_work(plan, prepared, source, backend)
        sides[backend] = carry_out(work)
        print(f"regraft ({backend}): {sides[backend]['seconds']:.1f} s", flush=True)
    network = network_of(renamed(read_weights(source)), len(prepared.target.tasks[0].classes))
    batches = batches_of(work, options.epochs)
    start = time.perf_counter()
    theirs = train_last(network, batches, lambda: validation_of(work), RATE)
    seconds = time.perf_counter() - start
    print(f"timm: {seconds:.1f} s", flush=True)
    for side in sides.values():
        gaps = np.abs(np.subtract(side["losses"], theirs))
        side["ratio"] = seconds / side["seconds"]
        side["largest difference of a loss"] = float(gaps.max())
        side[f"in the first {FIRST} steps"] = float(gaps[:FIRST].max())
    cut = work.models["student"].trunk.cut_after("blocks.14")
    counts = {
        "train": len(work.draw.train),
        "validation": len(work.draw.validation),
        "allowed": allowed(work, cut, options.epochs, backward=2.0),
    }
    return {**counts, "size": options.size, "timm": {"seconds": seconds, "losses": theirs}, **sides}


def small_transformer(folder: Path, options: argparse.Namespace) -> Source:
    """A vision transformer with random weights, saved as transformers saves it."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=192,
        num_hidden_layers=options.layers,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=options.size,
        patch_size=16,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return find(f"hf:{folder}")


def encoder_of(folder: Path) -> Any:
    """The encoder as a person loads it."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)


def ours_with_lora(
    prepared: Prepared, source: Source, layers: tuple[int, ...], epochs: int
) -> dict[str, Any]:
    """Training of adapters that PEFT puts into the last layers of regraft's network."""
    probe = Blueprint(source, tuple(make_task(spec) for spec in prepared.target.tasks)).skeleton().trunk
    names = [name for name in probe.block_names if name.rsplit(".", 1)[-1].isdigit()]
    plan = plan_of(source, prepared.target, ("*lora_*",), names[layers[0] - 1], rate=LORA_RATE, epochs=epochs)
    work = open_work(plan, prepared, source, "auto")
    add_lora(work.models["student"].trunk.network, layers)
    cut = work.models["student"].trunk.cut_after(names[layers[0] - 1])
    bound = allowed(work, cut, epochs, backward=1.0)
    return {**carry_out(work), "draw": work.draw, "allowed": bound}


def beside_trainer(
    prepared: Prepared,
    source: Source,
    folder: Path,
    options: argparse.Namespace,
    read_one: Callable[[int], Any],
) -> dict[str, Any]:
    assert source.weights is not None
    place = source.weights.files[0].parent
    encoder = encoder_of(place)
    depth = int(encoder.config.num_hidden_layers)
    layers = (depth - 2, depth - 1)
    ours = ours_with_lora(prepared, source, layers, options.epochs)
    draw = ours.pop("draw")
    print(f"regraft: {ours['seconds']:.1f} s", flush=True)
    pooling = str(source.builder.options["pooling"])
    output = prepared.target.tasks[0]
    width = int(source.builder.options["width"])
    model = Classifier(add_lora(encoder, layers), width, len(output.classes), pooling)

    def examples(chosen: np.ndarray) -> list[dict[str, Any]]:
        labels = prepared.target.labels(chosen)[output.name]
        return [{**read_one(int(i)), "labels": int(label)} for i, label in zip(chosen, labels, strict=True)]

    theirs = train(
        model,
        examples(draw.train),
        examples(draw.validation),
        folder=folder / "trainer",
        epochs=options.epochs,
        rate=LORA_RATE,
        collate=padding(place) if prepared.target.modality == "text" else None,
    )
    print(f"Trainer: {theirs['seconds']:.1f} s", flush=True)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    ours["ratio"] = theirs["seconds"] / ours["seconds"]
    ours.pop("losses")
    counts = {"train": len(draw.train), "validation": len(draw.validation), "trained": trained}
    return {**counts, "layers": depth, "regraft": ours, "trainer": theirs}


def padding(folder: Path) -> Any:
    """Each batch is padded to its longest text."""
    from transformers import AutoTokenizer, DataCollatorWithPadding

    return DataCollatorWithPadding(AutoTokenizer.from_pretrained(folder))


def images_beside_trainer(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source = small_transformer(folder / "vit", options)
    prepared = prepare(photos_of(options, folder / "again"), source.preprocessing)

    def one(index: int) -> dict[str, Any]:
        return {"pixel_values": prepared.inputs.batch(np.array([index]))["pixels"][0]}

    return beside_trainer(prepared, source, folder, options, one)


def texts_beside_trainer(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    source = find("packaged:minilm")
    table = folder / "packages.csv"
    write_table(table, 8, options.texts // 8)
    target = Target.from_table(table, text="description", label="section").with_test(8)
    prepared = prepare(target, source.preprocessing)
    assert source.weights is not None
    tokenizer = AutoTokenizer.from_pretrained(source.weights.files[0].parent)
    words = texts_of(prepared.target)

    def one(index: int) -> dict[str, Any]:
        found = tokenizer(words[index], truncation=True, max_length=256)
        return {"input_ids": found["input_ids"], "attention_mask": found["attention_mask"]}

    return beside_trainer(prepared, source, folder, options, one)


def texts_of(target: Target) -> list[str]:
    return [str(target.examples.raw(index)) for index in range(len(target))]


def show(figures: dict[str, Any], *, markdown: bool = False) -> None:
    draw = print_markdown if markdown else print_table
    timm, rows = figures["timm"], []
    shown = {"eager": ("eager prefix", AIM_EAGER), "auto": ("default prefix", AIM_COMPILED)}
    for key, (title, aim) in shown.items():
        side = timm[key]
        gap = side["largest difference of a loss" if key == "eager" else f"in the first {FIRST} steps"]
        rows.append(
            [
                f"EfficientNet-Lite0, last 2 blocks, {title} ({', '.join(side['backends'])})",
                "timm loop",
                f"{timm['timm']['seconds']:.1f}",
                split(side),
                aimed(side["ratio"], AIM),
                f"{timm['allowed']:.1f}",
                f"{gap:.1e} (aim {aim:.0e}: {'met' if gap <= aim else 'missed'})",
            ]
        )
    for key, title in (("vit", "small ViT, LoRA on 2 layers"), ("minilm", "MiniLM, LoRA on 2 layers")):
        side = figures[key]
        rows.append(
            [
                f"{title} ({', '.join(side['regraft']['backends'])})",
                "Trainer, PEFT",
                f"{side['trainer']['seconds']:.1f}",
                split(side["regraft"]),
                aimed(side["regraft"]["ratio"], AIM),
                f"{side['regraft']['allowed']:.1f}",
                f"validation {side['regraft']['loss']:.3f} against {side['trainer']['loss']:.3f}",
            ]
        )
    draw(
        [
            "what",
            "beside",
            "theirs, s",
            "regraft, s (frozen layers + rest)",
            "times faster",
            "arithmetic allows",
            "losses",
        ],
        rows,
    )
    print(
        f"\n{timm['train']} photos train, {timm['validation']} validate; {figures['epochs']} epochs, "
        f"{figures['threads']} threads. Where the ratio is below what arithmetic allows, the layers behind "
        "the cut, which both sides run alike, or compiling weigh more; where it is above, frozen layers that "
        "run faster compiled than eager do"
    )


def split(side: dict[str, Any]) -> str:
    """Seconds, and how they divide into the frozen layers, run once, and everything after them."""
    frozen = side["spent"].get("features", 0.0)
    return f"{side['seconds']:.1f} ({frozen:.1f} + {side['seconds'] - frozen:.1f})"


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    return {
        "epochs": given.epochs,
        "threads": torch.get_num_threads(),
        "timm": beside_timm(given, folder),
        "vit": images_beside_trainer(given, folder),
        "minilm": texts_beside_trainer(given, folder),
    }


def main() -> None:
    options = parser(__doc__, "partial")
    usual(options)
    options.add_argument("--photos", type=int, default=302, help="how many photos, two of them set aside")
    options.add_argument("--texts", type=int, default=608, help="how many texts, 8 of them set aside")
    options.add_argument("--size", type=int, default=224, help="input size in pixels")
    options.add_argument("--epochs", type=int, default=10, help="epochs of each training")
    options.add_argument("--layers", type=int, default=12, help="layers of the vision transformer")
    given = options.parse_args()
    if given.quick:
        given.photos, given.texts, given.size, given.epochs, given.layers = 62, 128, 64, 3, 4
    record_steps()
    # The first optimiser imports torch's compiler: a second or more, which belongs to neither side.
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    measure_and_show(given, measure, show)


if __name__ == "__main__":
    main()
