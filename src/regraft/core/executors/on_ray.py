"""On Ray: on a cluster that is there, else on one of this machine that ends with the work."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from regraft.core.errors import UsageError
from regraft.core.executors.begun import Begun, next_of
from regraft.core.executors.executor import Executor, Given, Item, Outcome, Work, lost, tell
from regraft.core.executors.worker import attempt, keep
from regraft.core.optional import require

_STORE = (100e6, 2e9)  # bytes that shared values may take: the least that Ray wants, and what is enough
_SHM = Path("/dev/shm")
_CONNECTED = {"log_to_driver": False, "logging_level": "error"}
_CLUSTER = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_worker_niceness": "0",  # workers are the work itself, not work behind it
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^A worker died or was killed",  # a page of it; that is said in a line
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a task without a GPU sees what its machine has
}


class OnRay(Executor):
    """Carries work out as Ray tasks.

    With ``RAY_ADDRESS``, or beside a cluster that runs on this machine, that cluster is used, and regraft,
    the data and the cache folder have to be found there under the same paths. Otherwise a cluster of this
    machine is begun, without a dashboard, and ended with the executor. A process that uses Ray already is
    joined.

    Parameters
    ----------
    workers
        How many tasks at once.
    threads
        Of each, for which a task asks as many CPUs.
    begin
        Called in each worker before its first item.
    gpu
        Whether each task asks for a GPU.
    """

    def __init__(self, workers: int, *, threads: int, begin: Callable[[], object], gpu: bool = False):
        with _environment(_CLUSTER):
            self._ray = require("ray", "--engine ray", "regraft[ray]")
        self._workers, self._begin = workers, begin
        self._left = ExitStack()  # what is to be undone at the end
        try:
            # Ray prints what it has to say, and standard output is not the place.
            self._left.enter_context(redirect_stdout(sys.stderr))
            if not self._ray.is_initialized():
                with _environment(_CLUSTER):
                    self._connect(workers * threads)
            self._workers = min(workers, self._room({"CPU": float(threads), **({"GPU": 1.0} if gpu else {})}))
        except BaseException:
            self.close()
            raise
        self._task = self._ray.remote(_carry).options(
            num_cpus=threads, num_gpus=int(gpu), max_retries=0, runtime_env={"env_vars": _whereabouts()}
        )
        self._shared: tuple[str, Any, Any] = ("", object(), None)  # what nobody shares

    @property
    def workers(self) -> int:
        return self._workers

    def run(
        self,
        work: Work[Item, Given],
        items: Iterable[Item],
        shared: Any,
        *,
        title: Callable[[Item], str] = str,
        tick: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[int, Outcome[Given]]]:
        if self._shared[1] is not shared:
            self._shared = (uuid.uuid4().hex, shared, self._ray.put(shared))
        fresh, again = enumerate(items), deque[Begun[Item]]()
        running: dict[Any, Begun[Item]] = {}
        try:
            while True:
                while len(running) < self._workers:
                    begun = again.popleft() if again else next_of(fresh)
                    if begun is None:
                        break
                    begun.tries += 1
                    running[self._submit(work, begun.item)] = begun
                if not running:
                    return
                (future, *_), _ = self._ray.wait(list(running), num_returns=1)
                begun = running.pop(future)
                outcome = self._outcome(future, title(begun.item), begun.tries)
                if outcome is None:
                    again.append(begun)
                    continue
                tell(outcome, begun.place, tick)
                yield begun.place, outcome
        finally:
            for future in running:
                self._ray.cancel(future, force=True)

    def _submit(self, work: Work[Item, Given], item: Item) -> Any:
        key, _, stored = self._shared
        # In a list, what is stored is not fetched for every task.
        return self._task.remote(key, [stored], self._begin, work, item)

    def _outcome(self, future: Any, name: str, tries: int) -> Outcome[Any] | None:
        """What came of a task; None where its worker was lost and its item is to be begun again."""
        errors = self._ray.exceptions
        gone = (
            errors.WorkerCrashedError,
            errors.OutOfMemoryError,
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
            errors.ObjectLostError,
        )
        try:
            return self._ray.get(future)
        except gone as error:
            return lost(name, tries, type(error).__name__)

    def _connect(self, cpus: int) -> None:
        """Join a cluster that runs, or begin one here."""
        named = os.environ.get("RAY_ADDRESS")
        try:
            self._ray.init(address=named or "auto", **_CONNECTED)
            self._left.callback(self._ray.shutdown)
        except (ConnectionError, RuntimeError) as error:
            if named:
                raise UsageError(
                    f"there is no Ray cluster at {named}, which RAY_ADDRESS names: {error}. Begin it, or "
                    "unset RAY_ADDRESS for one of this machine; one that asks for a token wants "
                    "RAY_AUTH_MODE=token"
                ) from error
            self._begin_cluster(cpus)

    def _begin_cluster(self, cpus: int) -> None:
        # Sockets lie below it, and their paths may have 107 characters.
        folder = mkdtemp(prefix="regraft-ray-", dir="/tmp" if Path("/tmp").is_dir() else None)
        self._left.callback(shutil.rmtree, folder, ignore_errors=True)
        self._left.callback(self._ray.shutdown)
        self._ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=_store_size(),
            _temp_dir=folder,
            **_CONNECTED,
        )

    def _room(self, needs: dict[str, float]) -> int:
        """How many tasks the cluster can carry out at once: who is told more takes work that waits for work
        that is done. Raises ``UsageError`` for none, which would wait for ever.
        """
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = sum(min(int(node.get(name, 0.0) // count) for name, count in needs.items()) for node in nodes)
        if room:
            return room
        wanted = " and ".join(f"{count:g} {name}" for name, count in needs.items())
        raise UsageError(
            f"no machine of the Ray cluster has the {wanted} that a worker takes. Give fewer --threads, or "
            "another --device"
        )

    def close(self) -> None:
        self._left.close()


def _carry(key: str, stored: list[Any], begin: Callable[[], object], work: Work, item: Any) -> Outcome[Any]:
    """A task."""
    import ray

    return attempt(work, lambda: keep(key, lambda: ray.get(stored[0]), begin), item)


def _whereabouts() -> dict[str, str]:
    """What decides where regraft looks, as it is here."""
    names = ("REGRAFT_CACHE", "REGRAFT_CACHE_LIMIT", "HF_HOME", "HF_HUB_OFFLINE")
    return {name: os.environ[name] for name in names if name in os.environ}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Within the block these are set, where nothing else is."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _store_size() -> int:
    import psutil

    least, most = _STORE
    room = psutil.virtual_memory().available / 5
    if _SHM.is_dir():
        room = min(room, 0.8 * shutil.disk_usage(_SHM).free)
    return int(min(max(room, least), most))
