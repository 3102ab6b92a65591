"""A text target: which section of Debian a package belongs to, told from the line that describes it.

The descriptions are those that this system's package manager knows (`apt-cache dumpavail`): of the biggest
sections as many different descriptions each, drawn with a fixed seed. The same commands as for images do the
rest: `regraft fit` with packaged:minilm and `regraft prove` at several numbers of labels per class. The test
part is the same for all; the verdict is against the best arm without a source, TF-IDF with logistic
regression or a small network from scratch.

    python benchmarks/text_target.py
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from common import environment, parser, print_table, workplace, write_results


def descriptions() -> dict[str, list[str]]:
    """Different descriptions by section, each under the first section that has it."""
    if not shutil.which("apt-cache"):
        raise SystemExit("this needs a Debian system: there is no apt-cache")
    text = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    found: dict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for package in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in package.splitlines() if ": " in line and line[0] != " ")
        section, words = (
            fields.get("Section", ""),
            fields.get("Description", fields.get("Description-en", "")),
        )
        if section and "/" not in section and words and words.lower() not in seen:
            seen.add(words.lower())
            found[section].append(words)
    return found


def write_table(path: Path, sections: int, each: int) -> dict[str, int]:
    """A csv of ``each`` descriptions of the biggest sections; returns how many there are of each."""
    found = descriptions()
    biggest = sorted(found, key=lambda name: (-len(found[name]), name))[:sections]
    biggest = [name for name in biggest if len(found[name]) >= each]
    if len(biggest) < sections:
        raise SystemExit(f"only {len(biggest)} sections have {each} descriptions; run apt-get update first")
    rows = [(words, name) for name in biggest for words in random.Random(0).sample(found[name], each)]
    random.Random(1).shuffle(rows)
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["description", "section"])
        writer.writerows(rows)
    return dict.fromkeys(biggest, each)


def regraft(work: Path, *arguments: str) -> dict[str, Any]:
    """What a command of regraft prints with --json."""
    command = [sys.executable, "-m", "regraft", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment(work / "cache"))
    if done.returncode:
        raise SystemExit(f"regraft {arguments[0]} failed with status {done.returncode}")
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def one(work: Path, table: Path, labels: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fit and prove at so many labels per class."""
    out = str(work / f"run-{labels}")
    columns = ["--text", "description", "--label", "section"]
    source = ["--source", "packaged:minilm", "--strategy", options.strategy]
    shown = regraft(work, "fit", str(table), *columns, *source, "--per-class", str(labels), "--out", out)
    limits = ["--seeds", str(options.seeds), "--budget", f"{options.budget}s", "--scratch", "small"]
    evidence = regraft(work, "prove", out, *limits)
    figures = shown["metrics"]["outputs"]["section"]
    print(f"{labels} labels per class: {evidence['sentence']}", flush=True)
    return {
        "labels per class": labels,
        "fit seconds": shown["run"]["seconds"]["total"],
        "fit accuracy": figures["metrics"][figures["deciding"]]["value"],
        "test": shown["metrics"]["count"],
        "evidence": {key: value for key, value in evidence.items() if key not in ("null",)},
    }


def show(figures: dict[str, Any]) -> None:
    lines = []
    for run in figures["runs"]:
        evidence = run["evidence"]
        ahead = {contrast["against"]: contrast for contrast in evidence["contrasts"]}
        for arm in sorted(evidence["arms"], key=lambda arm: -arm["mean"]):
            accuracy = interval(arm["mean"], arm["low"], arm["high"])
            contrast = ahead.get(arm["name"])
            gain = interval(contrast["mean"], contrast["low"], contrast["high"]) if contrast else ""
            verdict = evidence["verdict"] if arm["name"] == evidence["reference"] else ""
            lines.append([run["labels per class"], arm["name"], accuracy, gain, verdict])
    metric = figures["runs"][0]["evidence"]["metric"]["name"]
    print_table(["per class", "arm", f"{metric}, %", "the strategy is ahead by", "verdict"], lines)
    for run in figures["runs"]:
        print(
            "\n".join(f"{run['labels per class']} per class, left out: {c}" for c in run["evidence"]["cut"])
        )
    spent = [f"{run['evidence']['spent_seconds']:.0f}" for run in figures["runs"]]
    texts = sum(figures["sections"].values())
    print(
        f"{texts} texts, {len(figures['sections'])} sections, {figures['runs'][0]['test']} for test; "
        f"seconds for the verdicts: {', '.join(spent)}; 95% intervals"
    )


def interval(mean: float, low: float, high: float) -> str:
    """A share in percent with its interval."""
    return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    options = parser(__doc__, "text_target")
    options.add_argument("--sections", type=int, default=8, help="how many sections")
    options.add_argument("--each", type=int, default=750, help="how many descriptions of each")
    options.add_argument("--labels", type=int, nargs="+", default=[10, 50, 200], help="labels per class")
    options.add_argument("--strategy", default="probe", help="the strategy that is proven")
    options.add_argument("--seeds", type=int, default=8, help="paired seeds of a verdict")
    options.add_argument("--budget", type=int, default=300, help="seconds for a verdict")
    given = options.parse_args()
    with workplace() as work:
        table = work / "packages.csv"
        sections = write_table(table, given.sections, given.each)
        runs = [one(work, table, labels, given) for labels in given.labels]
    figures = {"sections": sections, "strategy": given.strategy, "runs": runs}
    show(figures)
    write_results(given.json, figures)


if __name__ == "__main__":
    main()
