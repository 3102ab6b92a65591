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
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from leaving_out import by_dataset, by_family, centred_scores
from tables import read

from regraft.choosing.prior.fitting import FULL_WEIGHT, fit, normal_scores, percentiles
from regraft.choosing.prior.model import SHIPPED
from regraft.core.files import write_json

BLOCKS, PENALTY = ("pretraining", "top1"), 3.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the published tables")
    tables = read(parser.parse_args().data)
    fitting = partial(fit, blocks=BLOCKS, penalty=PENALTY)
    fitting = partial(fitting, noise=noise_of(tables, fitting))
    record = {"tables": len(tables), "blocks": list(BLOCKS), "penalty": PENALTY}
    for name, leave in (("families left out", by_family), ("data sets left out", by_dataset)):
        record[name] = figures(tables, leave(tables, fitting))
        print(name, record[name])
    write_json(SHIPPED, fitting(tables, fitted=record).to_json())


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
