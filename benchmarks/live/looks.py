"""What a ranking says of every target, and every single score on the examples that it looks at first."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from cases import CASES
from pretrained import source_of
from scipy.special import softmax
from trials import SETTINGS, Records

from regraft.api.rank import rank
from regraft.choosing.ranking import cascade
from regraft.choosing.ranking.budget import first_count
from regraft.choosing.ranking.forecast import STEPS, Steps
from regraft.choosing.ranking.reader import Reader
from regraft.choosing.ranking.sample import Sample, draw_sample
from regraft.choosing.ranking.score import Score, resample_together, score_features
from regraft.scores import SCORES, Examples
from regraft.sources import Source, find, open_weights
from regraft.targets import Target


@dataclass(frozen=True)
class Look:
    """A target on which all sources are compared."""

    target: str

    @property
    def key(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def look(
    work: Path,
    records: Records,
    targets: list[str],
    sources: tuple[str, ...],
    cache: Path,
    constant: str = "",
    steps: Mapping[str, Steps] | None = None,
) -> None:
    """Rank with an empty cache, then score; what has a record is not done again.

    With ``steps``, by target, rankings use these constants in place of those that are built in, and nothing
    is scored; ``constant`` is the one that differs.
    """
    for one in records.missing([Look(name) for name in targets]):
        target = CASES[one.target].open(work / "targets" / one.target)
        opened = {}
        for name in sources:
            called, options = source_of(work, name)
            opened[name] = find(called, **options)
        shutil.rmtree(cache, ignore_errors=True)
        used = STEPS if steps is None else steps[one.target]
        with patch.object(cascade, "STEPS", used):
            found = {"steps": asdict(used), **ranked(target, opened)}
        if steps is None:
            record = {"key": one.key, "target": one.target, **found, **scored(target, opened)}
        else:
            record = {"key": one.key, "target": one.target, f"refit {constant}": found}
        records.add(record)
        print(f"{one.target}: {found['seconds']:.0f} s; {found['board']['sentence']}", flush=True)


def ranked(target: Target, sources: dict[str, Source]) -> dict[str, Any]:
    """The board of `regraft rank`, and how long it took."""
    start, worked = time.monotonic(), time.process_time()
    board = rank(target, list(sources.values()), settings=SETTINGS)
    spent, used = time.monotonic() - start, time.process_time() - worked
    shown = board.to_json()
    short = {source.name: name for name, source in sources.items()}
    text = json.dumps(shown)
    for long, name in sorted(short.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(long, name)
    return {"board": json.loads(text), "seconds": round(spent, 2), "processor seconds": round(used, 2)}


def scored(target: Target, sources: dict[str, Source]) -> dict[str, Any]:
    """By source every score on the examples of the ranking's first look, and seconds of each score.

    ``values`` are the probes' figures there on the scale of log-odds and ``covariance`` is that of their
    errors, by the paired bootstrap that the ranking uses.
    """
    spec = target.tasks[0]
    count = first_count(len(target.pool), len(spec.classes))
    pool, probes = list[Examples](), list[Score]()
    start = time.monotonic()
    for source in sources.values():
        sample = draw_sample(target, spec, count, seed=0).readable(source.preprocessing)
        features, probabilities = read(sample, source)
        probes.append(score_features(features, sample.labels, sample.task, source.name))
        pool.append(Examples.of(features, sample.labels, kind=spec.kind, source_probabilities=probabilities))
    found: dict[str, Any] = {"reading": round(time.monotonic() - start, 2), "examples": pool[0].count}
    values, seconds = dict[str, dict[str, float]](), dict[str, float]()
    for name, score in SCORES.items():
        start = time.monotonic()
        figures = score.among(pool)
        values[name] = {source: float(figure) for source, figure in zip(sources, figures, strict=True)}
        seconds[name] = round(time.monotonic() - start, 3)
    drawn = resample_together(probes, seed=0)
    found |= {"values": [one.value for one in probes], "covariance": np.cov(drawn.T).tolist()}
    parameters = {name: float(source.parameters) for name, source in sources.items()}
    return {**found, "scores": {**values, "parameters": parameters}, "score seconds": seconds}


def read(sample: Sample, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Pooled features, and what the head that the source was pretrained with says of each example."""
    features = Reader(source, SETTINGS, SETTINGS.apply()).features(sample, lambda done: None)
    head, weights = source.heads[0], open_weights(source)
    weight, bias = (np.asarray(weights.read(key), dtype=np.float64) for key in head.keys)
    logits = features @ weight.T + bias
    if logits.shape[1] == 1:  # of two classes, the second one's log-odds
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    return features, softmax(logits, axis=1)
