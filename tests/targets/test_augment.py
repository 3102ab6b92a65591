"""Random views of pictures: a function of seed, step and example; each change does what it is called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from regraft.core.augmentation import Augmentation
from regraft.core.errors import PlanError
from regraft.core.inputs import View
from regraft.core.randomness import numpy_generator
from regraft.targets.augment import check_augmentation, random_view
from regraft.targets.augment_policies import _OPERATIONS, rand_augment, trivial_augment

STILL = Augmentation(crop=1.0, mirror=0.0)
ONE_BY_ONE = {
    "crop": Augmentation(crop=0.4, mirror=0.0),
    "mirror": Augmentation(crop=1.0, mirror=1.0),
    "rotate": replace(STILL, rotate=30.0),
    "shift": replace(STILL, shift=0.3),
    "scale": replace(STILL, scale=0.4),
    "brightness": replace(STILL, brightness=0.5),
    "contrast": replace(STILL, contrast=0.5),
    "saturation": replace(STILL, saturation=0.9),
    "hue": replace(STILL, hue=0.4),
    "grey": replace(STILL, grey=1.0),
    "blur": replace(STILL, blur=4.0),
    "erase": replace(STILL, erase=1.0),
    "rand": replace(STILL, policy="rand", operations=4, magnitude=20),
}


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A photograph's worth of structure: smooth colours with an edge."""
    y, x = np.mgrid[0:40, 0:48]
    red, green = 5 * x, 6 * y
    return np.dstack([red, green, np.where(x > 20, 200, 30)]).astype(np.uint8)


def test_the_default_view_is_mirrored_and_slightly_enlarged(picture: np.ndarray) -> None:
    """Written out once more by hand, so that the default keeps its bits."""
    for step in range(4):
        mirrored, kept, right, down = numpy_generator(3, "view", step, "key").random(4)
        share = 0.8 + 0.2 * kept
        left, top = right * (1 - share) * 48, down * (1 - share) * 40
        box = (left, top, left + share * 48, top + share * 40)
        expected = np.asarray(Image.fromarray(picture).resize((48, 40), Image.Resampling.BILINEAR, box=box))
        expected = expected[:, ::-1] if mirrored < 0.5 else expected
        assert np.array_equal(random_view(picture, View(3, step), "key"), expected)


def test_nothing_on_changes_nothing(picture: np.ndarray) -> None:
    assert np.array_equal(random_view(picture, View(0, 0, STILL), "a"), picture)


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_each_change_is_a_function_of_seed_step_and_example(picture: np.ndarray, name: str) -> None:
    augment = ONE_BY_ONE[name]
    views = [random_view(picture, View(0, step, augment), "a") for step in range(6)]
    again = [random_view(picture, View(0, step, augment), "a") for step in range(6)]
    assert all(np.array_equal(one, two) for one, two in zip(views, again, strict=True))
    assert all(view.shape == picture.shape and view.dtype == np.uint8 for view in views)
    assert any(not np.array_equal(view, picture) for view in views)
    if name not in ("mirror", "grey"):  # these two have one outcome only
        assert any(not np.array_equal(view, views[0]) for view in views[1:])
        others = [random_view(picture, View(0, step, augment), "b") for step in range(6)]
        assert any(not np.array_equal(one, two) for one, two in zip(views, others, strict=True))


def test_a_change_does_not_depend_on_which_others_are_on(picture: np.ndarray) -> None:
    alone = random_view(picture, View(0, 1, replace(STILL, rotate=20.0)), "a")
    cut = random_view(picture, View(0, 1, replace(STILL, rotate=20.0, erase=1.0)), "a")
    assert (alone == cut).all(axis=2).mean() > 0.6


