"""Decoded pixels kept on disk, by geometry and content hash, so that no image is decoded twice.

A folder for each geometry holds *shards*. A shard is written by one process and then only read:

- ``index.sha256``: the content hash of each slot, 32 bytes each;
- ``pixels.u8``: the pixels, ``(slots, H, W, channels)``, mapped;
- ``done.u8``: 1 where the slot's pixels are whole. Anything else is not read, so a process that was killed
  leaves what it finished, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regraft.core.console import progress
from regraft.core.errors import DataError
from regraft.core.hashing import hash_json
from regraft.core.holding import hold
from regraft.targets.decoding import Geometry, decode_into
from regraft.targets.digests import Digests
from regraft.targets.examples import ImageData

_CHUNK = 32  # most images that one process decodes before it marks them done
_IN_PROCESS = 256  # fewer images than this are not worth starting processes: 0.5 to 0.7 s for 5 ms an image


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded pixels of examples: for each the shard and the slot in it; another process maps them anew."""

    shards: tuple[np.ndarray, ...]
    shard: np.ndarray
    slot: np.ndarray

    def __getitem__(self, index: int) -> np.ndarray:
        pixels: np.ndarray = self.shards[self.shard[index]][self.slot[index]]
        return pixels

    def __getstate__(self) -> dict[str, Any]:
        mapped = [(str(one.filename), one.shape) for one in self.shards if isinstance(one, np.memmap)]
        return {**self.__dict__, "shards": mapped} if len(mapped) == len(self.shards) else dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        shards = (one if isinstance(one, np.ndarray) else map_pixels(*one) for one in state["shards"])
        self.__dict__.update({**state, "shards": tuple(shards)})


def map_pixels(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels of a shard, mapped; raises ``DataError`` where the file is not there."""
    try:
        return np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is not there: it was removed, or this machine does not see the cache folder of the one "
            "that decoded the images; set REGRAFT_CACHE to a folder that all machines share"
        ) from error


class PixelCache:
    """The pixels of one geometry below ``folder``; ``shared`` with whoever may make room there."""

    def __init__(self, folder: Path, geometry: Geometry, *, shared: bool = True):
        self.geometry = geometry
        self.folder = folder / hash_json(geometry.to_json())[:16]
        if shared:
            hold(self.folder)  # nobody makes room by removing what this process maps
        self.folder.mkdir(parents=True, exist_ok=True)

    def decode(self, digests: np.ndarray, data: Any, *, workers: int | None) -> dict[int, str]:
        """Decode the images with these content hashes ``uint8 (N, 32)`` that are not there yet; ``data[i]``
        is asked for them only. Returns the reasons of those that cannot be read, by index.
        """
        known = self._known()
        missing = [int(index) for index in _firsts(digests) if digests[index].tobytes() not in known]
        if not missing:
            return {}
        return _by_index(digests, self._fill(digests[missing], missing, data, workers))

    def find(self, digests: np.ndarray) -> Pixels:
        """The decoded pixels of images with these content hashes."""
        known = self._known()
        places = [known[digest.tobytes()] for digest in digests]
        folders = sorted({folder for folder, _ in places})
        number = {folder: index for index, folder in enumerate(folders)}
        shard = np.array([number[folder] for folder, _ in places], dtype=np.int64)
        slot = np.array([slot for _, slot in places], dtype=np.int64)
        return Pixels(tuple(self._mapped(folder) for folder in folders), shard, slot)

    def _known(self) -> dict[bytes, tuple[Path, int]]:
        """Where the pixels of each content hash lie."""
        known: dict[bytes, tuple[Path, int]] = {}
        for folder in sorted(self.folder.glob("shard-*")):
            known.update(self._slots_of(folder))
        return known

    def _slots_of(self, folder: Path) -> Iterator[tuple[bytes, tuple[Path, int]]]:
        try:
            index = np.fromfile(folder / "index.sha256", dtype=np.uint8)
            done = np.fromfile(folder / "done.u8", dtype=np.uint8)
            size = (folder / "pixels.u8").stat().st_size
        except OSError:
            return  # being removed by someone who clears the cache
        if len(index) != 32 * len(done) or size != int(np.prod(self._shape(len(done)))):
            return
        rows = index.reshape(-1, 32)
        for slot in np.flatnonzero(done == 1):
            yield rows[slot].tobytes(), (folder, int(slot))

    def _shape(self, count: int) -> tuple[int, int, int, int]:
        return (count, *self.geometry.size, self.geometry.channels)

    def _fill(
        self, digests: np.ndarray, indices: list[int], data: Any, workers: int | None
    ) -> dict[bytes, str]:
        folder = self._new_shard(digests)
        jobs = _chunks(indices, data, _chunk_size(len(indices), workers or available_cores()))
        shape = self._shape(len(indices))
        bad: dict[bytes, str] = {}
        with progress("Decoding images", len(indices), unit="images") as advance:
            for count, failed in _run(str(folder), shape, jobs, self.geometry, len(indices), workers):
                bad.update((digests[slot].tobytes(), reason) for slot, reason in failed)
                advance(count)
        return bad

    def _new_shard(self, digests: np.ndarray) -> Path:
        """A shard with empty slots, made beside and renamed, so that it is never seen half made."""
        shape = self._shape(len(digests))
        _require_space(self.folder, int(np.prod(shape)))
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=self.folder))
        try:
            digests.tofile(part / "index.sha256")
            for name, size in (("pixels.u8", int(np.prod(shape))), ("done.u8", len(digests))):
                with open(part / name, "wb") as stream:
                    _reserve(stream.fileno(), size)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        folder = self.folder / f"shard-{part.name.removeprefix('.part-')}"
        os.rename(part, folder)
        return folder

    def _mapped(self, folder: Path) -> np.ndarray:
        count = (folder / "done.u8").stat().st_size
        return map_pixels(folder / "pixels.u8", self._shape(count))


def _reserve(handle: int, size: int) -> None:
    """Give a file its size, on disk: mapped pixels that find no space would kill the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)


