"""What is frozen runs once: for the head and the stage behind it, for each view, and not where it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from regraft.core.errors import UsageError
from regraft.core.inputs import View
from regraft.engine import Settings, execute
from regraft.engine.frozen import open_frozen
from regraft.engine.streams import open_stream
from regraft.engine.workspace import Workspace
from regraft.inference.backends import EagerBackend
from tests.engine.conftest import Bench


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The cut and the size of every batch that a frozen prefix has run on."""
    found: list[tuple[int, int]] = []
    run = EagerBackend.run

    def counted(self: EagerBackend, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        found.append((self._cut, len(next(iter(batch.values())))))
        return run(self, batch)

    monkeypatch.setattr(EagerBackend, "run", counted)
    return found


def opened(bench: Bench, *changes: str) -> Workspace:
    return bench.open(bench.plan("lpft:2", "stop.epochs=3", "stop.keep=last", *changes))


def test_the_head_and_the_last_blocks_share_one_pass(bench: Bench, runs: list[tuple[int, int]]) -> None:
    work = opened(bench)
    execute(work)
    used = len(work.draw.train) + len(work.draw.validation)
    cut = work.embedder("student", len(work.models["student"].trunk.blocks) - 4).cut
    assert {size for _, size in runs} == {32}
    assert len({one for one, _ in runs}) == 1, "nothing but the cut"
    assert len(runs) == -(-used // 32)
    assert cut > 0
    tested = work.logits(work.target.test)
    assert len(runs) == -(-used // 32) + -(-len(work.target.test) // 32)
    model = work.models["student"].eval()
    with torch.inference_mode():
        batch = work.inputs.batch(np.resize(work.target.test, 32))
        expected = model.head_outputs(model.trunk(batch))["label"][: len(work.target.test)]
    assert np.allclose(tested["label"], expected.numpy(), atol=1e-5)


def test_features_through_the_cut_are_those_of_the_whole(bench: Bench) -> None:
    through, alone = opened(bench), bench.open(bench.plan("probe"))
    examples = through.draw.train
    assert torch.equal(through.features("student", examples), alone.features("student", examples))


def test_views_behind_a_cut_are_kept_and_come_again(bench: Bench, runs: list[tuple[int, int]]) -> None:
    work = opened(bench, "streams.target.views=2", "stop.epochs=5")
    execute(work)
    train = -(-len(work.draw.train) // 32)
    everyone = -(-(len(work.draw.train) + len(work.draw.validation)) // 32)
    # The head's features are plain, and so is validation.
    assert len(runs) in (everyone + 2 * train, everyone + 2 * train + 1)
    cut = work.embedders[0].cut
    view = open_stream("target", work.plan.streams["target"], work, kept=True).view(0)
    assert isinstance(view, View)
    found = work.embedders[0].activations(work.draw.train[:32], view=view)
    trunk = work.models["student"].trunk.eval()
    with torch.inference_mode():
        direct = trunk.prefix(work.inputs.batch(work.draw.train[:32], view=view), cut=cut)
    assert torch.equal(found, direct)
    assert not torch.equal(found, work.embedders[0].activations(work.draw.train[:32]))


def test_steps_read_the_view_of_their_epoch(bench: Bench) -> None:
    work = opened(bench, "streams.target.views=2")
    stream = open_stream("target", work.plan.streams["target"], work)
    kept = open_stream("target", work.plan.streams["target"], work, kept=True)
    numbers = [view.step for step in range(3 * kept.batches) if (view := kept.view(step))]
    assert numbers == [0] * kept.batches + [1] * kept.batches + [0] * kept.batches
    assert stream.view(7) == View(work.draw.seed, 7, stream.augment), "without a cut each step has its own"


class Drizzle(nn.Module):
    """Adds noise whenever it runs."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + 0.01 * torch.rand_like(values)


def test_a_prefix_that_draws_runs_at_every_step(
    bench: Bench, runs: list[tuple[int, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    work = opened(bench, "stop.epochs=1")
    network = work.models["student"].trunk.network
    network._bn0 = nn.Sequential(network._bn0, Drizzle())
    stream = open_stream("target", work.plan.streams["target"], work)
    assert open_frozen(work, "student", 5, [stream]) is None
    assert "_bn0.1 (Drizzle) gives another value each time it is run" in capsys.readouterr().err
    assert runs == []
    assert work.kept_as[0]["not_kept_because"].startswith("_bn0.1 (Drizzle)")


def test_time_is_booked_once(bench: Bench, tmp_path: Path) -> None:
    work = opened(bench)
    with work.spending("total of the test"):
        execute(work)
    booked = dict(work.seconds)
    rest = booked.pop("total of the test")
    assert set(booked) == {"features", "head", "tune"}
    assert rest < 0.2 * sum(booked.values())
    with work.spending("outer"), work.spending("inner"):
        pass
    assert work.seconds["outer"] >= 0


def test_settings_say_what_activations_can_be() -> None:
    with pytest.raises(UsageError, match="kept as float32 or float16, not as 'int8'"):
        Settings(activations="int8")
    with pytest.raises(UsageError, match="--cache-limit wants a size from 0"):
        Settings(cache_limit=-1)
