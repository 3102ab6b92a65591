"""A full disk, whoever met it, told in one way."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from regraft.core.errors import FullDiskError

_NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# safetensors tells the system's number in its message only; numpy tells how much was written.
_SAID = re.compile(
    rf"os error ({'|'.join(str(number) for number in _NUMBERS)})\)|\d+ requested and \d+ written"
)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that a disk, a quota or the largest size of a file was reached."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _NUMBERS
    wrote = isinstance(error, OSError) or type(error).__name__ == "SafetensorError"
    return wrote and _SAID.search(str(error)) is not None


@contextmanager
def full_disk_told(what: str, advice: str) -> Iterator[None]:
    """What a full disk raises inside becomes a :class:`FullDiskError` that says ``what`` and ``advice``."""
    try:
        yield
    except Exception as error:
        if not is_full_disk(error):
            raise
        place = getattr(error, "filename", None)
        where = f" ({place})" if place else ""
        raise FullDiskError(f"the disk is full: {what}{where}. {advice}") from error
