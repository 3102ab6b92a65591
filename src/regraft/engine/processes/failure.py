"""How one process's failure ends all of them, with the same words and without anybody waiting for long.

Whoever fails writes what happened where all can read it (the store that the launcher keeps) and cuts its
connections. Whoever waits for it in a collective operation then fails too, reads the report and raises the
same error. Who left no report is named.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from regraft.core import errors
from regraft.core.errors import RegraftError, TrainingError

_PAUSE = 0.05  # seconds between two looks into the store
_HEAR = 4.0  # seconds in which the others' reports should be there
_PART = 10.0  # seconds that a process waits for the others to have heard of its failure


@dataclass(frozen=True)
class Report:
    """What a process says of its failure; ``kind`` is the name of the error's class."""

    rank: int
    kind: str
    message: str
    own: bool = True
    """False where the process only heard of another one's failure."""

    @classmethod
    def of(cls, rank: int, error: BaseException) -> Report:
        """The report of an error that this process has."""
        return cls(rank, type(error).__name__, str(error), heard_from(error) is None)

    def error(self) -> BaseException:
        """The same error, for a process that did not have it itself."""
        if self.kind == "KeyboardInterrupt":
            return _heard(KeyboardInterrupt(), self.rank)
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, RegraftError) and self.kind != "MissingPackageError":
            return _heard(kind(self.message), self.rank)
        return _heard(TrainingError(f"rank {self.rank} failed: {self.kind}: {self.message}"), self.rank)


def heard_from(error: BaseException) -> int | None:
    """The process that had this error first, where another one only heard of it."""
    rank: int | None = getattr(error, "heard_from", None)
    return rank


def _heard(error: BaseException, rank: int) -> BaseException:
    error.heard_from = rank  # type: ignore[attr-defined]
    return error


class Board:
    """Where reports of failures hang: the launcher's store, which outlives every process.

    Parameters
    ----------
    store
        A ``torch.distributed`` store.
    """

    def __init__(self, store: Any, rank: int, world: int):
        self.store, self.rank, self.world = store, rank, world

    def report(self, error: BaseException) -> None:
        """Hang up what happened to this process."""
        self._set("error", json.dumps(asdict(Report.of(self.rank, error))))

    def reports(self) -> dict[int, Report]:
        """What the processes said so far, by rank."""
        found = {rank: self._get("error", rank) for rank in range(self.world)}
        return {rank: Report(**json.loads(text)) for rank, text in found.items() if text is not None}

    def cause(self, during: str, error: BaseException | None = None) -> BaseException:
        """What a process raises that was left alone in an operation: the first cause, or who is missing."""
        self._set("alone", during)
        end = time.monotonic() + _HEAR
        while time.monotonic() < end:
            own = [report for report in self.reports().values() if report.own]
            if own:
                return own[0].error()
            if len(self._alone()) == self.world:
                break
            time.sleep(_PAUSE)
        missing = sorted(set(range(self.world)) - self._alone() - set(self.reports()))
        if not missing:
            return TrainingError(f"the processes lost each other {during}: {error}")
        names = " and ".join(f"rank {rank}" for rank in missing)
        return TrainingError(
            f"{names} of {self.world} processes did not answer {during}: killed (for memory?), hanging, or "
            "the machine is gone. What was checkpointed is intact."
        )

    def part(self, error: BaseException) -> None:
        """Say what happened and wait until the others have heard it: launchers kill all when one ends.

        Where a process with a lower rank says the same, this one need not say it again.
        """
        self.report(error)
        end = time.monotonic() + _PART
        while len(self.reports()) < self.world and time.monotonic() < end:
            time.sleep(_PAUSE)
        for rank, report in self.reports().items():
            if rank < self.rank and report.message == str(error) and report.kind == type(error).__name__:
                _heard(error, rank)
                return

    def _alone(self) -> set[int]:
        return {rank for rank in range(self.world) if self._get("alone", rank) is not None}

    def _set(self, what: str, text: str) -> None:
        try:
            self.store.set(f"regraft/{what}/{self.rank}", text)
        except RuntimeError:
            return  # the store went with the process that held it; whoever asks finds nothing

    def _get(self, what: str, rank: int) -> str | None:
        key = f"regraft/{what}/{rank}"
        try:
            return self.store.get(key).decode() if self.store.check([key]) else None
        except RuntimeError:
            return None
