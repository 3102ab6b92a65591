"""Prefetch: batches of coming steps, made ahead of time by threads.

What a batch holds is a function of (stream, step, slice), so who makes it, and when, changes no bit. Threads
are enough: reading mapped pixels, resizing them in Pillow and the arithmetic of normalising all let go of
Python's lock, and nothing has to be pickled or copied from one process to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from regraft.core.errors import DataError, PlanError
from regraft.core.inputs import Batch, Inputs
from regraft.engine.slices import Slice
from regraft.engine.streams import Stream
from regraft.inference import pieces_of


@dataclass(frozen=True)
class Wanted:
    """One batch: the slice of what a stream reads at a step (batches are counted over all epochs)."""

    stream: str
    step: int
    piece: Slice

    def after(self, steps: int) -> Wanted:
        """The same slice of the same stream, some steps on."""
        return Wanted(self.stream, self.step + steps, self.piece)


class Reader:
    """Reads the batches of a train stage, and with ``workers`` those of the coming steps beforehand.

    Only what is asked for is followed up: behind a cut most networks never read a batch, and then none is
    made. Use it as a context; at its end no thread is left.

    Parameters
    ----------
    workers
        Threads; 0 makes each batch when it is asked for. At most ``workers + 1`` steps are made ahead.
    steps
        How many steps there are; None where only time ends the stage.
    """

    def __init__(
        self, inputs: Inputs, streams: Mapping[str, Stream], *, workers: int = 0, steps: int | None = None
    ):
        self._inputs, self._streams = inputs, streams
        self._workers, self._steps = workers, steps
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[Wanted, Future[Batch]] = {}

    def __enter__(self) -> Reader:
        if self._workers:
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="regraft-reader")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None
        self._coming.clear()

    def __call__(self, wanted: Wanted) -> Batch:
        """The batch that is wanted; a :class:`DataError` names the example where it cannot be made."""
        if self._pool is None:
            return self._make(wanted)
        self._drop_passed(wanted.step)
        for ahead in range(self._workers + 2):
            self._begin(self._pool, wanted.after(ahead))
        return self._coming.pop(wanted).result()

    def _begin(self, pool: ThreadPoolExecutor, wanted: Wanted) -> None:
        there = self._steps is None or wanted.step < self._steps
        if there and wanted not in self._coming:
            self._coming[wanted] = pool.submit(self._make, wanted)

    def _drop_passed(self, step: int) -> None:
        """Forget batches of earlier steps: nobody came for them, as where slices became smaller."""
        for passed in [wanted for wanted in self._coming if wanted.step < step]:
            self._coming.pop(passed).cancel()

    def _make(self, wanted: Wanted) -> Batch:
        stream = self._streams[wanted.stream]
        examples = stream.portion(wanted.step, wanted.piece).examples
        inputs = self._inputs_of(stream)
        pieces, _ = pieces_of(inputs, examples)
        view = stream.view(wanted.step)
        try:
            return inputs.batch(pieces, view=view)
        except (MemoryError, PlanError):
            raise
        except Exception as error:
            culprit = self._culprit(wanted, examples)
            raise DataError(
                f"{culprit} could not be read for step {wanted.step} of the stream {wanted.stream!r} "
                f"({type(error).__name__}: {error}). If its file or the cache was changed or removed while "
                "the run was going on, put it back (regraft cache --clear empties the cache), then resume."
            ) from error

    def _inputs_of(self, stream: Stream) -> Inputs:
        return self._inputs if stream.other is None else stream.other.inputs

    def _culprit(self, wanted: Wanted, examples: np.ndarray) -> str:
        """The name of the first example that cannot be read by itself."""
        stream = self._streams[wanted.stream]
        view, inputs = stream.view(wanted.step), self._inputs_of(stream)
        for example in examples.tolist():
            try:
                inputs.batch(pieces_of(inputs, np.array([example]))[0], view=view)
            except Exception:  # noqa: BLE001 - the error itself is told by the caller
                return str(inputs.names[example])
        return f"a batch of {len(examples)} examples"
