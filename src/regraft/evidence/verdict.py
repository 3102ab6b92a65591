"""The evidence as data: arms, contrasts, costs, and the verdict in a sentence; ``evidence.json``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from regraft.core.errors import BundleError
from regraft.core.files import read_json, write_json
from regraft.evidence.curve import LearningCurve
from regraft.evidence.selection import Selection


@dataclass(frozen=True)
class ArmFigures:
    """An arm's figures over seeds.

    ``validation`` and ``test`` hold the deciding metric of each seed, ``low`` and ``high`` the 95% interval
    of the population's value, ``seconds`` the mean time of a trial.
    """

    name: str
    kind: str
    uses_source: bool
    validation: tuple[float, ...]
    test: tuple[float, ...]
    mean: float
    low: float
    high: float
    seconds: float
    trained_parameters: int
    note: str


@dataclass(frozen=True)
class ContrastFigures:
    """The strategy against one arm; differences are positive where the strategy is better.

    ``p_equivalence`` is that of two one-sided tests for a difference of delta or more, ``detectable`` the
    true difference that would have been called HELPED or HARMED with a probability of 80%.
    """

    arm: str
    against: str
    differences: tuple[float, ...]
    mean: float
    low: float
    high: float
    p: float
    p_holm: float
    verdict: str
    p_equivalence: float = math.nan
    detectable: float = math.nan


@dataclass(frozen=True)
class Evidence:
    """Did transfer help? Trials (arm x seed), paired contrasts with intervals, costs, the verdict.

    Attributes
    ----------
    verdict, sentence
        ``HELPED``, ``HARMED``, ``EQUIVALENT`` or ``INCONCLUSIVE``, and why.
    delta
        What counts as a difference, in the metric's own unit (0.005 is half a point).
    output, metric
        What was compared; ``metric`` has ``name``, ``higher_is_better`` and ``percent``.
    strategy_arm, reference
        Names of the arms that the verdict compares: the reference is the best arm without a source, by mean
        validation metric.
    null
        The hypotheses that p-values and the verdict are about.
    cut
        What the budget left out, in sentences.
    labels
        Labelled examples used by each seed, for training and validation together.
    selection
        What choosing the run's source or strategy had seen and cost before; None where nothing was chosen.
    curve
        Learning curves and label equivalence, where they were asked for.
    """

    verdict: str
    sentence: str
    delta: float
    output: str
    metric: dict[str, Any]
    seeds: tuple[int, ...]
    strategy_arm: str
    reference: str
    null: str
    budget_seconds: float | None
    predicted_seconds: float
    spent_seconds: float
    cut: tuple[str, ...]
    labels: int
    arms: tuple[ArmFigures, ...]
    contrasts: tuple[ContrastFigures, ...]
    selection: Selection | None = None
    curve: LearningCurve | None = None

    def to_json(self) -> dict[str, Any]:
        """``evidence.json``; what is not a number becomes None, and what was not asked for is not there."""
        cleaned: dict[str, Any] = _plain(asdict(self))
        for name in ("selection", "curve"):
            if cleaned[name] is None:
                del cleaned[name]
        return cleaned

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Evidence:
        """From ``evidence.json``."""
        values = _known(cls, data)
        values["arms"] = tuple(
            ArmFigures(**_tuples(_known(ArmFigures, arm), "validation", "test")) for arm in data["arms"]
        )
        values["contrasts"] = tuple(
            ContrastFigures(**_tuples(_known(ContrastFigures, one), "differences"))
            for one in data["contrasts"]
        )
        if data.get("selection") is not None:
            values["selection"] = Selection.from_json(data["selection"])
        if data.get("curve") is not None:
            values["curve"] = LearningCurve.from_json(data["curve"])
        return cls(**_tuples(values, "seeds", "cut"))

    def write(self, folder: str | Path) -> None:
        """Write ``evidence.json`` into a run's folder."""
        write_json(Path(folder) / "evidence.json", self.to_json())

    @classmethod
    def read(cls, folder: str | Path) -> Evidence:
        """Read it again. Raises :class:`BundleError` where nothing has been proven yet, or it is damaged."""
        path = Path(folder) / "evidence.json"
        if not path.is_file():
            raise BundleError(f"{folder} has no evidence yet: regraft prove {folder}")
        try:
            return cls.from_json(read_json(path))
        except (ValueError, TypeError, KeyError) as error:
            raise BundleError(f"{path} is damaged: {error}. Make it again: regraft prove {folder}") from error


def _known(noun: Any, data: dict[str, Any]) -> dict[str, Any]:
    """What this version knows of a file that a later one may have written; what is not a number is NaN."""
    found = {field.name: data[field.name] for field in fields(noun) if field.name in data}
    numbers = {field.name for field in fields(noun) if field.type == "float"}
    return {key: math.nan if value is None and key in numbers else value for key, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _tuples(data: dict[str, Any], *names: str) -> dict[str, Any]:
    nan = float("nan")
    sequences = {name: tuple(nan if value is None else value for value in data[name]) for name in names}
    return {**data, **sequences}
