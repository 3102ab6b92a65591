"""How a plan is run on this machine: nothing here changes what the plan says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from regraft.core.errors import UsageError
from regraft.engine.precision import PRECISIONS, check_precision
from regraft.inference.backends import BACKENDS
from regraft.inference.storing import ACTIVATIONS

SHARDING = ("none", "full")
DEVICES = ("auto", "cpu", "cuda", "mps")
LOGGERS = ("tensorboard", "mlflow")
COMPILE = ("auto", "never", "always")


@dataclass(frozen=True)
class Settings:
    """Device, threads, backend and the like, recorded in ``run.json``.

    Bits depend on them, but for ``checkpoint_seconds``, ``workers``, ``cache_limit`` and ``loggers``: a run
    that goes on with others says so (``engine/circumstances.py``).

    Attributes
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    threads
        CPU threads; None leaves PyTorch's own choice.
    backend
        What runs frozen layers: ``auto``, ``eager``, ``openvino`` or ``compile``.
    checkpoint_seconds
        Time between two checkpoints of a train stage; longer where writing one takes long. 0 writes one after
        every step.
    precision
        Numbers that trained layers compute with: ``float32``, ``bfloat16`` or, on a GPU, ``float16``; see
        ``engine/precision.py``.
    workers
        Threads that make the batches of coming steps ahead of time; 0 makes each when it is read. The bits do
        not depend on it.
    cache_limit
        Bytes that the cache on disk may hold; None reads ``REGRAFT_CACHE_LIMIT``, else takes 20% of the disk
        space that there is for it, 50 GB at most.
    activations
        How what frozen layers give is kept: ``float32``, exact, or ``float16``, in half the space.
    sharding
        ``none``, or ``full``: trained weights are divided among the processes that a launcher started.
    compile
        Whether ``torch.compile`` runs what is trained: ``auto`` where the steps repay it, ``never``,
        ``always``; see ``engine/suffix_compile.py``. A run that goes on asks again for the stages that had
        not begun.
    loggers
        Programs that follow a run beside its ``history.jsonl``: ``tensorboard``, ``mlflow``.
    """

    device: str = "auto"
    threads: int | None = None
    backend: str = "auto"
    checkpoint_seconds: float = 30.0
    workers: int = 0
    precision: str = "float32"
    cache_limit: int | None = None
    activations: str = "float32"
    sharding: str = "none"
    loggers: tuple[str, ...] = ()
    compile: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"there is no precision {self.precision!r}; there are: {', '.join(PRECISIONS)}")
        if self.device not in DEVICES:
            raise UsageError(f"there is no device {self.device!r}; there are: {', '.join(DEVICES)}")
        if self.backend not in BACKENDS:
            raise UsageError(f"there is no backend {self.backend!r}; there are: {', '.join(BACKENDS)}")
        if self.activations not in ACTIVATIONS:
            raise UsageError(
                f"activations are kept as {' or '.join(ACTIVATIONS)}, not as {self.activations!r}"
            )
        if self.compile not in COMPILE:
            raise UsageError(f"--compile {self.compile}: there are {', '.join(COMPILE)}")
        object.__setattr__(self, "loggers", tuple(dict.fromkeys(self.loggers)))  # JSON gives lists
        for name in self.loggers:
            if name not in LOGGERS:
                raise UsageError(f"--log {name}: there is no such logger; there are: {', '.join(LOGGERS)}")
        if self.cache_limit is not None and self.cache_limit < 0:
            raise UsageError(f"--cache-limit wants a size from 0, as 20GB; got {self.cache_limit}")
        if self.sharding not in SHARDING:
            raise UsageError(f"there is no sharding {self.sharding!r}; there are: {', '.join(SHARDING)}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads wants a whole number from 1; got {self.threads}")
        if self.workers < 0:
            raise UsageError(f"--workers wants a whole number from 0; got {self.workers}")

    def apply(self) -> torch.device:
        """Set the number of threads and return the device."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
            threadpool_limits(self.threads)  # solvers run on numpy's threads, not on torch's
        device = find_device(self.device)
        check_precision(self.precision, device)
        return device


def find_device(wanted: str) -> torch.device:
    """The device that was asked for, or the best one there is.

    It is found through accelerate, so that accelerate's environment variables and launchers are honoured.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted in available and not available[wanted]:
        raise UsageError(f"--device {wanted}: PyTorch sees no such device here. Use --device cpu, or auto.")
    if wanted in available:
        return torch.device(wanted)
    if not any(available.values()):
        return torch.device("cpu")  # spares the second that importing accelerate takes
    from accelerate import PartialState

    return torch.device(PartialState().device)
