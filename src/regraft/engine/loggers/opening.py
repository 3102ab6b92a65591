"""Opening the loggers of a run, and keeping their failures away from its training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from regraft.core.console import say
from regraft.core.errors import MissingPackageError
from regraft.core.optional import is_installed
from regraft.engine.history import History
from regraft.engine.loggers import mlflow, tensorboard
from regraft.engine.loggers.logger import Logger
from regraft.engine.run import Run

_ROOMS = {"tensorboard": tensorboard, "mlflow": mlflow}


def check_loggers(names: Sequence[str]) -> None:
    """Raise :class:`MissingPackageError` for a logger whose package is not there, before anything is run."""
    for name in names:
        if not is_installed(name):
            raise MissingPackageError(name, _ROOMS[name].PURPOSE, _ROOMS[name].INSTALL)


class Loggers:
    """All loggers of a run as one watcher of its history: one that fails is left out from there on, aloud."""

    def __init__(self, loggers: Sequence[Logger]):
        self._left = list(loggers)

    def begin(self, lines: list[dict[str, Any]]) -> None:
        """The history is these lines now."""
        self._each(lambda logger: logger.begin(list(lines)))

    def log(self, line: dict[str, Any]) -> None:
        """One more line."""
        self._each(lambda logger: logger.log(line))

    def close(self, *, finished: bool) -> None:
        """Nothing follows."""
        self._each(lambda logger: logger.close(finished=finished))

    def _each(self, work: Callable[[Logger], None]) -> None:
        for logger in tuple(self._left):
            try:
                work(logger)
            except Exception as error:  # noqa: BLE001 - a server's or a disk's trouble, of whatever kind
                self._left.remove(logger)
                reason = " ".join(str(error).split()) or type(error).__name__
                say(
                    f"{logger.name} could not log ({reason[:300]}). Training goes on without it; "
                    "history.jsonl has every line, and regraft resume logs what is missing."
                )


@contextmanager
def logging_to(run: Run, names: Sequence[str], history: History) -> Iterator[None]:
    """Have loggers follow a run's history inside the block; only the process that writes the run has any."""
    loggers = Loggers([_open(name, run) for name in names]) if run.writes else Loggers([])
    history.watcher, finished = loggers, False
    try:
        yield
        finished = True
    finally:
        history.watcher = None
        loggers.close(finished=finished)


def _open(name: str, run: Run) -> Logger:
    if name == "tensorboard":
        return tensorboard.TensorBoardLogger(run.folder)
    parameters: dict[str, Any] = {
        key: run.facts[key] for key in ("strategy", "seed", "regraft") if key in run.facts
    }
    known = run.facts.get("mlflow", {}).get("run")

    def keep(made: str) -> None:
        run.note(mlflow={"run": made})

    return mlflow.MlflowLogger(run.folder, known, keep, parameters)
