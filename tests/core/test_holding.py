"""Entries of the cache are held by whoever uses them, and by nobody once that process has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from regraft.core.holding import Hold, claimed, hold, last_use


def is_free(entry: Path) -> bool:
    with claimed(entry) as free:
        return free


def test_an_entry_is_free_again_when_all_who_held_it_let_go(tmp_path: Path) -> None:
    entry = tmp_path / "kind" / "entry"
    one, other = Hold(entry), Hold(entry)
    assert not is_free(entry)
    one.release()
    assert not is_free(entry)
    other.release()
    other.release()
    assert is_free(entry)


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    code = f"from regraft.core.holding import *; hold(Path({str(entry)!r})); print(1, flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    assert not is_free(entry)
    other.kill()
    other.communicate()
    assert is_free(entry)


def test_a_claim_takes_the_mark_away_with_the_entry_and_a_new_hold_makes_another(tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    entry.mkdir()
    Hold(entry).release()
    with claimed(entry) as free:
        assert free
        entry.rmdir()
    assert list(tmp_path.iterdir()) == []
    held = Hold(entry)
    assert not is_free(entry)
    held.release()


def test_the_last_use_is_that_of_the_hold(tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    entry.mkdir()
    os.utime(entry, (50, 50))
    assert last_use(entry) == 50
    held = Hold(entry)
    os.utime(tmp_path / ".entry.use", (70, 70))
    assert last_use(entry) == 70
    held.touch()
    assert last_use(entry) > 1e9
    assert last_use(tmp_path / "nothing") == 0


def test_where_nothing_can_be_written_nothing_is_held(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hold(tmp_path / "file" / "entry")
