"""Files that are whole or not there."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from regraft.core.files import (
    atomic_path,
    cache_folder,
    read_json,
    write_csv,
    write_json,
    write_text,
)


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "new" / "note.txt"
    with atomic_path(place) as part:
        part.write_text("whole")
        assert not place.exists()
        assert part.parent == place.parent
    assert place.read_text() == "whole"
    assert [path.name for path in place.parent.iterdir()] == ["note.txt"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o644


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    place = tmp_path / "note.txt"
    write_text(place, "old")
    with pytest.raises(RuntimeError, match="half-way"), atomic_path(place) as part:  # noqa: PT012
        part.write_text("half of the ne")
        raise RuntimeError("half-way")
    assert place.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_json_comes_back_and_has_no_place_for_not_a_number(tmp_path: Path) -> None:
    place = tmp_path / "facts.json"
    facts = {"name": "Ærø", "values": [1, 2.5, None, True]}
    write_json(place, facts)
    assert read_json(place) == facts
    assert "Ærø" in place.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(place, {"loss": float("nan")})
    assert read_json(place) == facts


def test_csv_quotes_what_needs_it(tmp_path: Path) -> None:
    place = tmp_path / "bad.csv"
    write_csv(place, ("item", "reason"), [{"item": 'a,"b".png', "reason": "two\nlines"}])
    assert place.read_text() == 'item,reason\n"a,""b"".png","two\nlines"\n'


def test_the_cache_lies_where_it_was_put(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("REGRAFT_CACHE", "~/kept")
    assert cache_folder() == Path("/home/ada/kept")
    monkeypatch.delenv("REGRAFT_CACHE")
    assert cache_folder() == Path("/home/ada/.cache/regraft")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/kept")
    assert cache_folder() == Path("/var/kept/regraft")
