"""Every error that regraft raises on purpose.

::

    RegraftError
    ├── UsageError              the call itself is wrong (exit status 2 on the command line)
    │   └── MissingPackageError an optional package is needed; the message holds the line that installs it
    ├── DataError               the target's data cannot be used as they are
    │   └── UnreadableError     more examples than allowed could not be read
    ├── SealedError             test labels were asked for outside evidence
    ├── SourceError             a source cannot be found, read or built
    │   ├── OfflineError        it would have to be fetched and there is no network
    │   └── UnsafeFileError     reading the file could run code, so it is refused
    ├── LinkError               source and target do not fit together as required
    ├── PlanError               a plan says something that cannot be done
    ├── TrainingError           training had to stop
    │   ├── NonFiniteLossError  a loss was not finite; nothing was stepped
    │   └── FullDiskError       a disk is full; what was written before is whole
    ├── BundleError             a folder is not a finished run, or is damaged
    │   └── ResumeError         a run cannot go on from where it stopped
    ├── WorkerLostError         the process that did a piece of work ended, and did so again
    └── BudgetError             the work does not fit in the budget it was given

A message says what was asked, what was found and what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class RegraftError(Exception):
    """Root of every error that regraft raises on purpose; each can be handed from one process to another."""

    def __reduce__(self) -> tuple[Any, ...]:
        # What a constructor takes is not what the error holds, so that it cannot be called again.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[RegraftError], args: tuple[Any, ...], state: dict[str, Any]) -> RegraftError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(RegraftError):
    """The call itself is wrong."""


class MissingPackageError(UsageError):
    """An optional package is needed.

    Parameters
    ----------
    package
        The name that was imported.
    purpose
        What it is needed for, as in "reading timm models".
    install
        What to hand to ``pip install``, as in ``regraft[timm]``.
    """

    def __init__(self, package: str, purpose: str, install: str):
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. Run: pip install '{install}'"
        )


class DataError(RegraftError):
    """The target's data cannot be used as they are."""


class UnreadableError(DataError):
    """More examples than allowed could not be read.

    ``unreadable`` holds an (item, reason) pair for each of them.
    """

    def __init__(self, message: str, unreadable: Sequence[tuple[str, str]] = ()):
        super().__init__(message)
        self.unreadable = tuple(unreadable)


class SealedError(RegraftError):
    """Test labels were asked for outside evidence."""


class SourceError(RegraftError):
    """A source cannot be found, read or built."""


class OfflineError(SourceError):
    """A source would have to be fetched and there is no network."""


class UnsafeFileError(SourceError):
    """Reading the file could run code, so it is refused."""


class LinkError(RegraftError):
    """Source and target do not fit together as required."""


class PlanError(RegraftError):
    """A plan says something that cannot be done."""


class TrainingError(RegraftError):
    """Training had to stop."""


class NonFiniteLossError(TrainingError):
    """A loss was not finite; the optimiser step was not taken."""


class FullDiskError(TrainingError):
    """A disk is full; what was written before is whole, and the run can go on once there is space."""


class BundleError(RegraftError):
    """A folder is not a finished run, or is damaged."""


class ResumeError(BundleError):
    """A run cannot go on from where it stopped."""


class WorkerLostError(RegraftError):
    """The process that did a piece of work ended before it was done, and so did those that tried again."""


class BudgetError(RegraftError):
    """The work does not fit in the budget it was given."""
