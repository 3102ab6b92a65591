"""MLflow: the server that ``MLFLOW_TRACKING_URI`` names, else a folder ``mlruns`` beside the run's."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from regraft.core.optional import require
from regraft.engine.loggers.logger import figures, sentences

EXPERIMENT = "regraft"
PURPOSE, INSTALL = "Logging to MLflow", "regraft[mlflow]"
# Unless the user says otherwise: a server that is away must not hold training up for minutes, nothing is told
# to third parties, and the local store is one that MLflow keeps only for those who ask for it.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}


class MlflowLogger:
    """A run of MLflow, of the experiment ``regraft`` (or ``MLFLOW_EXPERIMENT_NAME``).

    Parameters
    ----------
    folder
        The regraft run's folder; its name is the name of the run in MLflow.
    known
        The id of the run in MLflow where it exists already.
    keep
        Is given the id of a run that was made.
    parameters
        What MLflow shows as the run's parameters.
    """

    name = "mlflow"

    def __init__(
        self, folder: Path, known: str | None, keep: Callable[[str], None], parameters: Mapping[str, Any]
    ):
        self.folder, self.run_id = folder, known
        self._keep, self._parameters = keep, parameters
        self._client: Any = None
        self._logged: dict[str, set[int]] = {}

    def begin(self, lines: list[Mapping[str, Any]]) -> None:
        """See :class:`Logger`."""
        self._client = _client(self.folder)
        known = self.run_id
        if known is None:
            self.run_id = self._create()
            self._keep(self.run_id)
        else:
            self._client.update_run(known, status="RUNNING")
        self._logged = {}
        for line in lines:
            self.log(line)

    def log(self, line: Mapping[str, Any]) -> None:
        """See :class:`Logger`."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        metrics = [
            Metric(_allowed(name), value, now, line["step"])
            for name, value in figures(line)
            if self._is_new(_allowed(name), line["step"])
        ]
        tags = [RunTag(_allowed(name), text) for name, text in sentences(line)]
        if metrics or tags:
            self._client.log_batch(self.run_id, metrics=metrics, tags=tags)

    def close(self, *, finished: bool) -> None:
        """See :class:`Logger`."""
        if self._client is not None:
            self._client.set_terminated(self.run_id, "FINISHED" if finished else "KILLED")

    def _create(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        made: str = self._client.create_run(experiment, run_name=self.folder.name).info.run_id
        for key, value in self._parameters.items():
            self._client.log_param(made, key, value)
        return made

    def _is_new(self, name: str, step: int) -> bool:
        """Whether a step is not there yet: what an earlier process logged is asked for once, by name."""
        if name not in self._logged:
            self._logged[name] = {one.step for one in self._client.get_metric_history(self.run_id, name)}
        steps = self._logged[name]
        new = step not in steps
        steps.add(step)
        return new


def _client(folder: Path) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecated parts
        require("mlflow", PURPOSE, INSTALL)
        from mlflow import MlflowClient

        store = os.environ.get("MLFLOW_TRACKING_URI") or (folder.resolve().parent / "mlruns").as_uri()
        return MlflowClient(tracking_uri=store)


def _allowed(name: str) -> str:
    """MLflow allows letters, digits and a few signs in names."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)
