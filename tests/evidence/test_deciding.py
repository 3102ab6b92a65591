"""The verdict over several arms without a source: its rules, and how often it is wrong in simulations."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from regraft.core.paired import Intervals
from regraft.evidence.deciding import choose, verdicts

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DELTA = 0.005


def found(*means: float, error: float = 0.004) -> Intervals:
    return Intervals(np.array(means), np.full(len(means), error), np.full(len(means), 10.0))


def verdict(*means: float, chosen: int = 0) -> tuple[str, int]:
    said, by = verdicts(found(*means), np.array(chosen), DELTA)
    return str(said), int(by)


def test_the_best_on_validation_is_chosen_whichever_way_it_points() -> None:
    validation = np.array([[0.7, 0.8], [0.9, 0.8], [np.nan, np.nan]])
    assert choose(validation, higher_is_better=True) == 1
    assert choose(validation, higher_is_better=False) == 0
    many = np.stack([validation, validation[::-1]])
    assert choose(many, higher_is_better=True).tolist() == [1, 1]


def test_helped_has_to_hold_against_every_arm_without_a_source() -> None:
    assert verdict(0.03) == ("HELPED", -1)
    assert verdict(0.03, 0.05) == ("HELPED", -1)
    assert verdict(0.03, 0.01) == ("INCONCLUSIVE", 1)
    assert verdict(0.03, 0.01, 0.0) == ("INCONCLUSIVE", 2), "the one furthest from it is named"


def test_harmed_is_about_the_chosen_arm_alone() -> None:
    assert verdict(-0.03, 0.05) == ("HARMED", -1)
    assert verdict(-0.03, 0.05, chosen=1) == ("INCONCLUSIVE", 0)


def test_equivalence_is_not_claimed_beside_an_arm_that_may_be_better() -> None:
    narrow = Intervals(np.array([0.0, -0.02]), np.array([0.001, 0.004]), np.array([10.0, 10.0]))
    said, by = verdicts(narrow, np.array(0), DELTA)
    assert (str(said), int(by)) == ("INCONCLUSIVE", 1)
    beside = Intervals(np.array([0.0, 0.2]), np.array([0.001, 0.004]), np.array([10.0, 10.0]))
    assert str(verdicts(beside, np.array(0), DELTA)[0]) == "EQUIVALENT"


# --- simulations: a short version of benchmarks/verdicts.py ---

EXPERIMENTS = 400


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import verdicts as script

    return script


def settings_of(script: ModuleType) -> dict[str, object]:
    """The corners where it was once wrong too often: few seeds that overlap, and arms that differ."""
    return {
        "few seeds of one pool": script.Setting(overlap=0.85, spread=0.08, test=100),
        "half a pool": script.Setting(overlap=0.5, spread=0.05, test=100),
        "the wrong reference": script.Setting(overlap=0.1, spread=0.005, test=100),
    }


@pytest.mark.parametrize("name", ["few seeds of one pool", "half a pool", "the wrong reference"])
def test_wrong_verdicts_are_rare(name: str, simulated: ModuleType) -> None:
    setting = settings_of(simulated)[name]
    counted = simulated.simulate(setting, EXPERIMENTS, seeds=(3, 8), truths=simulated.TRUTHS[:-1])
    shares = {key: simulated.wrong(counts) for key, counts in counted.items()}
    assert max(shares.values()) <= simulated.allowed(EXPERIMENTS), shares


def test_by_the_plain_rule_they_are_not(simulated: ModuleType) -> None:
    """The simulation can fail: it finds the faults of the rule that this one replaced."""
    settings = settings_of(simulated)
    asked = {
        "few seeds of one pool": ("equal", 3, 1, "plain"),
        "the wrong reference": ("apart", 12, 3, "plain"),
    }
    for name, key in asked.items():
        counted = simulated.simulate(
            settings[name], EXPERIMENTS, seeds=(key[1],), truths=(key[0],), rules=("plain",)
        )
        assert simulated.wrong(counted[key]) > simulated.allowed(EXPERIMENTS), name


def test_a_real_difference_is_found(simulated: ModuleType) -> None:
    setting = simulated.Setting(overlap=0.1, spread=0.02, test=400)
    counted = simulated.simulate(setting, 100, seeds=(8,), truths=("power",))
    assert counted["power", 8, 1, "now"]["HELPED"] >= 40
