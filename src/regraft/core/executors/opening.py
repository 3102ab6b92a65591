"""Which executor: what a person wrote behind ``--engine``, and how the threads are shared out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from regraft.core.errors import UsageError
from regraft.core.executors.executor import Executor
from regraft.core.executors.here import Here

LOCAL, PROCESSES, RAY = "local", "processes", "ray"
ENGINES = (LOCAL, PROCESSES, RAY)


@dataclass(frozen=True)
class Engine:
    """What carries work out.

    Attributes
    ----------
    name
        One of :data:`ENGINES`.
    workers
        How many pieces of work at once.
    """

    name: str
    workers: int = 1

    def threads(self, given: int | None) -> int | None:
        """Threads of each worker: as many as were asked for, else its share of the cores.

        None, whatever a package takes by itself, in this process.
        """
        if given is not None or self.name == LOCAL:
            return given
        return max(cores() // self.workers, 1)


def read_engine(text: str) -> Engine:
    """``local``, ``processes``, ``processes:4``, ``ray`` or ``ray:4``; a worker for each core by default.

    Raises :class:`UsageError` for anything else.
    """
    name, colon, count = text.partition(":")
    wanted = int(count) if count.isdecimal() else 0
    if name not in ENGINES or (colon and (wanted < 1 or name == LOCAL)):
        raise UsageError(
            f"--engine {text}: there are {', '.join(ENGINES)}, the last two with a number of workers if you "
            "like, as in processes:4"
        )
    return Engine(name, 1 if name == LOCAL else wanted or cores())


def open_executor(
    engine: Engine, *, threads: int | None, begin: Callable[[], object], gpu: bool = False
) -> Executor:
    """The executor of an engine.

    Parameters
    ----------
    threads
        Of each worker, as :meth:`Engine.threads` says.
    begin
        Called in each worker before its first item.
    gpu
        Whether work needs a GPU, which Ray then looks for.

    Raises
    ------
    MissingPackageError
        Where Ray is asked for and not installed.
    UsageError
        Where the Ray cluster that was named cannot be reached, or has no room for one worker.
    """
    if engine.name == LOCAL:
        return Here()
    if engine.name == PROCESSES:
        from regraft.core.executors.processes import Processes

        return Processes(engine.workers, threads=threads or 1, begin=begin)
    from regraft.core.executors.on_ray import OnRay

    return OnRay(engine.workers, threads=threads or 1, begin=begin, gpu=gpu)


def cores() -> int:
    """How many cores this process may use."""
    from joblib import cpu_count

    return int(cpu_count())
