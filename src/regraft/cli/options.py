"""Options that several commands share, and how they become arguments."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from regraft.targets import Target

_DATA = "Data"
_COMPUTE = "Compute"

DataPath = Annotated[
    Path,
    typer.Argument(
        help="A folder of class folders of images (or train/ val/ test/ with class folders); a csv, tsv, "
        "parquet or jsonl file; or a saved Hugging Face dataset."
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run, as written by `regraft fit --out`.")]
Label = Annotated[
    list[str] | None,
    typer.Option(help="Column of the labels; several times for several outputs.", rich_help_panel=_DATA),
]
Image = Annotated[str | None, typer.Option(help="Column of image paths.", rich_help_panel=_DATA)]
Text = Annotated[str | None, typer.Option(help="Column of texts.", rich_help_panel=_DATA)]
Group = Annotated[
    str | None,
    typer.Option(
        help="Column whose equal values never stand on both sides of a split.", rich_help_panel=_DATA
    ),
]
Split = Annotated[
    str | None, typer.Option(help="Column that says train, val or test.", rich_help_panel=_DATA)
]
TaskKind = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        help="binary, multiclass, multilabel or regression, if what is found from the labels is wrong; "
        "OUTPUT=KIND where there are several outputs.",
        rich_help_panel=_DATA,
    ),
]
DropRare = Annotated[
    bool, typer.Option(help="Leave out classes with fewer than two examples.", rich_help_panel=_DATA)
]
TestSize = Annotated[
    str | None,
    typer.Option(
        help="Share (0.2) or count (500) of the test part. Default: 0.2, or the data's own.",
        rich_help_panel=_DATA,
    ),
]
TestSalt = Annotated[str, typer.Option(help="Another word fixes another test part.", rich_help_panel=_DATA)]
SourceName = Annotated[
    str | None,
    typer.Option(
        "--source",
        help="Pretrained model; `regraft sources` lists them, and A+B joins several. Default: one that fits "
        "the data.",
    ),
]
Size = Annotated[
    int | None, typer.Option(help="Input size in pixels, where the source reads images of any size.")
]
BuilderOption = Annotated[
    str | None,
    typer.Option(
        "--builder",
        help="MODULE:FUNCTION that builds a network of your own, for file: sources, and for plans and runs "
        "with such a network.",
    ),
]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network",
        help="The target model's network, where it is not the source's own: a source's name, of which only "
        "the network is used, or MODULE:FUNCTION that builds yours. --size is this network's.",
    ),
]
Maps = Annotated[list[str] | None, typer.Option("--map", help="Rename source tensors: REGEX=>TO.")]
Waive = Annotated[
    list[str] | None, typer.Option(help="Excuse tensors that nothing carries over to: a pattern.")
]
StrategyName = Annotated[
    str,
    typer.Option(
        "--strategy", help="How to train; `regraft plan --list` says which are there and when to use them."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Fixes every random choice.")]
PerClass = Annotated[
    int | None,
    typer.Option(min=2, help="Labelled examples to use of each class, for training and validation."),
]
TrainSize = Annotated[
    int | None, typer.Option(min=2, help="Labelled examples to use, for training and validation together.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Change the plan: KEY=VALUE, as in stop.epochs=5 or trainable=blocks.{9..11},head."
    ),
]
Streams = Annotated[
    list[str] | None,
    typer.Option(
        "--stream",
        help="NAME=DATA: the data of a stream of the plan that reads others than DATA, as the source data of "
        "--strategy joint: source=photos/. Once for each such stream.",
        rich_help_panel=_DATA,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_COMPUTE)]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", rich_help_panel=_COMPUTE)]
Backend = Annotated[
    str,
    typer.Option(help="What runs frozen layers: auto, eager, openvino or compile.", rich_help_panel=_COMPUTE),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Numbers that trained layers compute with: float32, bfloat16, or float16 on a GPU.",
        rich_help_panel=_COMPUTE,
    ),
]
Sharding = Annotated[
    str,
    typer.Option(
        help="none, or full: trained weights, gradients and optimiser are divided among the processes that "
        "torchrun started.",
        rich_help_panel=_COMPUTE,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=0, help="Threads that make the batches of coming steps ahead.", rich_help_panel=_COMPUTE
    ),
]
CacheLimit = Annotated[
    str | None,
    typer.Option(
        "--cache-limit",
        metavar="SIZE",
        help="What the cache on disk may hold: 20GB, 500MB; what was used least recently goes first. "
        "Default: REGRAFT_CACHE_LIMIT, else 20% of the disk space there is for it, 50 GB at most.",
        rich_help_panel=_COMPUTE,
    ),
]
Activations = Annotated[
    str,
    typer.Option(
        help="How what frozen layers give is kept: float32, exact, or float16, in half the space; what that "
        "changes is measured and said.",
        rich_help_panel=_COMPUTE,
    ),
]
_compile = typer.Option(
    "--compile",
    help="Whether torch.compile runs what is trained: auto where the steps repay it, never, always.",
    rich_help_panel=_COMPUTE,
)
Compile = Annotated[str, _compile]
CompileAgain = Annotated[str | None, _compile]
Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        help="Let this follow the training beside history.jsonl: tensorboard (in the run's folder) or mlflow "
        "(MLFLOW_TRACKING_URI, else the folder mlruns beside the run); several times for both.",
        rich_help_panel=_COMPUTE,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
MaxUnreadable = Annotated[
    float,
    typer.Option(
        min=0.0, max=1.0, help="Share of examples that may turn out unreadable.", rich_help_panel=_DATA
    ),
]


def open_target(
    path: Path,
    *,
    label: list[str] | None = None,
    image: str | None = None,
    text: str | None = None,
    group: str | None = None,
    split: str | None = None,
    task: list[str] | None = None,
    drop_rare: bool = False,
    test_size: str | None = None,
    test_salt: str = "",
) -> Target:
    """Load the data that the options describe."""
    from regraft.targets import load_target

    given = {"label": _one_or_more(label), "image": image, "text": text, "group": group, "split": split}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if drop_rare:
        options["drop_rare"] = True
    if task:
        options["tasks"] = _kinds(task)
    target = load_target(path, **options)
    if test_size is None and not test_salt:
        return target
    return target.with_test(_share_or_count(test_size or "0.2"), salt=test_salt)


def _one_or_more(names: list[str] | None) -> str | list[str] | None:
    return names[0] if names and len(names) == 1 else names or None


def _kinds(given: list[str]) -> str | dict[str, str]:
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    return dict(_pair(one) for one in given)


def _pair(text: str) -> tuple[str, str]:
    from regraft.core.errors import UsageError

    output, separator, kind = text.partition("=")
    if not separator:
        raise UsageError(f"--task {text}: with several outputs write OUTPUT=KIND, as in price=regression")
    return output, kind


def streams_of(given: list[str] | None) -> dict[str, str]:
    """``NAME=DATA`` of each stream, by name."""
    from regraft.core.errors import UsageError

    pairs = [text.partition("=") for text in given or ()]
    for name, _, data in pairs:
        if not name or not data:
            raise UsageError(f"--stream {name}: write NAME=DATA, as in source=photos/")
    return {name: data for name, _, data in pairs}


def _share_or_count(text: str) -> float | int:
    from regraft.core.errors import UsageError

    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise UsageError(f"--test-size {text}: give a share such as 0.2 or a count such as 500") from None


def source_options(size: int | None, builder: str | None = None) -> dict[str, Any]:
    """What a source is opened with."""
    given = {"size": size, "builder": builder}
    return {name: value for name, value in given.items() if value is not None}


def seconds_of(text: str) -> float:
    """``90``, ``90s``, ``5m`` or ``2h`` in seconds."""
    from regraft.core.errors import UsageError

    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text and text[-1] in units else (text, 1.0)
    try:
        value = float(number) * unit
    except ValueError:
        value = 0.0
    if value <= 0:
        raise UsageError(f"{text!r} is no time; write 90s, 5m or 2h")
    return value


def bytes_of(text: str | None) -> int | None:
    """``20GB`` in bytes; None where nothing was said."""
    from regraft.inference.cache import parse_size

    return None if text is None else parse_size(text)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
