"""In this process, one item after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from regraft.core.executors.executor import Executor, Given, Item, Outcome, Work


class Here(Executor):
    """Carries work out in this process: items are handed over as they are, and nothing is copied."""

    @property
    def workers(self) -> int:
        return 1

    def run(
        self,
        work: Work[Item, Given],
        items: Iterable[Item],
        shared: Any,
        *,
        title: Callable[[Item], str] = str,
        tick: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[int, Outcome[Given]]]:
        for place, item in enumerate(items):
            told = _nothing if tick is None else partial(tick, place)
            try:
                outcome = Outcome(work(shared, item, told))
            except Exception as error:  # noqa: BLE001 - raised again by whoever asks for the value
                outcome = Outcome(error=error)
            yield place, outcome

    def close(self) -> None:
        pass


def _nothing(count: int) -> None:
    pass
