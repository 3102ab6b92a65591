"""Talking to a person goes to standard error, and can be switched off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from regraft.core import console
from regraft.core.console import duration, progress, said_once, say, set_quiet, track


@pytest.fixture(autouse=True)
def not_quiet() -> Iterator[None]:
    yield
    set_quiet(False)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (42.4, "42 s"),
        (99.4, "99 s"),
        (100, "1 min 40 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_seconds_are_said_as_a_person_says_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_sentences_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("Hello.")
    found = capsys.readouterr()
    assert (found.out, found.err) == ("", "Hello.\n")
    set_quiet(True)
    say("Not said.")
    assert capsys.readouterr().err == ""


def test_a_sentence_is_said_once_within_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    with said_once():
        say("The rate is 0.1.")
        with said_once():
            say("The rate is 0.1.")
            say("The rate is 0.2.")
        say("The rate is 0.2.")
    say("The rate is 0.1.")
    said = capsys.readouterr().err.splitlines()
    assert said == ["The rate is 0.1.", "The rate is 0.2.", "The rate is 0.1."]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(console, "time", made)
    return made


def test_progress_off_a_terminal_is_a_line_now_and_then(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("Reading", 100) as advance:
        for _ in range(100):
            clock.now += 0.125
            advance(note="loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Reading: 40/100 examples, 8/s, 7.5 s left, loss 0.5"
    assert lines[1:] == [
        "Reading: 80/100 examples, 8/s, 2.5 s left, loss 0.5",
        "Reading: 100 examples in 12 s",
    ]


def test_quick_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(["a", "b"], "Reading", 2)) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_work_inside_other_work_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Outer", 2) as outer:
        for _ in range(2):
            with progress("Inner", 1) as inner:
                clock.now += 30
                inner()
            outer()
    assert "Inner" not in capsys.readouterr().err


def test_progress_is_shown_again_where_sentences_are_said_once(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with said_once():
        for _ in range(2):
            with progress("Trial", 1) as advance:
                clock.now += 3
                advance()
    assert capsys.readouterr().err == "Trial: 1 examples in 3.0 s\n" * 2


def test_an_error_inside_comes_out_and_progress_works_again(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="stop"), progress("Reading", 3):
        raise RuntimeError("stop")
    with progress("Again", 1) as advance:
        clock.now += 3
        advance()
    assert "Again: 1 examples in 3.0 s" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar_and_standard_output_stays_clean() -> None:
    ours, theirs = os.openpty()
    code = "from regraft.core.console import track; list(track('abc', 'Reading', 3)); print('done')"
    ran = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, text=True, check=True
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert ran.stdout == "done\n"
    assert "Reading: 3 examples in" in shown
