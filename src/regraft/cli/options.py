"""Options that several commands share; `given` makes arguments of what was typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
