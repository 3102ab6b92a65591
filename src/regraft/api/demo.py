"""``regraft demo``: a real source, two real targets, a verdict each, in minutes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.api.prove import prove
from regraft.api.transfer import transfer
from regraft.core.console import duration, say
from regraft.core.errors import UsageError
from regraft.core.files import cache_folder
from regraft.core.optional import require
from regraft.evidence import evidence_table
from regraft.targets import Target

SOURCE = "packaged:efficientnet-lite0"
SEEDS = 8
BUDGET = 480.0
"""Seconds for each verdict; the demo needs less, and a slow machine cuts arms and says so."""


@dataclass(frozen=True)
class Case:
    """One target of the demo: how many labels, at which input size, and what may be done with the data.

    Every seed draws its labels from a pool of several times as many: seeds that shared all their labels would
    say nothing about other ones.
    """

    name: str
    target: Target
    labels: int
    size: int
    note: str


def demo(out: Path, *, show: Callable[[str], None] = print) -> dict[str, Any]:
    """Fit and prove both cases into ``out``; returns their folders and verdicts as JSON.

    Results go through ``show``. Runs of an earlier demo are replaced.
    """
    start = time.monotonic()
    results = {}
    for case in (solar_cells(), digits()):
        say(
            f"\n== {case.name}: {case.labels} labels, drawn anew by every seed from {len(case.target.pool)}; "
            f"the other {len(case.target.test)} examples are for test =="
        )
        say(case.note)
        _make_room(out / case.name)
        run = transfer(
            case.target, out=out / case.name, source=SOURCE, size=case.size, train_size=case.labels
        )
        evidence = prove(run, seeds=SEEDS, budget=BUDGET, scratch="small")
        show(f"\n{run.facts['outcome']}\n{evidence_table(evidence)}\n\n{evidence.sentence}")
        show(f"report: {run.folder / 'report.html'}")
        results[case.name] = {"folder": str(run.folder), "evidence": evidence.to_json()}
    show(f"\nBoth verdicts took {duration(time.monotonic() - start)}.")
    say(f"(decoded images and features are kept in {cache_folder()}; `regraft cache --clear` frees it)")
    return results


def solar_cells() -> Case:
    """2,624 photos of solar cells, defective or sound; 300 labels. Transfer should help."""
    import pyarrow as pa

    package = require("elpv_dataset", "The demo's solar cells", "regraft[demo]")
    folder = Path(str(package.__file__)).parent / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    table = pa.table(
        {
            "image": [str(folder / path) for path, _, _ in rows],
            # As published (Deitsch et al. 2019): a cell counts as defective from a probability of one half.
            "label": ["defective" if float(probability) >= 0.5 else "sound" for _, probability, _ in rows],
        }
    )
    target = Target.from_table(table, image="image", label="label")
    return Case(
        name="solar-cells",
        target=target.with_test(len(target) - 1200),
        labels=300,
        size=224,
        note="Data: elpv-dataset (Buerhop-Lutz et al. 2018, Deitsch et al. 2019), licence CC BY-NC-SA 4.0: "
        "not for commercial use. It is read where pip put it and never copied.",
    )


def digits() -> Case:
    """1,797 handwritten digits of 8 x 8 pixels; 100 labels. Transfer should not help."""
    from sklearn.datasets import load_digits

    data = load_digits()
    target = Target.from_arrays(data.images, data.target.astype(str))
    return Case(
        name="digits",
        target=target.with_test(len(target) - 900),
        labels=100,
        size=96,
        note="Data: scikit-learn digits (Alpaydin and Kaynak 1998), licence CC BY 4.0.",
    )


def _make_room(folder: Path) -> None:
    """Remove an earlier demo's run; anything else that stands there is left alone, aloud."""
    if (folder / "run.json").is_file():
        shutil.rmtree(folder)
    elif folder.exists():
        raise UsageError(f"{folder} is there already and is no run. Give another folder: --out FOLDER")
