"""Run: a plan being executed or done, as the folder that it lives in."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from regraft.core.errors import BundleError
from regraft.core.files import read_json, write_json
from regraft.engine.opened import Opened
from regraft.inference.predictor import Prediction, Predictor
from regraft.plans import Plan, read_plan

FORMAT = 1
_PACKAGES = ("torch", "numpy", "scikit-learn", "safetensors", "openvino", "transformers", "timm")


@dataclass
class Run:
    """A run's folder, the bundle.

    Attributes
    ----------
    folder
        Where it lives.
    facts
        What ``run.json`` says; change it with :meth:`note`.
    builder
        What rebuilds a network of the user's own, where the run has one.
    opened
        The sources of the plan's models, where this process opened them; never written.
    writes
        False in a process that leaves writing to another one.
    """

    folder: Path
    facts: dict[str, Any]
    builder: Any = None
    opened: Mapping[str, Opened] = field(default_factory=dict, repr=False)
    writes: bool = True

    @classmethod
    def begin(
        cls,
        folder: Path,
        facts: dict[str, Any],
        *,
        builder: Any = None,
        opened: Mapping[str, Opened] | None = None,
        writes: bool = True,
    ) -> Run:
        """Start a run in an empty or new folder."""
        common = {
            "format": FORMAT,
            "regraft": _version("regraft"),
            "status": "running",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version(), **_versions()},
            "notes": [],
            "test_label_reads": 0,
        }
        run = cls(folder, {**common, **facts}, builder, opened or {}, writes)
        run.note()
        return run

    @classmethod
    def load(cls, folder: str | Path, *, builder: Any = None) -> Run:
        """Open a run's folder. Raises :class:`BundleError` for a folder that is none."""
        folder = Path(folder)
        path = folder / "run.json"
        if not path.is_file():
            raise BundleError(
                f"{folder} is not the folder of a run: it holds no run.json. "
                "Give the folder that `regraft fit --out` wrote."
            )
        try:
            facts = read_json(path)
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} is damaged: {error}") from error
        if facts.get("format") != FORMAT:
            raise BundleError(f"{path} has format {facts.get('format')!r}; this regraft reads {FORMAT}")
        return cls(folder, facts, builder)

    def note(self, **facts: Any) -> None:
        """Change facts and write ``run.json``."""
        self.facts.update(facts)
        if self.writes:
            write_json(self.folder / "run.json", self.facts)

    @property
    def status(self) -> str:
        """``running``, ``interrupted``, ``failed`` or ``done``."""
        return str(self.facts["status"])

    @property
    def plan(self) -> Plan:
        """What was executed."""
        return read_plan(self.folder / "plan.yaml")

    @property
    def metrics(self) -> dict[str, Any]:
        """Final figures on the test part, with intervals, as in ``metrics.json``."""
        path = self.folder / "metrics.json"
        if not path.is_file():
            raise BundleError(
                f"{self.folder} has no final figures yet: go on with `regraft resume {self.folder}`"
            )
        metrics: dict[str, Any] = read_json(path)
        return metrics

    @cached_property
    def predictor(self) -> Predictor:
        """The model, loaded for prediction."""
        return Predictor.load(self.folder, builder=self.builder)

    def predict(
        self, items: Any, *, column: str | None = None, outputs: Sequence[str] = ()
    ) -> list[Prediction]:
        """See :meth:`Predictor.predict`."""
        return self.predictor.predict(items, column=column, outputs=outputs)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.status})"


def _versions() -> dict[str, str]:
    return {name: version for name in _PACKAGES if (version := _version(name))}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
