"""In processes of this machine, which joblib's loky starts, feeds and watches."""

from __future__ import annotations

import os
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from regraft.core.errors import UsageError
from regraft.core.executors.begun import Begun, next_of
from regraft.core.executors.executor import Executor, Given, Item, Outcome, Work, lost, tell
from regraft.core.executors.worker import begin_process, carry

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Processes(Executor):
    """Carries work out in as many fresh processes as there are workers, each with its share of the threads.

    A process is started when there is work for it. Each is a pool of its own, so that one that is lost takes
    nothing with it but its item.

    Parameters
    ----------
    workers
        How many processes.
    threads
        Of each, for whatever a package computes with from the moment that it is loaded.
    begin
        Called in each process before its first item.
    """

    def __init__(self, workers: int, *, threads: int, begin: Callable[[], object]):
        self._slots = [_Slot(threads, begin) for _ in range(workers)]
        self._shared: tuple[str, Any] = ("", object())  # what nobody shares

    @property
    def workers(self) -> int:
        return len(self._slots)

    def run(
        self,
        work: Work[Item, Given],
        items: Iterable[Item],
        shared: Any,
        *,
        title: Callable[[Item], str] = str,
        tick: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[int, Outcome[Given]]]:
        from joblib.externals.loky import FIRST_COMPLETED, wait

        if self._shared[1] is not shared:
            self._shared = (uuid.uuid4().hex, shared)
        fresh, again = enumerate(items), deque[Begun[Item]]()
        running: dict[Any, tuple[_Slot, Begun[Item]]] = {}
        try:
            while True:
                for slot in self._idle(running):
                    begun = again.popleft() if again else next_of(fresh)
                    if begun is None:
                        break
                    begun.tries += 1
                    running[slot.submit(work, begun.item, *self._shared)] = (slot, begun)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    slot, begun = running.pop(future)
                    outcome = slot.outcome(future, title(begun.item), begun.tries)
                    if outcome is None:
                        again.append(begun)
                        continue
                    tell(outcome, begun.place, tick)
                    yield begun.place, outcome
        finally:
            for slot, _ in running.values():
                slot.stop()

    def _idle(self, running: dict[Any, tuple[_Slot, Begun[Item]]]) -> list[_Slot]:
        busy = [slot for slot, _ in running.values()]
        return [slot for slot in self._slots if slot not in busy]

    def close(self) -> None:
        for slot in self._slots:
            slot.stop()


class _Slot:
    """One process, started when it is first needed and again when it was lost."""

    def __init__(self, threads: int, begin: Callable[[], object]):
        self._env = dict.fromkeys(_THREADS, str(threads))
        self._begin = begin
        self._pool: Any = None
        self._key = ""

    def submit(self, work: Work[Item, Given], item: Item, key: str, shared: Any) -> Any:
        """The future of an item; ``shared`` goes with it where the process has not got it yet."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        try:
            return self._submit(work, item, key, shared)
        except BrokenProcessPool:  # the process was lost while it had nothing to do
            self.stop()
            return self._submit(work, item, key, shared)

    def _submit(self, work: Work[Item, Given], item: Item, key: str, shared: Any) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        if self._pool is None:
            started = (os.getpid(), self._begin)
            self._pool = ProcessPoolExecutor(1, env=self._env, initializer=begin_process, initargs=started)
        handed = () if self._key == key else (shared,)
        self._key = key
        return self._pool.submit(carry, key, work, item, *handed)

    def outcome(self, future: Any, name: str, tries: int) -> Outcome[Any] | None:
        """What came of a future; None where its process was lost and its item is to be begun again."""
        from joblib.externals.loky.process_executor import PicklingError, TerminatedWorkerError

        try:
            return future.result()
        except TerminatedWorkerError as error:
            self.stop()
            return lost(name, tries, _exit_code(error))
        except (PicklingError, RuntimeError) as error:  # a broken pool is a RuntimeError
            cause = str(error.__cause__ or error).strip().splitlines()[-1]
            raise UsageError(
                f"{name} cannot be handed to another process and back ({cause}). Type --engine local"
            ) from error

    def stop(self) -> None:
        """End the process, whatever it does; another one is started when it is needed."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
        self._pool, self._key = None, ""


def _exit_code(error: Exception) -> str:
    """How a process ended, as in ``SIGKILL(-9)``: joblib says it in braces."""
    found = re.search(r"\{(.+?)\}", str(error))
    return found[1] if found else "no exit code"
