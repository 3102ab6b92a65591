"""Mixing in pairs: what is drawn, what is mixed where, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from regraft.core.errors import PlanError
from regraft.core.inputs import Batch
from regraft.engine import execute
from regraft.engine.channels import channel_axis
from regraft.engine.forward import Forward
from regraft.engine.mixing import Mixer, Portion, map_axes, open_mixer, portion_of
from regraft.engine.train_stage import TrainStageRun
from regraft.linking import Grafted
from regraft.plans import MixSpec
from regraft.sources.trunk import Block, Trunk
from tests.engine.conftest import Bench
from tests.inference.small import Noisy, Pictures, small_trunk

PICTURES = {"pixels": torch.zeros(1, 3, 32, 32)}
WORDS = {"input_ids": torch.zeros(1, 16, dtype=torch.int64)}


def mixer(**spec: float) -> Mixer:
    made = open_mixer(MixSpec.model_validate(spec), "target", 0, PICTURES, None, 1)
    assert made is not None
    return made


def test_mixtures_are_functions_of_the_step_and_permutations() -> None:
    drawn = [mixer(mixup=0.4).at(step, 8) for step in range(30)]
    again = [mixer(mixup=0.4).at(step, 8) for step in range(30)]
    assert all(a and b and a.share == b.share for a, b in zip(drawn, again, strict=True))
    assert all(one and sorted(one.partners) == list(range(8)) for one in drawn)
    assert len({one.share for one in drawn if one}) == 30


def test_the_share_of_batches_and_both_kinds() -> None:
    drawn = [mixer(mixup=0.4, cutmix=1.0, share=0.5).at(step, 8) for step in range(400)]
    mixed = [one for one in drawn if one is not None]
    assert 150 < len(mixed) < 250
    assert 0.35 < np.mean([one.box is not None for one in mixed]) < 0.65
    assert mixer(mixup=0.4).at(0, 1) is None
    assert open_mixer(MixSpec(), "target", 0, PICTURES, None, 1) is None


def test_cutmix_pastes_a_rectangle_and_counts_its_area() -> None:
    made = mixer(cutmix=1.0)
    values = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 32, 32)
    for step in range(20):
        mixture = made.at(step, 4)
        assert mixture is not None
        portion = portion_of(np.arange(4), np.arange(4), np.arange(4), mixture, False)
        mixed = portion.mix(values)
        for row, partner in enumerate(mixture.partners):
            own = (mixed[row] == row).float().mean().item()
            expected = 1.0 if partner == row else mixture.share
            assert own == pytest.approx(expected, abs=1e-6)
    shares = [one.share for one in (made.at(step, 4) for step in range(300)) if one]
    assert 0.5 < np.mean(shares) < 0.75  # half by Beta(1, 1), and more where the border clips


def test_a_slice_mixes_as_the_whole_batch_does() -> None:
    batch = np.array([50, 40, 30, 20, 10])
    mixture = mixer(mixup=1.0).at(3, 5)
    assert mixture is not None
    table = torch.randn(60, 4)
    whole = portion_of(batch, batch, np.arange(5), mixture, False)
    slice_ = portion_of(batch, batch[2:], np.arange(2, 5), mixture, False)
    assert torch.equal(whole.mix(table[whole.examples])[2:], slice_.mix(table[slice_.examples]))
    assert list(whole.partners[2:]) == list(slice_.partners)
    plain = Portion(batch, 5)
    assert torch.equal(plain.mix(table[:5]), table[:5])


def test_where_maps_have_their_sides() -> None:
    assert map_axes(torch.zeros(2, 8, 7, 7), None) == (2, 3)
    assert map_axes(torch.zeros(2, 7, 7, 8), None) == (1, 2)
    assert map_axes(torch.zeros(2, 7, 7, 7), None) is None
    assert map_axes(torch.zeros(2, 8, 8, 6), 1) == (2, 3)
    assert map_axes(torch.zeros(2, 8, 8, 6), 3) == (1, 2)


class Windows(nn.Module):
    """As Swin begins: patches with channels last, a step beside the identity, and back again."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm, self.mlp = nn.Conv2d(3, 8, 2, stride=2), nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        values = self.patches(pixels).permute(0, 2, 3, 1)
        return values + self.mlp(self.norm(values)).relu()


def _modules(network: nn.Sequential) -> Trunk:
    """Each module is a block."""

    def block(number: int) -> Block:
        def run(held: nn.Module, activation: torch.Tensor | None, inputs: Batch) -> torch.Tensor:
            given: torch.Tensor = held[number](inputs["pixels"] if activation is None else activation)  # type: ignore[index]
            return given

        return Block(str(number), run, (str(number),))

    return Trunk(network, [block(number) for number in range(len(network))], 8)


