"""A run whose plan has models beside the student: opened, prepared, noted, and opened again for a proof."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import regraft as rg
from regraft.api.prove import _open_case
from regraft.core.errors import PlanError
from regraft.engine.open import draw_examples
from regraft.plans import Plan
from tests.engine.conftest import last_line

SETTINGS = rg.Settings("cpu")


@pytest.fixture(scope="module")
def plan(photos: Path) -> Plan:
    """Two steps with a teacher that reads bigger pictures, and the source with its own head."""
    link = rg.link("packaged:efficientnet-lite0", rg.Target.from_images(photos), size=32)
    changes = ["stop.steps=2", "stop.epochs=null", "streams.target.batch=8"]
    data = rg.plan(link, "lpft:1", settings=changes).model_dump(mode="json")
    student = data["models"]["student"]
    data["models"]["teacher"] = {**student, "options": {"size": 48}}
    data["models"]["source"] = {**student, "heads": "source"}
    data["stages"].insert(0, {"kind": "solve", "name": "teach", "solver": "ridge", "model": "teacher"})
    (tune,) = [stage for stage in data["stages"] if stage["kind"] == "train"]
    tune["terms"] += [
        {"computes": "distillation", "models": ["student", "teacher"], "streams": ["target"]},
        {"computes": "lwf", "models": ["student", "source"], "streams": ["target"]},
    ]
    return Plan.model_validate(data)


def test_fit_and_prove_open_every_model(plan: Plan, photos: Path, tmp_path: Path) -> None:
    run = rg.fit(plan, photos, out=tmp_path / "run", settings=SETTINGS)
    assert run.status == "done"
    assert set(run.facts["source_hashes"]) == {"student", "teacher", "source"}
    lines = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert set(last_line(lines)["terms"]) == {"supervised", "distillation", "lwf"}
    outputs = run.predict([str(next(photos.rglob("*.png")))])[0]
    assert "probabilities" in str(outputs)

    case = _open_case(run, run.opened, None, None)
    arm = case.trained("again", "strategy", [plan])
    work = arm._open(plan, draw_examples(plan, case.target))
    assert set(work.models) == {"student", "teacher", "source"}
    assert work.inputs_of("teacher").preprocessing.size == (48, 48)  # type: ignore[union-attr]
    assert work.inputs_of("source") is work.inputs


def test_the_sources_own_heads_are_not_trained(plan: Plan, photos: Path, tmp_path: Path) -> None:
    data = plan.model_dump(mode="json")
    data["stages"][0]["model"] = "source"
    with pytest.raises(PlanError, match=r"'source' has its source's own heads .* and 'teach' does"):
        rg.fit(Plan.model_validate(data), photos, out=tmp_path / "run", settings=SETTINGS)