def test_the_affine_map_goes_the_right_way() -> None:
    """Where the largest angle and shift are drawn, an off-centre dot lands where trigonometry says."""
    pixels = np.zeros((41, 41, 3), np.uint8)
    pixels[20, 28:33] = 255
    for step in range(12):
        angle, *_ = numpy_generator(0, "view move", step, "k").uniform(-1, 1, 4)
        seen = random_view(pixels, View(0, step, replace(STILL, rotate=90.0)), "k")[..., 0].astype(float)
        seen[seen == 128] = 0  # what came in from outside
        y, x = np.average(np.indices(seen.shape).reshape(2, -1), axis=1, weights=seen.reshape(-1))
        turn = np.deg2rad(angle * 90)
        assert (x - 20, y - 20) == pytest.approx((10 * np.cos(turn), 10 * np.sin(turn)), abs=0.3)


def test_geometry_acts_on_all_planes_alike(picture: np.ndarray) -> None:
    augment = Augmentation(crop=0.6, rotate=20, shift=0.1, scale=0.2, blur=2.0)
    five = np.dstack([picture, picture[..., :2]])
    seen = random_view(five, View(0, 5, augment), "a")
    assert seen.shape == five.shape
    assert np.array_equal(seen[..., 0], seen[..., 3])
    assert np.array_equal(seen[..., 1], seen[..., 4])
    assert np.abs(seen[..., :3].astype(int) - random_view(picture, View(0, 5, augment), "a")).max() <= 1


@pytest.mark.parametrize("name", ["brightness", "hue", "grey", "rand"])
def test_colours_need_three_channels(name: str) -> None:
    for channels in (1, 4):
        with pytest.raises(PlanError, match=f"pictures of {channels} channels do not have"):
            check_augmentation(ONE_BY_ONE[name], channels)
    check_augmentation(ONE_BY_ONE[name], 3)


def test_words_cannot_be_left_out_of_pictures() -> None:
    with pytest.raises(PlanError, match="the data are pictures"):
        check_augmentation(Augmentation(drop_tokens=0.1), 3)


@pytest.mark.parametrize("name", list(_OPERATIONS))
def test_every_operation_of_the_policies_runs(picture: np.ndarray, name: str) -> None:
    image = Image.fromarray(picture)
    for largest in (
        {"shear": 0.3, "translate": 150.0, "rotate": 30.0, "enhance": 0.9, "posterize": 4.0, "relative": 1.0},
    ):
        strong = np.asarray(_OPERATIONS[name](image, largest, 1.0, -1))
        assert strong.shape == picture.shape
        assert np.array_equal(strong, picture) == (name == "identity")


def test_policies_draw_operations_and_strengths(picture: np.ndarray) -> None:
    trivial = {trivial_augment(picture, numpy_generator(0, "p", step)).tobytes() for step in range(40)}
    assert len(trivial) > 20
    two = [rand_augment(picture, numpy_generator(0, "p", step), number=2, magnitude=9) for step in range(20)]
    assert len({one.tobytes() for one in two}) > 10


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop": 0.0}, "crop goes from 0.05 to 1"),
        ({"mirror": 2}, "mirror is a share"),
        ({"hue": 0.6}, "hue goes from 0 to 0.5"),
        ({"magnitude": 31}, "magnitude goes from 0 to 30"),
    ],
)
def test_what_is_out_of_range_is_named(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**wrong)  # type: ignore[arg-type]


@pytest.mark.vision
def test_policies_of_torchvision_do_the_same(picture: np.ndarray) -> None:
    """The ends of the strengths' ranges are those of torchvision's TrivialAugmentWide and RandAugment."""
    transforms = pytest.importorskip("torchvision.transforms.autoaugment")
    from regraft.targets.augment_policies import _NARROW, _WIDE

    wide = transforms.TrivialAugmentWide()._augmentation_space(31)
    narrow = transforms.RandAugment()._augmentation_space(31, (331, 331))
    for space, ours in ((wide, _WIDE), (narrow, _NARROW)):
        assert float(space["ShearX"][0].max()) == pytest.approx(ours["shear"])
        assert float(space["TranslateX"][0].max()) == pytest.approx(ours["translate"])
        assert float(space["Rotate"][0].max()) == pytest.approx(ours["rotate"])
        assert float(space["Contrast"][0].max()) == pytest.approx(ours["enhance"])
        assert 8 - int(space["Posterize"][0].min()) == ours["posterize"]
