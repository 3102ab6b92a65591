"""Reading ahead changes nothing but when things happen."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from regraft.inference.overlap import ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "regraft-ahead"]


def test_items_come_in_their_order_from_another_thread() -> None:
    made = list(ahead((number, threading.current_thread().name) for number in range(50)))
    assert [number for number, _ in made] == list(range(50))
    assert {name for _, name in made} == {"regraft-ahead"}
    assert threads() == []


def test_what_comes_next_is_made_meanwhile_and_no_more_than_the_depth() -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    reader = ahead(items(), depth=2)
    assert next(reader) == 0
    assert enough.wait(10), "nothing is made while an item is used"
    # One is used, two wait, one is in the thread's hand.
    assert made == [0, 1, 2, 3]
    assert list(reader) == list(range(1, 20))


def test_an_error_reaches_the_caller_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    taken: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        fill(taken, items())
    assert taken == [1, 2]
    assert threads() == []


def fill(taken: list[int], items: Iterator[int]) -> None:
    for item in ahead(items):
        taken.append(item)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_a_caller_that_is_interrupted_ends_the_thread(stop: type[BaseException]) -> None:
    closed: list[bool] = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    reader = ahead(items())
    assert next(reader) == 1
    with pytest.raises(stop):
        reader.throw(stop)  # type: ignore[attr-defined]
    assert threads() == []
    assert closed == [True]
