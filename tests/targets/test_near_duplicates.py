"""Near-duplicates that were planted are found, and what is merely of one kind is not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regraft.core.preprocessing import ImagePreprocessing, TextPreprocessing
from regraft.targets import Target, prepare
from regraft.targets.near_duplicates import NearDuplicates, near_duplicates
from regraft.targets.near_images import LIKE, likeness, similar_images, thumbnail_of
from regraft.targets.near_texts import normalised, similar_texts
from regraft.targets.parts import POOL, TEST


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    return np.stack([thumbnail_of(np.asarray(image.resize((64, 64)))[..., None]) for image in images])


def cropped(image: Image.Image, pixels: int) -> Image.Image:
    return image.crop((pixels, pixels, image.width, image.height))


def recoded(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=60)
    return Image.open(stream)


def photographs(solar_cells: list[Path]) -> list[Image.Image]:
    """Quarters of 12 photos: 48 pictures."""
    pictures = []
    for path in solar_cells:
        whole = Image.open(path).convert("L")
        corners = [(x, y) for x in (0, 150) for y in (0, 150)]
        pictures += [whole.crop((x, y, x + 150, y + 150)) for x, y in corners]
    return pictures


def test_photographs_are_found_again_re_encoded_resized_and_cropped(solar_cells: list[Path]) -> None:
    plain = photographs(solar_cells)
    changed = [
        recoded(plain[3]),
        plain[10].resize((75, 75)),
        plain[21].resize((333, 333)),
        cropped(plain[30], 2),
    ]
    before, _ = similar_images(thumbnails(plain))
    pairs, alike = similar_images(thumbnails([*plain, *changed]))
    found = {(int(a), int(b)) for a, b in pairs} - {(int(a), int(b)) for a, b in before}
    assert {(3, 48), (10, 49), (21, 50), (30, 51)} <= found
    assert len(found) <= 6
    assert ((alike >= LIKE) & (alike <= 1)).all()


def test_digits_of_a_kind_are_no_near_duplicates(digits: tuple[np.ndarray, np.ndarray]) -> None:
    small = np.stack([thumbnail_of(image[..., None]) for image in digits[0][:1200]])
    pairs, _ = similar_images(small)
    assert len(pairs) <= 3
    louder = np.clip(digits[0][[5, 70, 900]] * 1.1, 0, 255)
    pairs, _ = similar_images(np.concatenate([small, [thumbnail_of(image[..., None]) for image in louder]]))
    assert {(5, 1200), (70, 1201), (900, 1202)} <= {(int(a), int(b)) for a, b in pairs}


def test_a_move_by_a_part_of_a_pixel_is_seen_through(solar_cells: list[Path]) -> None:
    image = Image.open(solar_cells[0]).convert("L")
    small = thumbnails([image, cropped(image, 6)])
    as_they_lie = np.corrcoef(small)[0, 1]
    assert likeness(small[:1], small[1:])[0] > max(as_they_lie, 0.95)
    assert likeness(small[:1], small[:1])[0] == pytest.approx(1)


def test_nothing_is_said_of_few_or_empty_images() -> None:
    assert len(similar_images(np.zeros((5, 256), dtype=np.float32))[0]) == 0
    assert len(similar_images(np.full((30, 256), 9.0, dtype=np.float32))[0]) == 0


def test_texts_with_a_changed_comma_case_or_word_are_found(summaries: list[tuple[str, str]]) -> None:
    texts = [text for text, _ in summaries if len(text) > 40][:60]
    before, _ = similar_texts(texts)
    changed = [texts[4].replace(" ", ", ", 1), texts[9].upper() + "!", texts[17] + " too"]
    pairs, alike = similar_texts([*texts, *changed])
    found = {(int(a), int(b)): value for (a, b), value in zip(pairs, alike, strict=True)}
    new = set(found) - {(int(a), int(b)) for a, b in before}
    assert new == {(4, 60), (9, 61), (17, 62)}
    assert found[4, 60] == found[9, 61] == 1
    assert 0.8 <= found[17, 62] < 1


def test_likeness_of_texts_is_that_of_their_sets(summaries: list[tuple[str, str]]) -> None:
    def pieces(text: str) -> set[str]:
        kept = normalised(text)
        return {kept[at : at + 5] for at in range(max(1, len(kept) - 4))}

    texts = [text for text, _ in summaries][:80]
    texts += [text[:-6] for text in texts[:40]]
    pairs, alike = similar_texts(texts)
    found = {(int(a), int(b)): value for (a, b), value in zip(pairs, alike, strict=True)}
    for first in range(len(texts)):
        for second in range(first + 1, len(texts)):
            one, two = pieces(texts[first]), pieces(texts[second])
            expected = len(one & two) / len(one | two)
            assert ((first, second) in found) == (expected >= 0.8)
            if expected >= 0.8:
                assert found[first, second] == pytest.approx(expected)


def test_short_and_strange_texts_are_compared_as_they_are() -> None:
    pairs, _ = similar_texts(["", "?!", "..", "ab", "AB.", "ab c", "\ud800", "ﬁne", "fine"])
    assert {(int(a), int(b)) for a, b in pairs} == {(3, 4), (7, 8)}


def planted(texts: list[str]) -> Target:
    words = [*texts, texts[0] + ".", texts[1] + ".", texts[2] + "!"]
    labels = ["ab"[n % 2] for n in range(len(texts))] + ["a", "a", "a"]
    target = Target.from_arrays(words, labels)
    part = np.zeros(len(words), dtype=np.int8)
    part[[0, 5, 6]] = TEST
    from dataclasses import replace

    return replace(target, part=part)


def test_what_is_told_keeps_test_labels_sealed(
    summaries: list[tuple[str, str]], text_preprocessing: TextPreprocessing
) -> None:
    target = planted([text for text, _ in summaries if len(text) > 40][:40])
    prepared = prepare(target, text_preprocessing)
    found = near_duplicates(prepared.target, prepared.inputs)
    rows = {
        row["twin"]: row for row in found.rows(target) if row["twin"] in ("text 41", "text 42", "text 43")
    }
    assert (rows["text 41"]["part"], rows["text 41"]["same_label"]) == ("test", "")
    assert (rows["text 42"]["part"], rows["text 42"]["same_label"]) == ("pool", "no")
    assert (rows["text 43"]["part"], rows["text 43"]["same_label"]) == ("pool", "yes")
    assert found.across(target).tolist() == [True, False, False]
    assert found.disagreeing(target) == 1
    first, second = found.sentences(target)
    assert first.startswith("1 test example has a near-duplicate among those that can be trained on")
    assert second.startswith("1 pairs of near-duplicates outside the test part have different labels")


def test_images_are_compared_as_the_network_reads_them(
    digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path))
    images = np.concatenate([digits[0][:60], np.clip(digits[0][:1] + 3, 0, 255), digits[0][1:2]])
    target = Target.from_arrays(images, np.append(digits[1][:60], digits[1][:2]).astype(str))
    assert (target.part == POOL).any()
    steps = ImagePreprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    prepared = prepare(target, steps, workers=1)
    found = near_duplicates(prepared.target, prepared.inputs)
    assert [0, 60] in found.pairs.tolist()
    assert [1, 61] not in found.pairs.tolist(), "copies byte for byte are units already"
    assert len(NearDuplicates(np.zeros((0, 2), dtype=np.int64), np.zeros(0)).rows(target)) == 0
