"""Executor: carries pieces of work of one kind out, one by one or several at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from regraft.core.console import say
from regraft.core.errors import WorkerLostError

Item = TypeVar("Item")
Given = TypeVar("Given")
Tick = Callable[[int], None]
"""Is told how much more of an item is done."""
Work = Callable[[Any, Item, Tick], Given]
"""What is done with an item: called with what all items share, the item, and its tick."""

RETRIES = 2
"""How many times an item is begun again whose worker was lost."""


@dataclass(frozen=True)
class Outcome(Generic[Given]):
    """What came of one item.

    Attributes
    ----------
    value
        What the work gave; None where it raised.
    error
        What it raised; None where it did not.
    said
        Sentences that a worker would have said.
    done
        The sum of what it told its tick.
    """

    value: Given | None = None
    error: Exception | None = None
    said: tuple[str, ...] = ()
    done: int = 0

    def get(self) -> Given:
        """What the work gave; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


class Executor(ABC):
    """Carries work out: in this process (:class:`Here`), in others, or on other machines.

    Items and what all of them share are values that can be handed to another process; what work gives should
    be small. An error of one item is its outcome, and the others go on. A worker that is lost, as one that
    the system killed for its memory, is replaced and its item begun again, at most :data:`RETRIES` times.
    Leaving the block ends all workers, whatever ends it.
    """

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many items are carried out at once."""

    @abstractmethod
    def run(
        self,
        work: Work[Item, Given],
        items: Iterable[Item],
        shared: Any,
        *,
        title: Callable[[Item], str] = str,
        tick: Callable[[int, int], None] | None = None,
    ) -> Iterator[tuple[int, Outcome[Given]]]:
        """The place and the outcome of each item as soon as it is there.

        An item is asked for when there is a worker for it, so that ``items`` may decide then what is begun.
        Who stops asking for outcomes stops the work.

        Parameters
        ----------
        work
            A function of a module, called with ``shared``, an item and its tick.
        shared
            What all items need. A worker gets it once, however often ``run`` is called with it.
        title
            What an item is called in a sentence.
        tick
            Is told an item's place and how much more of it is done.
        """

    def map(
        self, work: Work[Item, Given], items: Sequence[Item], shared: Any, **options: Any
    ) -> list[Outcome[Given]]:
        """The outcomes of all items, in their order; options are those of :meth:`run`."""
        found = dict(self.run(work, items, shared, **options))
        return [found[place] for place in range(len(items))]

    @abstractmethod
    def close(self) -> None:
        """End all workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def together(seconds: Sequence[float], workers: int) -> float:
    """The most that work of so many seconds each takes with so many workers, whatever the order.

    Their sum divided among the workers, and of the longest what one worker still does while the others have
    nothing left (Graham 1969, "Bounds on multiprocessing timing anomalies"). With one worker the sum.
    """
    return sum(seconds) / workers + (1 - 1 / workers) * max(seconds, default=0.0)


def tell(outcome: Outcome[Given], place: int, tick: Callable[[int, int], None] | None) -> None:
    """Say what a worker would have said, and tell the tick."""
    for sentence in outcome.said:
        say(sentence)
    if tick is not None and outcome.done:
        tick(place, outcome.done)


def lost(name: str, tries: int, why: str) -> Outcome[Any] | None:
    """What becomes of an item whose worker was lost in its ``tries``-th try: None where it is begun again."""
    if tries <= RETRIES:
        say(f"The worker that had {name} was lost ({why}); {name} is begun again.")
        return None
    return Outcome(
        error=WorkerLostError(
            f"the worker that had {name} was lost {tries} times ({why}), most likely for lack of memory; try "
            "fewer workers, as in --engine processes:2, or --engine local"
        )
    )
