"""Commands about a finished run: prove, evaluate, predict, report, export."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from regraft.cli import given, options as o


def prove(
    folder: o.RunFolder,
    seeds: Annotated[int, typer.Option(min=3, help="Paired seeds: every arm sees the same draws.")] = 8,
    budget: Annotated[str, typer.Option(help="Time to spend: 90s, 20m, 2h.")] = "20m",
    scratch: Annotated[
        str,
        typer.Option(
            help="The arm from scratch: same (network), small (another one), or auto (what fits the budget)."
        ),
    ] = "auto",
    curve: Annotated[
        str | None,
        typer.Option(
            help="Labels per class, as in 10,25,50: learning curves, and how many times the labels an arm "
            "without a source needs to match this run's; paid with what the verdict leaves of the budget."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="The output that the verdict is about; the first if not given.")
    ] = None,
    fail_if_harmed: Annotated[
        bool, typer.Option("--fail-if-harmed", help="Exit with status 3 where the verdict is HARMED.")
    ] = False,
    builder: o.BuilderOption = None,
    json: o.AsJson = False,
) -> None:
    """Did the source help? Compare with the best arm that has no source, over paired seeds."""
    from regraft.api.prove import prove as run_prove
    from regraft.evidence import curve_table, evidence_table

    evidence = run_prove(
        folder,
        seeds=seeds,
        budget=given.seconds_of(budget),
        scratch=scratch,
        curve=_numbers(curve),
        output=output,
        builder=builder,
    )
    if json:
        given.print_json(evidence.to_json())
    else:
        print(evidence_table(evidence))
        if evidence.curve is not None:
            print()
            print(curve_table(evidence.curve, percent=bool(evidence.metric["percent"])))
        print()
        print(evidence.sentence)
        if evidence.curve is not None and evidence.curve.sentence:
            print(evidence.curve.sentence)
        print(f"report: {folder / 'report.html'}")
    if fail_if_harmed and evidence.verdict == "HARMED":
        raise typer.Exit(3)


def _numbers(text: str | None) -> tuple[int, ...]:
    """``10,25,50`` as numbers."""
    from regraft.core.errors import UsageError

    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if not all(word.isdecimal() for word in words) or (text is not None and not words):
        raise UsageError(f"--curve {text}: write labels per class with commas between, as in 10,25,50")
    return tuple(map(int, words))


def evaluate(
    folder: o.RunFolder,
    data: o.DataPath,
    label: o.Label = None,
    image: o.Image = None,
    text: o.Text = None,
    slices: o.Slices = None,
    builder: o.BuilderOption = None,
    json: o.AsJson = False,
) -> None:
    """Score a run's model on other labelled data.

    Of a run on several targets, NAME=DATA says whose data they are: `regraft evaluate runs/both cells=new/`.
    `--slices camera` shows where it does worse: `regraft evaluate runs/cells new.csv --slices camera,age`.
    """
    from regraft.api.evaluate import evaluate as run_evaluate

    found = given.find_data(data)
    columns = given.columns_of(found, {"label": label, "image": image, "text": text})
    metrics = run_evaluate(folder, found, builder=builder, slices=given.names_of(slices), **columns)
    if json:
        given.print_json(metrics)
        return
    for line in metric_lines(metrics):
        print(line)


def metric_lines(metrics: dict[str, Any]) -> list[str]:
    """Figures with their intervals, a line each."""
    lines = []
    for output, figures in metrics["outputs"].items():
        lines.append(f"{output} ({figures['task']}), {figures['count']} labelled examples")
        for name, figure in figures["metrics"].items():
            lines.append(f"  {name:20} {_interval(figure)}")
        lines += _calibration_lines(figures.get("calibration"))
        lines += slice_lines(figures)
    return lines


def _calibration_lines(told: dict[str, Any] | None) -> list[str]:
    """How true the probabilities are; what examples this few would show anyway stands behind it."""
    if not told:
        return []
    error = told["model"]["ece_equal_mass"]
    words = f"{error['debiased']:.1%} ({error['low']:.1%} to {error['high']:.1%})"
    most = error["if_calibrated"]["high"]
    note = f"uncorrected {error['value']:.1%}; true probabilities would show up to {most:.1%}"
    return [f"  {'calibration error':20} {words}, {note}"]


def slice_lines(figures: dict[str, Any]) -> list[str]:
    """A line for each slice; those that are worse than the rest are marked."""
    deciding = figures["metrics"][figures["deciding"]]
    lines = []
    for one in figures.get("slices", []):
        shown = {**deciding, "value": one["figure"], "low": one["low"], "high": one["high"]}
        mark = f"  worse than the rest, p = {one['adjusted']:.2g}" if one["worse"] else ""
        lines.append(f"  {one['column']} = {one['value']}: {_interval(shown)}, {one['count']} examples{mark}")
    return lines


def _interval(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "not defined on these labels"
    factor, sign, digits = (100, "%", 1) if figure["percent"] else (1, "", 4)
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if low is None or high is None:
        return f"{value * factor:.{digits}f}{sign}"
    return f"{value * factor:.{digits}f}{sign} ({low * factor:.{digits}f} to {high * factor:.{digits}f})"


def predict(
    folder: o.RunFolder,
    items: Annotated[list[str], typer.Argument(help="Files, folders, globs, or a table.")],
    column: Annotated[str | None, typer.Option(help="Column of a table that holds the items.")] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(help="Only this output, or NAME for all NAME.OUTPUT; several times for several."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table on standard output.")] = False,
    builder: o.BuilderOption = None,
    backend: o.Backend = "auto",
    json: o.AsJson = False,
) -> None:
    """Predict for ITEMS, in input order; what cannot be read gets an entry with its error.

    Exit status 1 says that nothing could be read.
    """
    from regraft.inference.predictor import Predictor

    predictor = Predictor.load(folder, builder=builder)
    predictions = predictor.predict(items, column=column, outputs=output or (), backend=backend)
    if json:
        given.print_json({"predictions": predictions})
    elif as_csv:
        _print_csv(predictions)
    else:
        for entry in predictions:
            print(_line(entry))
    if predictions and all("error" in entry for entry in predictions):
        raise typer.Exit(1)


def _line(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"{entry['item']}: could not be read: {entry['error']}"
    return f"{entry['item']}: " + "; ".join(
        _fields(name, fields, len(entry["outputs"])) for name, fields in entry["outputs"].items()
    )


def _fields(name: str, fields: dict[str, Any], count: int) -> str:
    shown = f"{name} = " if count > 1 else ""
    if "label" in fields:
        return f"{shown}{fields['label']} ({fields['probabilities'][fields['label']]:.1%})"
    if "labels" in fields:
        return shown + (", ".join(fields["labels"]) or "none")
    return f"{shown}{fields['value']:.6g}"


def _print_csv(predictions: list[dict[str, Any]]) -> None:
    from regraft.inference.predictor import columns_of

    writer = csv.DictWriter(sys.stdout, fieldnames=list(columns_of(predictions)), lineterminator="\n")
    writer.writeheader()
    for entry in predictions:
        row = {"item": entry["item"], "error": entry.get("error", "")}
        for name, fields in entry.get("outputs", {}).items():
            row.update(
                {f"{name}.{key}": _cell(value) for key, value in fields.items() if key != "probabilities"}
            )
        writer.writerow(row)


def _cell(value: Any) -> Any:
    return "|".join(value) if isinstance(value, list) else value


def report(
    folders: Annotated[
        list[Path], typer.Argument(help="The folder of a run; several to compare them.", metavar="FOLDER..")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Of several runs, the page to write. Default: comparison.html, here."),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Write a run's report.html and model card anew; of several runs, compare them on one page.

    `regraft report runs/probe runs/lpft --out probe-or-lpft.html`: what differs between them, final figures
    side by side, differences to the first paired over test examples, time, size, verdicts.
    """
    if len(folders) == 1:
        return _report(folders[0], out, json)
    from regraft.api.compare import compare

    place = out or Path("comparison.html")
    found = compare(folders, out=place)
    if json:
        return given.print_json({"report": str(place), **found.to_json()})
    print(found.table())
    print()
    print(found.sentence)
    print(f"report: {place}")
    return None


def _report(folder: Path, out: Path | None, json: bool) -> None:
    from regraft.core.errors import UsageError
    from regraft.engine import Run
    from regraft.report import write_card, write_report

    if out is not None:
        raise UsageError(
            f"--out is the page of a comparison, and one run was named; its report is {folder}/report.html"
        )
    run = Run.load(folder)
    page, card = write_report(run.folder), write_card(run.folder)
    if json:
        given.print_json({"report": str(page), "card": str(card)})
    else:
        print(page)


def export(
    folder: o.RunFolder,
    to: Annotated[str, typer.Option(help="onnx or safetensors.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: in the run's folder.")] = None,
    builder: o.BuilderOption = None,
    json: o.AsJson = False,
) -> None:
    """Write a run's model in another format; ONNX is checked against PyTorch in onnxruntime."""
    from regraft.api.export import export as run_export

    made = run_export(folder, to=to, out=out, builder=builder)
    if json:
        given.print_json(made)
    else:
        print(made["file"])
