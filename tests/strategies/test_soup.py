"""Soups that choose block by block, also among models that are linked to several sources."""

from __future__ import annotations

import pytest
import torch

from regraft.core.errors import PlanError
from regraft.engine import execute
from regraft.plans import AverageStage, ModelSpec, Plan, SolveStage
from regraft.sources import Source
from tests.engine.conftest import Bench
from tests.strategies import tiny

SHORT = ("stop.epochs=2", "stop.keep=last")


class TwoSources(Bench):
    """A bench that knows a second source of the same network as well."""

    def _source(self, spec: ModelSpec) -> Source:
        return tiny.convolutional(seed=1) if spec.source == "tiny-1" else super()._source(spec)


def test_soup_layers_is_soup_but_for_the_rule(pictures: Bench) -> None:
    plain, chosen = pictures.plan("soup"), pictures.plan("soup:layers")
    assert chosen.stages[:-1] == plain.stages[:-1]
    last = chosen.stages[-1]
    assert isinstance(last, AverageStage)
    assert (last.rule, last.of) == ("layers", ("slow", "middle", "fast"))
    with pytest.raises(PlanError, match="takes 'layers' or nothing behind its colon; got 'blocks'"):
        pictures.plan("soup:blocks")


def test_the_choice_is_no_worse_on_validation_than_any_pace(pictures: Bench) -> None:
    work = pictures.open(pictures.plan("soup:layers", *SHORT))
    execute(work)
    line = work.history.lines[-1]
    assert set(line["alone"]) == {"slow", "middle", "fast"}
    assert list(line["chosen"]) == ["head", "stages2", "stages1", "stages0"]
    assert line["validation"]["calibrated loss"] <= min(line["alone"].values()) + 1e-6
    assert line["validation"]["calibrated loss"] == pytest.approx(
        min([*line["alone"].values(), *line["tried"].values()])
    )


def test_layers_of_one_network_may_come_from_several_sources(pictures: Bench) -> None:
    bench = TwoSources(pictures.source, pictures.prepared)
    plan = bench.plan("lpft:1", *SHORT)
    head = SolveStage(name="other head", solver="ridge", model="other")
    of = ("tune", "other head")
    averages = [AverageStage(name="both", of=of, rule="layers"), AverageStage(name="back", of=of[1:])]
    models = {**plan.models, "other": ModelSpec(source="tiny-1")}
    stages = (*plan.stages, head, *averages)
    plan = Plan.model_validate(
        plan.model_copy(update={"models": models, "stages": stages}).model_dump(mode="json")
    )
    work = bench.open(plan)
    execute(work)
    both, back = (line for line in work.history.lines if line["kind"] == "average")
    assert set(both["chosen"]) == {"head", "stages2", "stages1", "stages0", "stem"}
    assert back["validation"]["loss"] == pytest.approx(both["alone"]["other head"], rel=1e-4)
    student, other = (work.models[name].state_dict() for name in ("student", "other"))
    assert all(torch.equal(value, other[name]) for name, value in student.items())