def test_the_network_says_where_the_channels_are() -> None:
    class Turned(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values.movedim(-1, 1)

    class Folded(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values.flatten(2).reshape(values.shape)[:, :, ::2]

    norm, pool = nn.BatchNorm2d(8), nn.AvgPool2d(2)
    trunk = _modules(nn.Sequential(Windows(), Turned(), norm, pool, Folded()))
    batch = {"pixels": torch.zeros(2, 3, 16, 12)}
    assert trunk.prefix(batch, cut=1).shape == (2, 8, 6, 8)  # type: ignore[union-attr]
    assert [channel_axis(trunk, cut, batch) for cut in range(1, 6)] == [3, 1, 1, 1, None]


def test_words_are_mixed_by_their_features() -> None:
    made = open_mixer(MixSpec(mixup=0.2), "target", 0, WORDS, torch.zeros(1, 16, 8), 3)
    assert made is not None
    assert made.late
    early = open_mixer(MixSpec(mixup=0.2), "target", 0, PICTURES, torch.zeros(1, 8), 1)
    assert early is not None
    assert not early.late


@pytest.mark.parametrize(
    ("batch", "activation", "message"),
    [
        (WORDS, None, r"the inputs are no maps \(16\): use mixup"),
        (PICTURES, torch.zeros(1, 1280), r"ends with no maps \(1280\).*or freeze fewer blocks"),
        (PICTURES, torch.zeros(1, 320, 1, 1), "maps of 1x1: freeze fewer blocks"),
        (
            PICTURES,
            torch.zeros(1, 8, 8, 8),
            "ends with 8x8x8, of which neither the network nor the sizes say",
        ),
    ],
)
def test_cutmix_needs_maps(
    batch: dict[str, torch.Tensor], activation: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        open_mixer(MixSpec(cutmix=1.0), "target", 0, batch, activation, 1)


def test_behind_a_frozen_prefix_activations_are_mixed(bench: Bench) -> None:
    """Manifold mixup: what the kept prefix gives is mixed, and training goes on from there."""
    plan = bench.plan("lpft:2", "stop.epochs=1", "streams.target.mix.mixup=0.3", "streams.target.batch=16")
    work = bench.open(plan)
    execute(work)
    line = work.history.lines[-1]
    plain = bench.open(bench.plan("lpft:2", "stop.epochs=1", "streams.target.batch=16"))
    execute(plain)
    assert line["loss"] != plain.history.lines[-1]["loss"]
    assert np.isfinite(line["validation"]["loss"])


def test_a_prefix_that_cannot_be_kept_is_mixed_at_the_cut_as_well() -> None:
    model = Grafted(small_trunk(Noisy()), {"label": nn.Linear(5, 2)})
    pictures, batch = Pictures(4), np.arange(4)
    mixture = mixer(mixup=1.0).at(3, 4)
    assert mixture is not None
    forward = Forward(model, pictures, torch.device("cpu"), None, cut=2)  # type: ignore[arg-type]
    whole = portion_of(batch, batch, np.arange(4), mixture, False)
    torch.manual_seed(5)
    found = forward(batch, portion=whole)["label"]
    torch.manual_seed(5)
    inputs = pictures.batch(batch)
    with torch.no_grad():
        activation = model.trunk.prefix(inputs, cut=2)
    assert activation is not None
    mixed = mixture.share * activation + (1 - mixture.share) * activation[mixture.partners]
    expected = model.head_outputs(model.trunk.suffix(mixed, inputs, cut=2))["label"]
    assert torch.equal(found, expected)


def test_cutmix_cuts_maps_at_the_cut_whether_they_are_kept_or_not(bench: Bench) -> None:
    plan = bench.plan("lpft:2", "streams.target.mix.cutmix=1", "frozen_prefix=blocks.4")
    work = bench.open(plan)
    kept = TrainStageRun(plan.stages[-1], work, None)  # type: ignore[arg-type]
    noisy = bench.open(plan)
    noisy.models["student"].trunk.network._blocks[2].register_forward_hook(
        lambda module, given, gave: gave + torch.randn_like(gave)
    )
    live = TrainStageRun(plan.stages[-1], noisy, None)  # type: ignore[arg-type]
    assert (kept.forward.frozen is None, live.forward.frozen is None) == (False, True)
    grids = [run.objective.streams["target"].mixer.grid for run in (kept, live)]  # type: ignore[union-attr]
    assert grids[0] == grids[1] != (32, 32)
