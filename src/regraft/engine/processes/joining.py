"""Joining the other processes that a launcher started, and leaving them again."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

import torch
import torch.distributed as dist
from threadpoolctl import threadpool_limits

from regraft.core.console import say, set_quiet
from regraft.core.errors import TrainingError, UsageError
from regraft.engine.processes.failure import Board, heard_from
from regraft.engine.processes.group import ALONE, Processes
from regraft.engine.settings import Settings

PATIENCE = "REGRAFT_PATIENCE"
"""Environment variable: seconds that a process waits for another one before the run ends (default 1800)."""

_LEAVE = 10.0  # seconds in which a process that failed should have ended by itself
_state: list[Processes] = []  # the processes that this one has joined: for as long as it lives


def launched() -> int:
    """How many processes the launcher started: 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def leads() -> bool:
    """Whether this process writes and speaks: it is the only one, or rank 0."""
    return launched() == 1 or os.environ["RANK"] == "0"


def refuse_many(command: str) -> None:
    """Raise :class:`UsageError` where a command was started in several processes that runs in one."""
    if launched() > 1:
        raise UsageError(
            f"`{command}` runs in one process and {launched()} were started. Type: regraft {command} .. "
            "(fit and resume can be started by torchrun)"
        )


def spoken_by(error: BaseException) -> str | None:
    """What stands before an error's message: nothing for the leader, the rank for others.

    None where another process says it: then it need not be said again.
    """
    if launched() == 1:
        return ""
    if heard_from(error) is not None and not leads():
        return None
    return "" if leads() else f"rank {os.environ['RANK']}: "


def end_by_itself() -> None:
    """Let this process end with its own exit status: launchers send SIGTERM once another one ended."""
    if launched() > 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def joined(settings: Settings) -> Iterator[Processes]:
    """The processes that carry out this call together; this one alone where no launcher started others.

    At the end all wait for each other. An error of one ends all: see :mod:`regraft.engine.processes.failure`.
    """
    if launched() == 1:
        if settings.sharding != "none":
            raise UsageError(
                f"--sharding {settings.sharding} divides weights among processes and there is one. Type: "
                f"torchrun --nproc-per-node 2 -m regraft fit .. --sharding {settings.sharding}"
            )
        _say_if_alone()
        yield ALONE
        return
    group = _opened(settings)
    assert group.board is not None
    with _told_to_stop(group.board):
        try:
            yield group
            group.wait("at the end")
        except BaseException as error:
            group.board.report(error)
            dist.destroy_process_group()  # whoever waits for this process is told by that
            group.board.part(error)
            raise


def _opened(settings: Settings) -> Processes:
    if not _state:
        _state.append(_open(settings))
    elif not dist.is_initialized():
        raise TrainingError("the processes parted after an error; start them again")
    return _state[0]


def _open(settings: Settings) -> Processes:
    from accelerate import PartialState

    if settings.device == "mps":
        raise UsageError("--device mps: several processes run on cpu (gloo) or cuda (nccl)")
    on_cpu = settings.device == "cpu" or not torch.cuda.is_available()
    backend, wait = "gloo" if on_cpu else "nccl", timedelta(seconds=float(os.environ.get(PATIENCE, "1800")))
    set_quiet(not leads())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # accelerate speaks of threads, which are set below
        PartialState(cpu=on_cpu, backend=backend, timeout=wait)
    if settings.threads is None:
        _share_cores()
    rank, world = dist.get_rank(), dist.get_world_size()
    board = Board(dist.distributed_c10d._get_default_store(), rank, world)
    # JSON and failures travel apart from gradients, on the CPU.
    talk = dist.new_group(backend="gloo", timeout=wait)
    return Processes(rank, world, backend, board, talk, _here())


def _here() -> int:
    """How many of the processes run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", launched()))


def _share_cores() -> None:
    """Give each process of this machine its share of the cores; launchers give each one thread."""
    if os.environ.get("OMP_NUM_THREADS", "1") not in ("", "1"):
        return  # asked for by the user
    from joblib import cpu_count

    cores = cpu_count(only_physical_cores=True)
    each = max(cores // _here(), 1)
    torch.set_num_threads(each)
    threadpool_limits(each)


def _say_if_alone() -> None:
    """``accelerate launch --cpu --num_processes N`` starts one process, whatever N is."""
    if os.environ.get("ACCELERATE_USE_CPU") == "True" and "MASTER_PORT" in os.environ:
        say(
            "accelerate launch --cpu started one process, not several. On CPU type: "
            "torchrun --nproc-per-node 2 -m regraft .."
        )


@contextmanager
def _told_to_stop(board: Board) -> Iterator[None]:
    """A launcher sends SIGTERM when another process ended: say why, instead of just ending.

    After an error the process ends by itself, with its own exit status.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, ending = False, 0.0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal told
        if not told and not ending:
            told = True
            raise board.cause("before the launcher stopped all")
        if ending and time.monotonic() - ending > _LEAVE:
            signal.signal(signal.SIGTERM, before)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    except BaseException:
        ending = time.monotonic()
        raise
    signal.signal(signal.SIGTERM, before)
