"""The three hard cases on real data, on both sides of their references."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import Ridge

from regraft.core.task_spec import TaskSpec
from regraft.engine.price import Price
from regraft.evidence.shape import Finding, features_gain, few_labels, too_big
from regraft.targets import Target
from regraft.targets.raw import gaussian_features, pieces_of_texts
from regraft.tasks import make_task

PRICE = Price(20.0, {"tune": 100.0}, 500, 10**8, {"tune": 10**9}, 4 * 10**9)


@pytest.fixture(scope="module")
def digits() -> Target:
    images, labels = load_digits(return_X_y=True)
    return Target.from_arrays(images[:600].reshape(-1, 8, 8) / 16, labels[:600].astype(str))


def test_few_labels_are_counted_and_enough_are_not(digits: Target) -> None:
    few = digits.draw(0, per_class=10)
    (found,) = few_labels(digits, few, "lpft")
    assert (found.kind, found.number, found.reference) == ("few labels", 10.0, 20.0)
    assert "10 for each of 10 classes (reference: 20)" in found.sentence
    error = 50 / len(few.validation) ** 0.5
    assert (
        f"{len(few.validation)} validate, so that the standard error of an accuracy is up to {error:.1f}"
        in found.sentence
    )
    assert found.advice.startswith("Until then --strategy probe is safer than lpft; 100 more labels")
    assert few_labels(digits, few, "probe")[0].advice.startswith("100 more labels")
    assert few_labels(digits, digits.draw(0, per_class=25), "lpft") == ()
    assert Finding.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_one_class_with_hardly_a_label_is_named() -> None:
    images, labels = load_digits(return_X_y=True)
    kept = np.concatenate([np.flatnonzero(labels == 0)[:100], np.flatnonzero(labels == 1)[:5]])
    target = Target.from_arrays(images[kept].reshape(-1, 8, 8) / 16, labels[kept].astype(str))
    (found,) = few_labels(target, target.draw(0))
    assert (found.number, found.reference) == (4.0, 5.0)
    assert "the fewest of '1': 4" in found.sentence


def test_a_regression_needs_values_that_judge_it() -> None:
    images = np.random.default_rng(0).integers(0, 255, (442, 4, 4), dtype=np.uint8)
    target = Target.from_arrays(images, load_diabetes(return_X_y=True)[1])
    draw = target.draw(0, train_size=100)
    (found,) = few_labels(target, draw)
    error = 100 / (2 * len(draw.validation)) ** 0.5
    assert f"relative standard error of the validation error is {error:.0f}%" in found.sentence
    assert few_labels(target, target.draw(0)) == ()


def test_memory_and_time_that_do_not_suffice_are_said() -> None:
    assert too_big(PRICE) == ()
    (found,) = too_big(replace(PRICE, memory={"tune": 4 * 10**9}))
    assert found.kind == "too little memory"
    assert "a step of stage 'tune' takes 4.0 GB" in found.sentence
    (found,) = too_big(replace(PRICE, weights=5 * 10**9))
    assert "weights of the plan's models take 5.0 GB" in found.sentence
    (found,) = too_big(PRICE, budget=60)
    assert (found.kind, found.number, found.reference) == ("too little time", 120.0, 60)
    assert "stage 'tune'" in found.sentence
    assert "--size" in found.advice


def test_features_that_say_less_than_pixels_are_found_out() -> None:
    images, labels = load_digits(return_X_y=True)
    task = make_task(TaskSpec("digit", "multiclass", tuple("0123456789")))
    raw = gaussian_features(images[:300] / 16)
    poor = images[:300].reshape(-1, 8, 8)[:, ::4, ::4].reshape(300, -1)
    found = features_gain(task, poor, raw, labels[:300], what="their pixels")
    assert found is not None
    assert found.difference < -0.2
    said = found.finding()
    assert said is not None
    assert "dissimilar task: on 300 labels the source's frozen features reach" in said.sentence
    better = features_gain(task, raw, poor, labels[:300], what="their pixels")
    assert better is not None
    assert better.difference == pytest.approx(-found.difference)
    assert better.finding() is None
    same = features_gain(task, raw, raw, labels[:300], what="their pixels")
    assert same is not None
    assert (same.difference, same.error, same.finding()) == (0.0, 0.0, None)
    assert features_gain(task, poor[:20], raw[:20], labels[:20], what="") is None


def test_leave_one_out_is_that_of_repeated_fits() -> None:
    values, labels = load_diabetes(return_X_y=True)
    values, labels = values[:40], labels[:40].astype(np.float32)
    task = make_task(TaskSpec("progress", "regression", ()))
    gain = features_gain(task, values, values[:, :1], labels, what="one column")
    assert gain is not None
    centred = values - values.mean(0)
    unit = np.linalg.eigvalsh(centred.T @ centred)
    unit = unit[unit > 1e-9].mean()
    best = -np.inf
    from regraft.terms.solvers.base import penalties_of

    for strength in penalties_of(None):
        errors = []
        for out in range(40):
            keep = np.arange(40) != out
            # The penalty is in units of all examples, the fit is to the others.
            fitted = Ridge(alpha=strength * unit).fit(values[keep], labels[keep])
            errors.append((fitted.predict(values[out : out + 1])[0] - labels[out]) ** 2)
        best = max(best, -float(np.mean(errors)) / float(np.var(labels)))
    assert gain.features == pytest.approx(best, rel=1e-6)


def test_the_kernel_is_the_gaussian_one_and_texts_are_told_apart_by_their_pieces() -> None:
    images = load_digits().data[:50]
    rows = gaussian_features(images)
    varying = images[:, images.std(0) > 0]
    scaled = (varying - varying.mean(0)) / varying.std(0)
    expected = RBF((varying.shape[1] / 2) ** 0.5)(scaled)
    assert rows @ rows.T == pytest.approx(expected, abs=1e-9)
    assert gaussian_features(np.ones((4, 9))).shape == (4, 1)
    names = sorted({str(one.metadata["Name"]) for one in importlib.metadata.distributions()})[:30]
    values = pieces_of_texts(names)
    assert np.square(values).sum(1) == pytest.approx(np.ones(len(names)))
