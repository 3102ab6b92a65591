"""Choose the portfolio of settings that the package ships, and say what it costs on targets left out.

    PYTHONPATH=src python benchmarks/prior/portfolio.py --data FOLDER

FOLDER holds ``finetune_hyperparameters.csv``: ResNet-18s from 15 sources (some trained on these data sets
themselves) and networks of eight other families from ImageNet, fine-tuned on MedMNIST targets with grids of
rate, batch, momentum and weight decay. The portfolio is chosen on validation figures of the ResNet-18 grid.
Regret is in AUC on test data, against the grid's best there: ``best`` takes the member that is best on test
data (what the portfolio holds), ``picked`` the one that validation picks (what one gets).
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from regraft.choosing.portfolio.greedy import chosen, expected_regret
from regraft.choosing.portfolio.setting import SHIPPED, Setting
from regraft.core.files import write_json
from regraft.core.randomness import numpy_generator

SIZE, DRAWS = 6, 2000
Case = tuple[str, str]


class Grid:
    """Figures of all settings in all cases; NaN where a run is not there."""

    def __init__(self, rows: list[dict[str, str]]):
        batches = defaultdict(set)
        for row in rows:
            batches[row["target"]].add(int(row["batch"]))
        self.cases: list[Case] = sorted({(row["source"], row["target"]) for row in rows})
        found = {}
        for row in rows:
            share = int(row["batch"]) / max(batches[row["target"]])
            setting = Setting(float(row["lr"]), float(row["momentum"]), float(row["wd"]), share)
            found[(row["source"], row["target"]), setting] = float(row["val_auc"]), float(row["test_auc"])
        self.settings = sorted(
            {setting for _, setting in found}, key=lambda s: (s.rate, s.momentum, s.batch, s.weight_decay)
        )
        missing = (np.nan, np.nan)
        values = [[found.get((case, setting), missing) for setting in self.settings] for case in self.cases]
        self.validation, self.test = np.array(values).transpose(2, 0, 1)
        self.targets = np.array([target for _, target in self.cases])

    def __len__(self) -> int:
        return len(self.cases)


def regrets(values: np.ndarray) -> np.ndarray:
    """How much worse than the best of its row; a run that is not there counts as the row's worst."""
    best, worst = np.nanmax(values, 1, keepdims=True), np.nanmin(values, 1, keepdims=True)
    return np.where(np.isnan(values), best - worst, best - values)


def picked(grid: Grid, rows: np.ndarray, settings: list[int]) -> float:
    """Mean regret on test data of the member that validation picks."""
    seen = np.where(np.isnan(grid.validation), -np.inf, grid.validation)[rows][:, settings]
    lost = regrets(grid.test)[rows][:, settings]
    return float(lost[np.arange(len(seen)), seen.argmax(1)].mean())


def left_out(grid: Grid) -> dict[str, list[float]]:
    """Regrets by target of portfolios that were chosen without it, of the best single one and of any six."""
    lost, test = regrets(grid.validation), regrets(grid.test)
    generator = numpy_generator(0, "portfolio")
    found = defaultdict(list)
    for target in sorted(set(grid.targets)):
        here, there = np.flatnonzero(grid.targets == target), np.flatnonzero(grid.targets != target)
        order = chosen(lost[there], SIZE)
        for name, members in (("six", order), ("two", order[:2]), ("one", order[:1])):
            found[f"{name}, best"].append(expected_regret(test[here], members))
            found[f"{name}, picked"].append(picked(grid, here, members))
        draws = [generator.choice(len(grid.settings), SIZE, replace=False).tolist() for _ in range(DRAWS)]
        found["six at random, best"].append(float(np.mean([expected_regret(test[here], d) for d in draws])))
        found["six at random, picked"].append(float(np.mean([picked(grid, here, d) for d in draws[:200]])))
        found["all, picked"].append(picked(grid, here, list(range(len(grid.settings)))))
    return dict(found)


def transferred(grid: Grid, settings: list[Setting]) -> dict[str, float]:
    """Regrets of settings in another grid, of those that it has."""
    members = [grid.settings.index(setting) for setting in settings if setting in grid.settings]
    every = np.arange(len(grid))
    return {
        "members in its grid": len(members),
        "six, best": expected_regret(regrets(grid.test), members),
        "six, picked": picked(grid, every, members),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the published tables")
    with (parser.parse_args().data / "finetune_hyperparameters.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    grid, others = (Grid([row for row in rows if bool(row["init"]) == other]) for other in (False, True))
    order = chosen(regrets(grid.validation), SIZE)
    settings = [grid.settings[number] for number in order]
    left = {name: round(float(np.mean(values)), 4) for name, values in left_out(grid).items()}
    shipped = {
        "settings": [setting.to_json() for setting in settings],
        "chosen": {
            "from": "finetune_hyperparameters.csv: ResNet-18 on MedMNIST, AUC",
            "cases": len(grid),
            "targets": len(set(grid.targets)),
            "grid": len(grid.settings),
            "regret by validation of the first k": [
                round(expected_regret(regrets(grid.validation), order[: k + 1]), 4) for k in range(SIZE)
            ],
            "targets left out": left,
            "other families": transferred(others, settings),
        },
    }
    write_json(SHIPPED, shipped)
    print(*(f"{key}: {value}" for key, value in shipped["chosen"].items()), *settings, sep="\n")


if __name__ == "__main__":
    main()
