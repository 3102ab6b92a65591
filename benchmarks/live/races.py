"""A race of all sources on every target: what tells how far a race can be trusted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES
from looks import Look
from pretrained import source_of
from trials import SETTINGS, Records

from regraft.choosing.ranking.race import race
from regraft.choosing.ranking.sample import draw_sample
from regraft.choosing.ranking.score import resample_together
from regraft.sources import find


def race_all(work: Path, records: Records, targets: list[str], sources: tuple[str, ...]) -> None:
    """Race every source on the whole pool of each target, as a ranking's last stage would."""
    for one in records.missing([Look(name) for name in targets]):
        records.add({"key": one.key, "target": one.target, **raced(work, one.target, sources)})


def raced(work: Path, name: str, sources: tuple[str, ...]) -> dict[str, Any]:
    """Figures of a race on the scale of log-odds, and the covariance of their errors."""
    target, found = CASES[name].open(work / "targets" / name), []
    start = time.process_time()
    for source in sources:
        called, options = source_of(work, source)
        opened = find(called, **options)
        sample = draw_sample(target, target.tasks[0], len(target.pool), seed=0)
        found.append(race(opened, sample.readable(opened.preprocessing), SETTINGS))
        print(f"{name} {source}: {found[-1].figure:.3f} of {found[-1].count}", flush=True)
    return {
        "raced": [one.value for one in found],
        "raced covariance": np.cov(resample_together(found, seed=0).T).tolist(),
        "judges": found[0].count,
        "race seconds": round(time.process_time() - start, 2),
    }
