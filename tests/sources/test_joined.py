"""Several sources as one: each part gives what it gives alone, the whole can be cut, mistakes are said."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch

import regraft as rg
from regraft.core.errors import SourceError, UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.engine import Settings
from regraft.sources import Source, build_trunk, example_batch, find, load_native
from regraft.sources.fitting import Fit
from regraft.sources.joined import join, split_name
from regraft.sources.registry import complete, takes_option
from tests.strategies import tiny

LITE0, LITE1 = "packaged:efficientnet-lite0", "packaged:efficientnet-lite1"
SIZE = 32
WORDS = ("a small mouse", "two large cats", "three birds")


@pytest.fixture(scope="module")
def pair() -> Source:
    return find(f"{LITE0}+{LITE1}", size=SIZE)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    return [tiny.transformer(tmp_path_factory.mktemp(f"bert{seed}"), WORDS, seed) for seed in (0, 1)]


def test_each_part_gives_what_it_gives_alone(pair: Source) -> None:
    batch = example_batch(pair)
    with torch.no_grad():
        whole = load_native(pair)(batch)
        alone = [load_native(find(name, size=SIZE))(batch) for name in (LITE0, LITE1)]
    assert torch.equal(whole, torch.cat(alone, 1))
    assert (pair.modality, pair.heads, pair.options) == ("image", (), {"size": SIZE})
    assert pair.weights is not None
    assert len(pair.weights.files) == 2


def test_it_is_a_chain_that_can_be_cut(pair: Source, exactness: SimpleNamespace) -> None:
    trunk, batch = load_native(pair), example_batch(pair)
    assert trunk.block_names[:2] == ("stem+blocks.4", "blocks.0+blocks.5")
    assert trunk.block_names[-2:] == ("conv_head", "pool")
    exactness.assert_cuts_are_exact(trunk, batch, every=6)
    exactness.assert_owned_once(trunk)
    exactness.assert_gradients_flow(trunk, batch)
    exactness.assert_copies(trunk, batch)
    exactness.assert_meta(pair)


def test_texts_are_cut_between_layers_and_keep_their_lengths(
    texts: list[Source], exactness: SimpleNamespace
) -> None:
    joined = complete(join(texts))
    trunk, batch = load_native(joined), example_batch(joined)
    assert trunk.block_names == ("embeddings", "layer.0", "layer.1", "pool")
    exactness.assert_cuts_are_exact(trunk, batch)
    tokens = trunk.prefix(batch, cut=2)
    assert tokens is not None
    assert tokens.shape == (*batch["input_ids"].shape, trunk.width)
    assert join([texts[0], shorter(texts[1])]).preprocessing == shorter(texts[0]).preprocessing


def shorter(source: Source) -> Source:
    return replace(source, name="shorter", preprocessing=replace(source.preprocessing, max_length=8))


def test_a_longer_chain_of_another_kind_is_cut_as_well(exactness: SimpleNamespace) -> None:
    parts = [find("small:image", size=SIZE), find(LITE0, size=SIZE)]
    joined = complete(join([parts[0], replace(parts[1], weights=None)]))
    assert joined.weights is None
    trunk = build_trunk(joined)
    assert len(trunk.blocks) == 6
    exactness.assert_cuts_are_exact(trunk, example_batch(joined))


def test_parts_that_prepare_pictures_otherwise_get_their_own() -> None:
    """The same pixels, cut and normalised by each part's own preprocessing, are what the part sees."""
    lite0, lite1 = find(LITE0, size=SIZE), find(LITE1, size=64)
    steps = ImagePreprocessing(
        size=(SIZE, SIZE), crop_fraction=0.5, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3)
    )
    joined = complete(join([lite1, replace(lite0, preprocessing=steps)]))
    assert isinstance(joined.preprocessing, ImagePreprocessing)
    assert (joined.preprocessing.size, joined.preprocessing.crop_fraction) == ((64, 64), 0.875)
    photo = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    crop = round(64 * 0.5 / 0.875)
    margin = (64 - crop) // 2
    middle = photo[:, :, margin : margin + crop, margin : margin + crop]
    own = torch.nn.functional.interpolate(middle, size=(SIZE, SIZE), mode="bicubic", antialias=True)
    mean, std = (torch.tensor(one)[:, None, None] for one in (steps.mean, steps.std))
    with torch.no_grad():
        found = load_native(joined)({"pixels": (photo - 0.5) / 0.5})
        alone = load_native(lite0)({"pixels": (own - mean) / std})
        first = load_native(lite1)({"pixels": (photo - 0.5) / 0.5})
    assert torch.equal(found[:, :1280], first)
    torch.testing.assert_close(found[:, 1280:], alone, rtol=1e-3, atol=1e-4)


