"""Make the table of published figures that the package ships (``choosing/prior/known.csv``).

    python benchmarks/prior/make_known.py --timm results-imagenet.csv --speed benchmark-infer-..rtx3090.csv

It has the figures of torchvision's default weights (from the installed library's own records), those of
timm (``results/`` of its repository: accuracies, and multiplications where they were measured at the native
size), and the rows ``packaged:`` and ``hf:`` of ``recalled.csv``. Needs timm and torchvision, nothing else of
theirs: no weights are fetched.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path

from regraft.choosing.prior.families import family_of
from regraft.choosing.prior.finding import KNOWN, pretraining_of
from regraft.core.files import write_text
from regraft.sources.vision import require_vision

FIELDS = ("name", "family", "pretraining", "top1", "parameters", "macs", "size")
RECALLED = Path(__file__).with_name("recalled.csv")
HEAD = """\
# Published figures: top-1 on ImageNet-1k in percent, parameters in millions, multiplications in thousand
# millions, pixels. torchvision: the records of torchvision {vision}'s default weights. timm:
# results/results-imagenet.csv and {speed} of
# huggingface/pytorch-image-models, of each model's weights at the size that timm {timm} opens them with;
# the default weights of a network stand first. Others: recalled from papers and model cards.
# Made by benchmarks/prior/make_known.py.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timm", type=Path, required=True, help="timm's results-imagenet.csv")
    parser.add_argument("--speed", type=Path, required=True, help="timm's benchmark-infer-*.csv")
    given = parser.parse_args()
    timm = require_vision("timm", "Making the table", "regraft[timm]")
    vision = require_vision("torchvision", "Making the table", "torchvision")
    rows = [*own_rows(), *torchvision_rows(vision), *timm_rows(timm, given.timm, given.speed)]
    head = HEAD.format(vision=vision.__version__.split("+")[0], timm=timm.__version__, speed=given.speed.name)
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(KNOWN, head + text.getvalue())
    print(f"{len(rows)} rows in {KNOWN}")


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; lines that begin with # are skipped."""
    with path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def own_rows() -> list[dict[str, str]]:
    return [row for row in read_rows(RECALLED) if row["name"].partition(":")[0] in ("packaged", "hf")]


def torchvision_rows(vision) -> Iterator[dict[str, str]]:
    for name in vision.models.list_models(module=vision.models):
        best = vision.models.get_model_weights(name).DEFAULT
        top1 = best.meta["_metrics"]["ImageNet-1K"]["acc@1"]
        yield {
            "name": f"torchvision:{name}",
            "family": family_of(name),
            "pretraining": "imagenet-21k, then 1k" if "SWAG" in best.name else "imagenet-1k",
            "top1": f"{top1:g}",
            "parameters": digits(best.meta["num_params"] / 1e6),
            "macs": digits(best.meta["_ops"]),
            "size": str(best.transforms().crop_size[0]),
        }


def timm_rows(timm, results: Path, speed: Path) -> Iterator[dict[str, str]]:
    measured = {(row["model"], row["infer_img_size"]): row["infer_gmacs"] for row in read_rows(speed)}
    found = {(row["model"], row["img_size"]): row for row in read_rows(results)}
    for name in timm.list_models(pretrained=False):
        tags = [one for one in timm.list_pretrained(f"{name}.*") if one.partition(".")[0] == name]
        default = timm.get_pretrained_cfg(name)
        first = f"{name}.{default.tag}" if default is not None and default.tag else ""
        for tagged in sorted(tags, key=lambda one: (one != first, one)):
            size = str(timm.get_pretrained_cfg(tagged).input_size[1])
            row = found.get((tagged, size))
            if row is None or name.startswith("test_"):
                continue
            said = pretraining_of(tagged)
            yield {
                "name": f"timm:{tagged}",
                "family": family_of(name),
                "pretraining": "imagenet-1k" if said == "unknown" else said,
                "top1": f"{float(row['top1']):g}",
                "parameters": digits(float(row["param_count"].replace(",", ""))),
                "macs": measured.get((name, size), "") or measured.get((tagged, size), ""),
                "size": size,
            }


def digits(value: float) -> str:
    """Three digits that count."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value else ""


if __name__ == "__main__":
    main()
