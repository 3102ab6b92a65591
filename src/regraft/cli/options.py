"""Options that several commands share, and how they become arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from regraft.targets import Target

_DATA = "Data"
_COMPUTE = "Compute"

DataPath = Annotated[
    list[str],
    typer.Argument(
        help="A folder of class folders of images (or train/ val/ test/ with class folders); a csv, tsv, "
        "parquet or jsonl file; or a saved Hugging Face dataset. NAME=DATA for each of several targets that "
        "share one trunk: cells=cells/ digits=digits.csv.",
        metavar="DATA",
    ),
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run, as written by `regraft fit --out`.")]
Label = Annotated[
    list[str] | None,
    typer.Option(
        help="Column of the labels; several times for several outputs. Of several targets, NAME.COLUMN is "
        "one's own and COLUMN each table's; so it is with --image, --text, --group and --split.",
        rich_help_panel=_DATA,
    ),
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
        help="Pretrained model; `regraft sources` lists them, A+B joins several, and auto ranks all that "
        "work offline (`regraft rank`), in 2 minutes at most. Default: one that fits the data.",
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
StrategyOrAuto = Annotated[
    str,
    typer.Option(
        "--strategy",
        help="How to train; `regraft plan --list` says which are there and when to use them. `auto` lets "
        "probe, lpft, partial, l2sp, lora, full and, with --stream source=DATA, joint race on shared folds "
        "of the labels within --budget, and fits the winner; --set changes all that have its key.",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="With --strategy auto, what all of the call may take, from reading to the report: 90s, 3m, "
        "2h. What does not fit is shortened or left out, and named. Default: 5 minutes, or ten times what a "
        "probe is priced at where that is more.",
    ),
]
Search = Annotated[
    int | None,
    typer.Option(
        "--search",
        min=1,
        metavar="N",
        help="With --strategy auto, search for settings of the best strategy (rates, batches): up to N "
        "trials, as far as --budget goes, instead of the few that usually serve. Needs Optuna: "
        "regraft[search].",
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
Slices = Annotated[
    str | None,
    typer.Option(
        "--slices",
        metavar="COLUMN[,COLUMN]",
        help="Columns of the data: figures are also given for each of their values, numbers in quarters, and "
        "what is worse than the rest is marked. `folder`: the folders below those of the classes; "
        "NAME.COLUMN: of one of several targets.",
        rich_help_panel=_DATA,
    ),
]


def names_of(text: str | None) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name for name in (part.strip() for part in (text or "").split(",")) if name)


def open_target(
    data: Path | Sequence[str],
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
    """Load the data that the options describe; several that have names become one target."""
    from regraft.targets import Target, load_target

    found = find_data(data)
    given = {"label": label, "image": image, "text": text, "group": group, "split": split}
    common: dict[str, Any] = {"drop_rare": True} if drop_rare else {}
    if isinstance(found, Path):
        target = load_target(found, **columns_of(found, given), **common, tasks=_kinds(task))
    else:
        columns = columns_of(found, given)
        target = Target.together(
            {
                name: load_target(
                    path,
                    **{option: values[name] for option, values in columns.items()},
                    **common,
                    tasks=_kinds_of(task, name, found),
                )
                for name, path in found.items()
            }
        )
    if test_size is None and not test_salt:
        return target
    return target.with_test(_share_or_count(test_size or "0.2"), salt=test_salt)


def find_data(given: Path | Sequence[str]) -> Path | dict[str, Path]:
    """Where data lie; by name where each is written NAME=DATA, and no such file is there."""
    from regraft.core.errors import UsageError

    if isinstance(given, Path):
        return given
    pairs = [text.partition("=") for text in given]
    named = [
        bool(sign and name and path) and not Path(name + sign + path).exists() for name, sign, path in pairs
    ]
    if len(given) == 1 and not named[0]:
        return Path(given[0])
    if not all(named):
        bare = given[named.index(False)]
        raise UsageError(f"{bare}: several targets need names, as in cells=cells/ digits=digits/")
    names = [name for name, _, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"two targets are called {twice[0]}; each needs a name of its own")
    return {name: Path(path) for name, _, path in pairs}


def columns_of(data: Path | dict[str, Path], given: Mapping[str, list[str] | str | None]) -> dict[str, Any]:
    """What options say of columns, by option; where data have names, by these as well."""
    if isinstance(data, dict):
        return {
            option: {name: _addressed(value, name, data) for name in data} for option, value in given.items()
        }
    return {
        option: _one_or_more(value) if isinstance(value, list) else value for option, value in given.items()
    }


def _one_or_more(names: list[str] | None) -> str | list[str] | None:
    """A single name by itself, nothing where there is none."""
    return names[0] if names and len(names) == 1 else names or None


def _addressed(given: list[str] | str | None, name: str, data: Mapping[str, Path]) -> Any:
    """What of an option is for one of several targets: NAME.VALUE, else VALUE where it is a table."""
    from regraft.targets.loading import has_columns

    values = [given] if isinstance(given, str) else given or []
    heads = [(value.partition("."), value) for value in values]
    own = [rest for (first, sign, rest), _ in heads if sign and first == name]
    common = [value for (first, sign, _), value in heads if not (sign and first in data)]
    return _one_or_more(own or (common if has_columns(data[name]) else []))


def _kinds(given: list[str] | None) -> str | dict[str, str] | None:
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    return dict(_pair(one) for one in given)


def _kinds_of(given: list[str] | None, name: str, data: Mapping[str, Path]) -> str | dict[str, str] | None:
    """The kinds of task of one of several targets: NAME=KIND, or NAME.OUTPUT=KIND."""
    from regraft.core.errors import UsageError

    kinds = dict(_pair(one) for one in given or ())
    strange = [output for output in kinds if output.partition(".")[0] not in data]
    if strange:
        raise UsageError(f"--task {strange[0]}: there are {', '.join(data)}; write NAME.OUTPUT=KIND")
    if name in kinds:
        return kinds[name]
    own = {output.partition(".")[2]: kind for output, kind in kinds.items() if output.startswith(f"{name}.")}
    return own or None


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
    from regraft.core.deadline import seconds_of as read

    return read(text)


def bytes_of(text: str | None) -> int | None:
    """``20GB`` in bytes; None where nothing was said."""
    from regraft.inference.cache import parse_size

    return None if text is None else parse_size(text)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")
