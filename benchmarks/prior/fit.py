"""Fit the prior that the package ships, and say how well it does on what it was not fitted on.

    PYTHONPATH=src python benchmarks/prior/fit.py --data FOLDER

FOLDER holds ``finetune_accuracy.csv``, the published tables. Which blocks of facts the prior reads and how
much its weights are held down are chosen by leaving families out; the errors that go with the choice are
those of a choice that is made anew without each family (``published_tables.py`` has the same by benchmark).
The spread is calibrated by the errors of models whose family was left out.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from leaving_out import by_dataset, by_family, centred_scores
from tables import read

from regraft.choosing.agreement import weighted_tau
from regraft.choosing.prior.fitting import FULL_WEIGHT, fit, normal_scores, percentiles
from regraft.choosing.prior.model import SHIPPED
from regraft.core.files import write_json

BLOCKS, PENALTY = ("pretraining", "top1"), 3.0
FORMS = (
    (BLOCKS, PENALTY),
    ((*BLOCKS, "macs"), PENALTY),
    ((*BLOCKS, "family"), PENALTY),
    ((*BLOCKS, "macs", "family"), PENALTY),
)
"""Which facts may be read; the first is what all tables together choose."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the published tables")
    tables = read(parser.parse_args().data)
    fitting = partial(fit, blocks=BLOCKS, penalty=PENALTY)
    fitting = partial(fitting, noise=noise_of(tables, fitting))
    record = {
        "from": "finetune_accuracy.csv",
        "by": "benchmarks/prior/fit.py",
        "tables": len(tables),
        "blocks": list(BLOCKS),
        "penalty": PENALTY,
    }
    for name, leave in (("families left out", by_family), ("data sets left out", by_dataset)):
        record[name] = figures(tables, leave(tables, fitting))
        print(name, record[name])
    write_json(SHIPPED, rounded(fitting(tables, fitted=record).to_json()))


def rounded(data: dict[str, Any]) -> dict[str, Any]:
    """Numbers with four digits behind the point, however deep."""
    change = {dict: rounded, float: lambda value: round(value, 4)}
    return {key: change.get(type(value), lambda same: same)(value) for key, value in data.items()}


def chosen_form(tables) -> tuple[tuple[str, ...], float]:
    """The form whose rankings, of families that were left out, agree best with the accuracies."""
    return max(FORMS, key=lambda form: agreement(tables, partial(fit, blocks=form[0], penalty=form[1])))


def agreement(tables, fitting) -> float:
    """Weighted tau with each family left out in turn: the mean over benchmarks of the mean over data sets."""
    found = defaultdict(list)
    for table, score in zip(tables, by_family(tables, fitting, centred_scores), strict=True):
        found[table.benchmark].append(weighted_tau(score[:, 0], table.accuracies))
    return float(np.mean([np.mean(taus) for taus in found.values()]))


def noise_of(tables, fitting) -> float:
    """The mean square error of normal scores of models whose family was left out."""
    left = by_family(tables, fitting, centred_scores)
    errors = [
        (normal_scores(table.accuracies) - one[:, 0]) ** 2 for table, one in zip(tables, left, strict=True)
    ]
    return float(np.average(np.concatenate(errors), weights=weights_of(tables)))


def weights_of(tables) -> np.ndarray:
    """Of each model of each table, as in fitting."""
    sizes = [len(table.models) for table in tables]
    return np.concatenate([np.full(size, min(size, FULL_WEIGHT) / size) for size in sizes])


def figures(tables, left) -> dict[str, float]:
    """How well mean and spread of standings fit the percentiles that were."""
    real = np.concatenate([percentiles(table.accuracies) for table in tables])
    mean, spread = np.concatenate(left).T
    weights = weights_of(tables)
    inside = np.abs(real - mean) <= 1.2816 * spread
    return {
        "rms error of percentile": round(float(np.sqrt(np.average((real - mean) ** 2, weights=weights))), 4),
        "rms spread": round(float(np.sqrt(np.average(spread**2, weights=weights))), 4),
        "share within 1.28 spreads": round(float(np.average(inside, weights=weights)), 4),
    }


if __name__ == "__main__":
    main()
