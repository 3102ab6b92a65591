"""Preprocessing survives its JSON form, and a tokenizer has to be the one that was saved."""

from __future__ import annotations

import json

import pytest

from regraft.core.errors import UsageError
from regraft.core.preprocessing import (
    ImagePreprocessing,
    Preprocessing,
    TextPreprocessing,
    preprocessing_from_json,
)

IMAGES = ImagePreprocessing(size=(96, 64), mean=(0.5, 0.4, 0.3), interpolation="lanczos", keep_aspect=False)
TEXTS = TextPreprocessing(tokenizer=b"{}", max_length=32, pad_id=1, max_chunks=3)


@pytest.mark.parametrize("steps", [IMAGES, TEXTS], ids=["image", "text"])
def test_the_json_form_gives_it_back(steps: Preprocessing) -> None:
    data = json.loads(json.dumps(steps.to_json()))
    found = preprocessing_from_json(data, {"tokenizer.json": b"{}"})
    assert found == steps
    assert found.fingerprint == steps.fingerprint


@pytest.mark.parametrize("files", [{}, {"tokenizer.json": b"{ }"}], ids=["missing", "another"])
def test_another_tokenizer_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="not the file that the model was saved with"):
        preprocessing_from_json(TEXTS.to_json(), files)


def test_an_unknown_modality_is_named() -> None:
    with pytest.raises(ValueError, match="unknown modality 'smell'"):
        preprocessing_from_json({"modality": "smell"}, {})


def test_whatever_changes_the_input_changes_the_fingerprint() -> None:
    assert IMAGES.resized(32).size == (32, 32)
    assert IMAGES.resized(32).mean == IMAGES.mean
    prints = {ImagePreprocessing().fingerprint, IMAGES.fingerprint, IMAGES.resized(32).fingerprint}
    assert len(prints) == 3
    assert TextPreprocessing(b"{}").fingerprint != TextPreprocessing(b"{ }").fingerprint


def test_there_are_as_many_channels_as_mean_has_values() -> None:
    assert ImagePreprocessing().channels == 3
    assert ImagePreprocessing.for_channels(3) == ImagePreprocessing()
    five = ImagePreprocessing.for_channels(5, size=(8, 8))
    assert (five.channels, five.mean, five.std, five.size) == (5, (0.5,) * 5, (0.5,) * 5, (8, 8))
    assert preprocessing_from_json(json.loads(json.dumps(five.to_json())), {}) == five


def test_a_change_of_channels_keeps_what_is_known_of_the_others() -> None:
    four, one = IMAGES.with_channels(4), IMAGES.with_channels(1)
    assert four.mean == (0.5, 0.4, 0.3, 0.5)
    assert four.std == (*IMAGES.std, 0.5)
    assert one.mean == pytest.approx((0.4,))
    assert IMAGES.with_channels(3) == IMAGES
    assert len({IMAGES.fingerprint, four.fingerprint, one.fingerprint}) == 3


@pytest.mark.parametrize("std", [(0.5,), (0.5, 0.5, 0.0), ()], ids=["fewer", "zero", "none"])
def test_mean_and_std_have_to_fit_together(std: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="one of each for every channel, std above zero"):
        ImagePreprocessing(std=std)