def test_pixels_are_resampled_as_torch_does() -> None:
    pixels = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    modes: tuple[Literal["bicubic", "bilinear"], ...] = ("bicubic", "bilinear")
    for mode, size in product(modes, ((32, 32), (64, 96), (48, 20))):
        expected = torch.nn.functional.interpolate(pixels, size=size, mode=mode, antialias=True)
        torch.testing.assert_close(Fit((48, 40), size, mode=mode)(pixels), expected, rtol=0, atol=2e-5)


def test_it_exports_before_anybody_asked_for_its_blocks() -> None:
    one = find("small:image", size=SIZE)
    joined = join([one, replace(find("small:image", size=48), name="larger")])
    trunk, batch = build_trunk(joined).eval(), example_batch(joined)
    program = torch.export.export(trunk, (batch,))
    torch.testing.assert_close(program.module()(batch), trunk(batch))


def test_a_run_of_a_joined_source_is_found_again_predicts_and_is_a_source(
    texts: list[Source], tmp_path: Path
) -> None:
    animals = ("mouse", "cats", "birds", "a", "two")
    said = [f"{size} {animal}" for size in ("small", "large") for animal in animals]
    target = rg.Target.from_arrays(said * 6, [one.split()[0] for one in said] * 6)
    pair = find("+".join(one.name for one in texts))
    plain = Settings(device="cpu", backend="eager")
    run = rg.transfer(target, source=pair, out=tmp_path / "run", settings=plain)
    assert run.facts["source"]["name"] == pair.name
    again = find(f"bundle:{tmp_path / 'run'}")
    assert (again.builder.name, again.parts) == ("joined", ())
    batch = example_batch(pair)
    with torch.no_grad():
        assert torch.equal(load_native(again)(batch), load_native(pair)(batch))
    found = run.predict(["large mouse", "small birds"])
    assert [one["label"] for one in found] == ["large", "small"]


def test_names_are_parted_where_a_prefix_begins() -> None:
    prefixes = ("packaged", "bundle")
    assert split_name("bundle:a+b", prefixes) == ("bundle:a+b",)
    assert split_name("bundle:a+b+packaged:c", prefixes) == ("bundle:a+b", "packaged:c")
    assert takes_option(f"{LITE0}+{LITE1}", "size")
    assert not takes_option(f"{LITE0}+file:a.pt", "builder")


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        (f"{LITE0}+packaged:eficientnet-lite1", {}, SourceError, "Did you mean packaged:efficientnet-lite1"),
        (f"{LITE0}+efficientnet-lite1", {}, SourceError, "each have their prefix: packaged:A"),
        (f"{LITE0}+packaged:minilm", {}, SourceError, r"read image and text; join .* one modality"),
        (f"{LITE0}+{LITE0}", {}, UsageError, "is a part twice"),
        (f"{LITE0}+small:image", {}, SourceError, "small:image was never pretrained"),
        (f"{LITE0}+{LITE1}", {"sise": 3}, UsageError, "has no option sise; its options are: size"),
        (f"{LITE0}+{LITE1}", {"builder": "a:b"}, UsageError, "has no option builder"),
    ],
)
def test_mistakes_are_said(name: str, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        find(name, **options)


def test_parts_that_cannot_stand_together(texts: list[Source]) -> None:
    lite0, own = find(LITE0, size=SIZE), tiny.convolutional()
    with pytest.raises(SourceError, match="tiny-0 is built by code of your own"):
        join([lite0, own])
    with pytest.raises(SourceError, match="of 3 and of 1 channels"):
        join([lite0, replace(lite0, name="grey", preprocessing=lite0.preprocessing.with_channels(1))])  # type: ignore[union-attr]
    squeezed = replace(lite0.preprocessing, keep_aspect=False)  # type: ignore[call-arg]
    with pytest.raises(SourceError, match="32 x 32, cropped and 32 x 32, squeezed"):
        join([lite0, replace(lite0, name="squeezed", preprocessing=squeezed)])
    other = replace(texts[1], preprocessing=replace(texts[1].preprocessing, pad_id=1))  # type: ignore[call-arg]
    with pytest.raises(SourceError, match="reads other tokens than"):
        join([texts[0], other])
    with pytest.raises(UsageError, match="at least two parts"):
        join([lite0])
