"""What is kept is what running the network gives: views, lengths, precision, layers that are random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.inputs import Batch, View
from regraft.core.preprocessing import ImagePreprocessing, TextPreprocessing
from regraft.inference import Embedder, pieces_of
from regraft.inference.naming import piece_keys
from regraft.inference.structure import structure_hash
from regraft.sources.module import _whole as run_whole
from regraft.sources.trunk import Block, Trunk
from regraft.targets import read_items
from tests.inference.small import Awake, Noisy, Pictures, Sociable, small_embedder, small_trunk

EVERYONE = np.arange(40)


def test_each_view_is_kept_and_is_what_running_it_gives(own_cache: Path) -> None:
    trunk, pictures = small_trunk(), Pictures(40)
    embedder = small_embedder(trunk, pictures)
    views = [None, View(0, 0), View(0, 1), View(1, 0)]
    for view in views:
        embedder.compute(EVERYONE, view=view)
    again = small_embedder(trunk, pictures)
    assert again.shelf.folder == embedder.shelf.folder
    for view in views:
        assert len(again._missing(EVERYONE, view)) == 0
        with torch.inference_mode():
            direct = trunk.prefix(pictures.batch(np.arange(32), view=view), cut=2)
        assert torch.equal(again.activations(np.arange(32), view=view), direct)
    assert not torch.equal(again.activations(EVERYONE), again.activations(EVERYONE, view=views[1]))


def test_all_that_a_view_says_is_in_its_name() -> None:
    pictures = Pictures(3)
    views = [None, View(0, 0), View(0, 1), View(1, 0)]
    names = {piece_keys(pictures, np.arange(3), view).tobytes() for view in views}
    assert len(names) == len(views)


@pytest.mark.parametrize("cut", [2, 5])
def test_ragged_values_come_back_exactly_and_without_padding(
    text_embedder: tuple,  # type: ignore[type-arg]
    own_cache: Path,
    cut: int,
) -> None:
    prepared, make = text_embedder
    inputs, everyone = prepared.inputs, np.arange(len(prepared.inputs))
    pieces, _ = pieces_of(inputs, everyone)
    assert len(set(inputs.buckets.tolist())) > 1
    make(cut=cut, keep=True).compute(everyone)
    embedder = make(cut=cut, keep=True)
    assert embedder.storing is not None
    assert not embedder.storing.padding, "attention does not look at padding"
    stored = sum(shard._flat().size for shard in embedder.shelf._shards)
    unique = np.unique(piece_keys(inputs, pieces, None), return_index=True)[1]
    assert stored == inputs.lengths[pieces][unique].sum() * 384
    for bucket in np.unique(inputs.buckets):
        some = everyone[inputs.buckets[pieces] == bucket][:32]
        some = np.concatenate([some, np.repeat(some[-1:], 32 - len(some))])
        batch = inputs.batch(some)
        with torch.inference_mode():
            direct = embedder.trunk.prefix(batch, cut=cut)
            kept = embedder.activations(some)
            assert kept.shape == direct.shape
            own = batch["attention_mask"].bool()
            assert torch.equal(kept[own], direct[own])
            whole = embedder.trunk(batch)
            assert torch.equal(embedder.trunk.suffix(kept, batch, cut=cut), whole)


def test_padding_that_is_looked_at_is_stored(own_cache: Path, text_embedder: tuple) -> None:  # type: ignore[type-arg]
    _, make = text_embedder
    embedder = make(cut=2, keep=True)
    trunk = embedder.trunk
    blocks = list(trunk.blocks)
    run = blocks[-1].run
    try:  # the mean over all places, padding among them
        trunk._written = (*blocks[:-1], type(blocks[-1])(blocks[-1].name, lambda n, a, i: a.mean(1)))
        greedy = make(cut=2, keep=True)
        assert greedy.shelf.folder != embedder.shelf.folder
        greedy.compute(np.arange(12))
        assert greedy.storing is not None
        assert greedy.storing.padding
    finally:
        trunk._written = tuple(blocks)
    assert trunk.blocks[-1].run is run


def test_float16_says_what_it_changes_and_takes_half_the_space(
    own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trunk, pictures = small_trunk(), Pictures(40)
    exact = small_embedder(trunk, pictures).activations(EVERYONE)
    half = small_embedder(trunk, pictures, activations="float16")
    found = half.activations(EVERYONE)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact.half().float())
    assert half.storing is not None
    assert half.storing.effect is not None
    assert 0 < half.storing.effect < 1e-3
    assert f"it changes the features by {half.storing.effect:.1e}" in capsys.readouterr().err
    assert sum(shard._flat().nbytes for shard in half.shelf._shards) == exact.numel() * 2
    again = small_embedder(trunk, pictures, activations="float16")
    assert again.storing == half.storing, "the shelf remembers what was measured"


def test_float16_is_refused_where_it_has_no_room(own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trunk, pictures = small_trunk(nn.Identity(), scale=1e6), Pictures(40)
    exact = small_embedder(trunk, pictures).activations(EVERYONE)
    asked = small_embedder(trunk, pictures, activations="float16")
    assert torch.equal(asked.activations(EVERYONE), exact)
    assert exact.abs().max() > 65504
    assert "kept in float32, not in float16 as asked" in capsys.readouterr().err
    assert asked.summary()["values"] == "float32"


def test_one_value_beyond_float16_keeps_its_shard_exact(own_cache: Path) -> None:
    class Loud(Pictures):
        def _picture(self, piece: int, view: View | None) -> np.ndarray:
            return super()._picture(piece, view) * (1e6 if piece == 39 else 1)

    trunk, pictures = small_trunk(nn.Identity()), Loud(40)
    exact = small_embedder(trunk, pictures).activations(EVERYONE)
    assert exact[39].abs().max() > 65504
    found = small_embedder(trunk, pictures, activations="float16").activations(EVERYONE)
    assert torch.equal(found[39], exact[39])


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (Awake(0.5), "because middle (Awake) stays in train mode"),
        (Noisy(), "because middle (Noisy) gives another value each time"),
        (nn.Sequential(nn.ReLU(), Noisy()), "because middle.1 (Noisy) gives another value each time"),
        (Sociable(), "because a layer looks at the other examples"),
    ],
)
def test_a_prefix_that_is_no_function_of_the_example_is_not_kept(
    own_cache: Path, capsys: pytest.CaptureFixture[str], middle: nn.Module, reason: str
) -> None:
    embedder = small_embedder(small_trunk(middle), Pictures(40))
    assert not embedder.kept(EVERYONE)
    first = embedder.activations(EVERYONE)
    assert first.shape[0] == 40
    assert reason in capsys.readouterr().err
    assert not list(own_cache.rglob("*.safetensors"))
    assert torch.equal(embedder.activations(EVERYONE), first), "drawn by what is asked for"


class Rarely(nn.Module):
    """Noise for one example in a thousand, whatever the mode."""

    def forward(self, values: Tensor) -> Tensor:
        chosen = torch.rand(len(values), 1, 1, 1) < 1e-3
        return torch.where(chosen, values + torch.randn_like(values), values)


def test_noise_that_no_trial_meets_is_seen_in_the_graph(
    own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(3)]
    network = nn.Sequential(nn.Conv2d(3, 4, 3), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network[1].append(Rarely())
    trunk = Trunk(network, run_whole, 4, reads=ImagePreprocessing(size=(12, 12)))
    pictures = Pictures(40)
    assert not Embedder(trunk, pictures, cut=3, backend="eager").kept(EVERYONE)
    assert "because 1.2 (Rarely) draws random numbers (rand)" in capsys.readouterr().err
    assert Embedder(trunk, pictures, cut=1, backend="eager").kept(EVERYONE)


def test_features_through_a_cut_run_no_block_twice_and_are_the_same(own_cache: Path) -> None:
    trunk, pictures = small_trunk(), Pictures(70)
    whole = small_embedder(trunk, pictures, cut=3, keep=False).features(np.arange(70))
    calls: list[int] = []
    trunk.network.stem.register_forward_hook(lambda *_: calls.append(1))
    prefix = small_embedder(trunk, pictures, cut=2)
    through = small_embedder(trunk, pictures, cut=3, through=prefix)
    assert prefix.kept(np.arange(70))
    assert through._open(np.arange(70)) is not None
    calls.clear()
    assert torch.equal(through.features(np.arange(70)), whole)
    prefix.compute(np.arange(70))
    assert len(calls) == 3, "70 pictures are 3 batches"


def test_processes_share_the_work_of_one_shelf(own_cache: Path) -> None:
    trunk, pictures = small_trunk(), Pictures(40)
    first, second = (small_embedder(trunk, pictures) for _ in range(2))
    first.compute(EVERYONE, share=(0, 2))
    assert len(first._missing(EVERYONE, None)) == 20
    second.compute(EVERYONE, share=(1, 2))
    first.refresh()
    assert len(first._missing(EVERYONE, None)) == 0
    alone = small_embedder(trunk, pictures, keep=False)
    assert torch.equal(first.activations(EVERYONE), alone.activations(EVERYONE))


class Rectified(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return functional.relu(values)


class Smoothed(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return functional.gelu(values)


Smoothed.__name__ = Smoothed.__qualname__ = "Rectified"


def plain(slope: float) -> nn.Module:
    """Its slope is no word of its repr."""
    layer = Rectified()
    layer.slope = slope  # type: ignore[assignment]
    return layer


def shifted(by: float) -> nn.Module:
    layer = Rectified()
    layer.register_buffer("shift", torch.tensor([by]), persistent=False)
    return layer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Rectified(), Smoothed()),
        (plain(0.1), plain(0.2)),
        (shifted(0.0), shifted(1.0)),
        (nn.Dropout(0.5).train(), nn.Dropout(0.5).eval()),
        (nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=1e-3)),
    ],
)
def test_structures_differ_where_repr_does_or_does_not(one: nn.Module, other: nn.Module) -> None:
    hashes = set()
    for middle in (one, other, one):
        trunk = small_trunk()
        trunk.network.middle = middle
        hashes.add(structure_hash(trunk, 0, 2))
    assert len(hashes) == 2
    assert structure_hash(trunk, 0, 1) == structure_hash(small_trunk(), 0, 1), "it stands behind this cut"


def test_a_hook_and_what_it_calls_are_part_of_the_structure() -> None:
    def hooked(factor: float) -> str:
        trunk = small_trunk()
        trunk.network.stem.register_forward_hook(lambda _, __, value: value * factor)
        return structure_hash(trunk, 0, 2)

    assert hooked(1.0) == hooked(1.0)
    assert len({hooked(1.0), hooked(2.0), structure_hash(small_trunk(), 0, 2)}) == 3


def test_other_weights_are_another_shelf(own_cache: Path) -> None:
    folders = {
        small_embedder(small_trunk(scale=scale), Pictures(3)).shelf.folder for scale in (1.0, 1.0, 2.0)
    }
    assert len(folders) == 2
    assert isinstance(small_embedder(small_trunk(), Pictures(3)), Embedder)


class Held(nn.Module):
    """Reads what stands outside its methods, and a layer that is not registered."""

    factors = (1.0, 2.0)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layer = nn.Conv2d(4, 4, 3)
        self.table = np.ones(2, np.float32)
        self.kept = [nn.Conv2d(4, 4, 1)]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return Doubled.apply(self.kept[0](self.layer(values))) * self.factors[0] * OPTIONS["gain"][0]


class Doubled:
    @staticmethod
    def apply(values: torch.Tensor) -> torch.Tensor:
        return values * 2


OPTIONS = {"gain": [1.0]}


def _tripled(values: torch.Tensor) -> torch.Tensor:
    return values * 3


@pytest.mark.parametrize("what", ["class", "module", "called", "array", "unregistered"])
def test_what_code_reads_outside_itself_is_part_of_the_structure(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [structure_hash(small_trunk(Held()), 0, 2) for _ in range(2)]
    assert before[0] == before[1]
    trunk = small_trunk(Held())
    held = trunk.network.middle
    if what == "class":
        monkeypatch.setattr(Held, "factors", (3.0, 2.0))
    elif what == "module":
        monkeypatch.setitem(OPTIONS, "gain", [2.0])
    elif what == "called":
        monkeypatch.setattr(Doubled, "apply", staticmethod(_tripled))
    elif what == "array":
        held.table[0] = 2
    else:
        with torch.no_grad():
            held.kept[0].weight += 1
    assert structure_hash(trunk, 0, 2) != before[0]


def test_a_stage_that_trains_does_not_change_what_frozen_layers_give(own_cache: Path) -> None:
    trunk, pictures = small_trunk(nn.Sequential(nn.Conv2d(4, 4, 3), nn.Dropout(0.5))), Pictures(40)
    expected = small_embedder(trunk, pictures, keep=False).activations(EVERYONE)
    embedder = small_embedder(trunk, pictures, keep=False)
    assert embedder.kept(EVERYONE)
    trunk.train()
    assert torch.equal(embedder.activations(EVERYONE), expected)
    assert all(module.training for module in trunk.modules()), "modes are as they were"


class Tokens(nn.Module):
    """Looks at its padding: a mean of all tokens, or the largest of them."""

    def __init__(self, *, mean: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(60, 8)
        self.layer = nn.Linear(8, 8)
        self.mean = mean

    def first(self, inputs: Batch) -> torch.Tensor:
        return self.layer(self.embedding(inputs["input_ids"])) + 3

    def last(self, values: torch.Tensor) -> torch.Tensor:
        return values.mean(1) if self.mean else values.amax(1)


def _first(network: Tokens, activation: torch.Tensor | None, inputs: Batch) -> torch.Tensor:
    return network.first(inputs)


def _last(network: Tokens, activation: torch.Tensor, inputs: Batch) -> torch.Tensor:
    return network.last(activation)


@pytest.mark.parametrize("mean", [True, False])
def test_texts_that_fill_their_length_say_nothing_about_padding(mean: bool, own_cache: Path) -> None:
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(60)}, "w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    steps = TextPreprocessing(tokenizer=words.to_str().encode(), max_length=16, pad_id=1)
    blocks = [Block("layer", _first, ("embedding", "layer")), Block("pool", _last)]
    trunk = Trunk(Tokens(mean=mean), blocks, 8).eval()
    texts = [" ".join(f"w{2 + (row + place) % 50}" for place in range(16)) for row in range(40)]
    for shown in (texts, [text[: 3 * 5] for text in texts]):
        inputs = read_items(shown, steps).inputs
        everyone = np.arange(len(inputs))
        kept = Embedder(trunk, inputs, cut=1, backend="eager").activations(everyone)
        batch = inputs.batch(everyone)
        with torch.no_grad():
            assert torch.equal(trunk.suffix(kept, batch, cut=1), trunk(batch))