def _firsts(digests: np.ndarray) -> np.ndarray:
    """Index of the first example of each content, ascending."""
    return np.unique(Digests(digests).codes(), return_index=True)[1]


def _by_index(digests: np.ndarray, reasons: dict[bytes, str]) -> dict[int, str]:
    if not reasons:
        return {}
    named = ((index, reasons.get(digest.tobytes())) for index, digest in enumerate(digests))
    return {index: reason for index, reason in named if reason is not None}


def _chunk_size(count: int, workers: int) -> int:
    """A few chunks for each process, so that all end at about the same time."""
    return min(_CHUNK, max(4, -(-count // (4 * workers))))


def _chunks(indices: Sequence[int], data: Any, size: int) -> Iterator[list[tuple[int, ImageData]]]:
    """Jobs for one process at a time; the data of a chunk are fetched when it is their turn."""
    for start in range(0, len(indices), size):
        yield [(start + place, data[index]) for place, index in enumerate(indices[start : start + size])]


def _run(
    folder: str, shape: tuple[int, ...], jobs: Any, geometry: Geometry, count: int, workers: int | None
) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Decode the jobs here, or in several processes; gives how many images were done and which failed."""
    workers = workers or available_cores()
    if workers == 1 or count < _IN_PROCESS:
        for job in jobs:
            yield len(job), decode_into(folder, shape, job, geometry)
        return
    yield from _run_in_processes(folder, shape, jobs, geometry, workers)


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _run_in_processes(
    folder: str, shape: tuple[int, ...], jobs: Any, geometry: Geometry, workers: int
) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    parallel = Parallel(workers, backend="loky", return_as="generator_unordered", max_nbytes=None)
    try:
        yield from parallel(delayed(_decode_job)(folder, shape, job, geometry) for job in jobs)
    except TerminatedWorkerError as error:
        raise DataError(
            "a process that decodes images died, most likely for lack of memory; run again with workers=1, "
            "which goes on with the images that are left"
        ) from error
    finally:
        if not _kept:
            get_reusable_executor().shutdown(wait=True)
        else:
            _kept[-1] = True


_kept: list[bool] = []  # for each who keeps the decoding processes, whether any may run


@contextmanager
def decoding_processes() -> Iterator[None]:
    """Let the processes that decode live until the end of the block, whatever is decoded in between."""
    _kept.append(False)
    try:
        yield
    finally:
        started = _kept.pop()
        if started and _kept:
            _kept[-1] = True
        elif started:
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True)


def _decode_job(
    folder: str, shape: tuple[int, ...], job: list[tuple[int, ImageData]], geometry: Geometry
) -> tuple[int, list[tuple[int, str]]]:
    return len(job), decode_into(folder, shape, job, geometry)


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > 0.95 * free:
        raise DataError(
            f"the decoded images need {size / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free; "
            "free some with 'regraft cache --clear', or set REGRAFT_CACHE to a folder on a larger disk"
        )
