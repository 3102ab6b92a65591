"""A run that was killed at an awkward moment can be gone on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from regraft.api import finishing
from regraft.api.fit import fit, resume
from regraft.api.transfer import prepare_plan
from regraft.engine import Run, Settings
from regraft.plans import Plan
from regraft.targets import Target


class Killed(BaseException):
    """Stands for a kill: nothing that follows is run, nothing is tidied up."""


@pytest.fixture(scope="module")
def target() -> Target:
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=3)
    return Target.from_arrays(digits.images[:90], np.array(["zero", "one", "two"])[digits.target[:90]])


@pytest.fixture(scope="module")
def plan(target: Target) -> Plan:
    return prepare_plan(target, source="packaged:efficientnet-lite0", strategy="probe", size=32)[0]


def test_what_has_a_run_json_can_be_resumed(
    target: Target, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Run.begin

    def killed(*given: object, **named: object) -> Run:
        begin(*given, **named)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run, "begin", killed)
        with pytest.raises(Killed):
            fit(plan, target, out=tmp_path / "run", settings=Settings(backend="eager"))
    assert resume(tmp_path / "run").status == "done"


def test_a_kill_before_the_report_leaves_it_to_resume(
    target: Target, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"

    def killed(run: Run) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(finishing, "close", killed)
        with pytest.raises(Killed):
            fit(plan, target, out=folder, settings=Settings(backend="eager"))
    assert Run.load(folder).status == "done"
    assert not (folder / "report.html").exists()
    assert resume(folder).status == "done"
    assert (folder / "report.html").is_file()
    assert not (folder / "checkpoints").exists()
