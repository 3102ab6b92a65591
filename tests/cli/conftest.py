"""The command line, in this process: fast, and what it prints is told apart."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from regraft.cli import main


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def regraft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command and tell what it said."""

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["regraft", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        assert "Traceback" not in said.err
        return Said(code if isinstance(code, int) else int(bool(code)), said.out, said.err)

    return run
