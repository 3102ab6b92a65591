"""What the deciding metric says of each test example, kept so that two runs can be compared in pairs later.

Labels are not written down: of a classifier which predictions are right, of a regression the squared errors.
Who has the model and the test examples can work labels out of them, of two classes exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.core.bootstrap import bootstrap_figures, share_interval
from regraft.core.errors import BundleError
from regraft.core.files import write_bytes
from regraft.tasks import Task
from regraft.tasks.metrics import MeanMetric

FILE = "test_values.safetensors"
_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class KeptValues:
    """A number for each test example whose mean is the deciding metric.

    Attributes
    ----------
    metric, higher_is_better, percent
        Of the deciding metric.
    root
        Whether the figure is the root of the mean.
    values
        ``float64 (N,)`` in the order of the test part, ``splits.test`` of ``target.json``; NaN where the
        label is missing.
    """

    metric: str
    higher_is_better: bool
    percent: bool
    root: bool
    values: np.ndarray

    @property
    def there(self) -> np.ndarray:
        """``bool (N,)``: where there is a label."""
        return np.asarray(~np.isnan(self.values))

    def figure(self) -> float:
        """The deciding metric; NaN where no example has a label."""
        known = self.values[self.there]
        if not len(known):
            return float("nan")
        return float(np.sqrt(known.mean()) if self.root else known.mean())


@dataclass(frozen=True)
class PairedDifference:
    """How much better one model is than another on the same test examples.

    ``value`` is positive where the first is better; ``low`` and ``high`` are a 95% interval over test
    examples of the same population, NaN where it cannot be said; ``count`` examples have a label in both.
    """

    value: float
    low: float
    high: float
    count: int


def values_to_keep(task: Task, scores: np.ndarray, labels: np.ndarray) -> KeptValues | None:
    """Of decoded scores and labels of the test part; None where the deciding metric is no mean, or a
    prediction is no number.
    """
    metric = task.metrics[0]
    if not isinstance(metric, MeanMetric):
        return None
    there = task.present(labels)
    found = metric.values(scores[there], labels[there])
    if not np.isfinite(found).all():
        return None  # a prediction that is no number must not pass for a missing label
    values = np.full(len(labels), np.nan)
    values[there] = found
    return KeptValues(metric.name, metric.higher_is_better, metric.percent, metric.root, values)


def write_values(folder: str | Path, kept: Mapping[str, KeptValues]) -> None:
    """Write the values of a run's outputs into its folder; nothing where there are none."""
    from safetensors.numpy import save

    if not kept:
        return
    metadata = {
        name: json.dumps([one.metric, one.higher_is_better, one.percent, one.root])
        for name, one in kept.items()
    }
    tensors = {name: np.ascontiguousarray(one.values) for name, one in kept.items()}
    write_bytes(Path(folder) / FILE, save(tensors, metadata=metadata))


def read_values(folder: str | Path) -> dict[str, KeptValues]:
    """By output the values that a run's folder holds; empty where it holds none.

    Raises :class:`BundleError` for a damaged file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / FILE
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="np") as file:
            return {
                name: _read(json.loads(told), file.get_tensor(name))
                for name, told in (file.metadata() or {}).items()
            }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged: {error}. Without it runs are compared unpaired") from error


def _read(told: list[Any], values: np.ndarray) -> KeptValues:
    metric, higher, percent, root = told
    if values.ndim != 1 or values.dtype != np.float64:
        raise ValueError(f"a list of numbers is needed, found {values.dtype} of shape {values.shape}")
    return KeptValues(str(metric), bool(higher), bool(percent), bool(root), values)


def paired_difference(one: KeptValues, other: KeptValues) -> PairedDifference:
    """Bootstrap over test examples, the same resamples for both (Efron and Tibshirani 1993, chapter 13).

    What training draws, initialisations and orders would change is not in the interval: each is one model.
    Where both are right and wrong on the same examples, the interval is Wilson's for a share of none.

    Raises ``ValueError`` where metrics or numbers of examples differ.
    """
    if (one.metric, one.root, len(one.values)) != (other.metric, other.root, len(other.values)):
        raise ValueError("values of other metrics or other test parts cannot be paired")
    there = one.there & other.there
    count = int(there.sum())
    nan = float("nan")
    if not count:
        return PairedDifference(nan, nan, nan, 0)
    sign = 1.0 if one.higher_is_better else -1.0
    pair = np.stack([one.values[there], other.values[there]], axis=1)
    value = sign * float(_gap(pair.mean(axis=0)[None], one.root)[0])
    if count < 2:
        return PairedDifference(value, nan, nan, count)
    if (pair[:, 0] == pair[:, 1]).all():
        most = share_interval(0.0, count).high if one.percent else nan
        return PairedDifference(0.0, -most, most, count)
    drawn = sign * bootstrap_figures(
        lambda counts: _gap(counts @ pair / count, one.root), count, resamples=_RESAMPLES, purpose="two runs"
    )
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return PairedDifference(value, float(low), float(high), count)


def _gap(means: np.ndarray, root: bool) -> np.ndarray:
    figures = np.sqrt(means) if root else means
    return np.asarray(figures[:, 0] - figures[:, 1])
