"""TensorBoard: event files in the run's own folder; ``tensorboard --logdir RUN`` shows them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regraft.core.optional import require
from regraft.engine.loggers.logger import figures, sentences

FOLDER = "tensorboard"
PURPOSE, INSTALL = "Logging to TensorBoard", "regraft[tensorboard]"


class TensorBoardLogger:
    """Event files, written anew from the history where a run goes on: so no step is there twice.

    Example::

        logger = TensorBoardLogger(Path("runs/leaves"))
        logger.begin(history.lines)
    """

    name = "tensorboard"

    def __init__(self, folder: Path):
        self.folder = folder / FOLDER
        self._writer: Any = None

    def begin(self, lines: list[Mapping[str, Any]]) -> None:
        """See :class:`Logger`."""
        self.close(finished=False)
        for old in self.folder.glob("events.out.tfevents.*"):
            old.unlink()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own deprecated parts
            require("tensorboard", PURPOSE, INSTALL)
            from torch.utils.tensorboard import SummaryWriter
        self._writer = SummaryWriter(str(self.folder))
        for line in lines:
            self._write(line)
        self._writer.flush()

    def log(self, line: Mapping[str, Any]) -> None:
        """See :class:`Logger`."""
        self._write(line)
        self._writer.flush()  # raises what its thread met

    def close(self, *, finished: bool) -> None:
        """See :class:`Logger`."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        for name, value in figures(line):
            self._writer.add_scalar(name, value, line["step"])
        for name, text in sentences(line):
            self._writer.add_text(name, text, line["step"])
