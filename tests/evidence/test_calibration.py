"""Calibration against slow counts, scikit-learn, and probabilities that are known to be true."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss

from regraft.core.task_spec import TaskSpec
from regraft.evidence import Temperature
from regraft.evidence.calibration import calibration, figures, sharpened
from regraft.evidence.reliability import Bins, equal_mass, equal_width, gap
from regraft.tasks import make_task

THREE = make_task(TaskSpec("kind", "multiclass", ("a", "b", "c")))
TAGS = make_task(TaskSpec("tags", "multilabel", ("a", "b", "c")))


def drawn(count: int, *, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose logits are ``sharpness`` times the true ones, and labels drawn from the truth."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, 3))
    labels = (THREE.scores(logits).cumsum(1) > random.random((count, 1))).argmax(1)
    return THREE.scores(sharpness * logits), labels


def slow_gap(edges: np.ndarray, confidence: np.ndarray, right: np.ndarray) -> float:
    total = 0.0
    for number in range(len(edges) - 1):
        last = number == len(edges) - 2
        held = [
            place
            for place, value in enumerate(confidence)
            if edges[number] <= value and (value <= edges[number + 1] if last else value < edges[number + 1])
        ]
        if held:
            total += abs(sum(confidence[at] - right[at] for at in held)) / len(confidence)
    return total


@pytest.mark.parametrize("make", [equal_width, equal_mass])
def test_the_error_is_that_of_a_slow_count(make: type[Bins]) -> None:
    scores, labels = drawn(400, sharpness=2)
    confidence, right = scores.max(1)[:, None], (scores.argmax(1) == labels).astype(float)[:, None]
    bins = make(confidence)
    plain, debiased = gap(bins, confidence, right)
    assert bins.count == 15
    assert plain == pytest.approx(slow_gap(bins.edges, confidence[:, 0], right[:, 0]), abs=1e-12)
    assert 0 < debiased < plain


def test_log_loss_and_brier_score_are_scikit_learns() -> None:
    scores, labels = drawn(200)
    found = figures(THREE, scores, labels)
    assert found["nll"] == pytest.approx(log_loss(labels, scores))
    assert found["brier"] == pytest.approx(brier_score_loss(labels, scores))
    two = scores[:, :2] / scores[:, :2].sum(1, keepdims=True)
    coin = np.minimum(labels, 1)
    found = figures(make_task(TaskSpec("coin", "binary", ("no", "yes"))), two, coin)
    assert found["brier"] == pytest.approx(brier_score_loss(coin, two[:, 1]))
    truth = (scores > 0.4).astype(np.float32)
    found = figures(TAGS, scores, truth)
    losses = [log_loss(truth[:, k], scores[:, k], labels=[0, 1]) for k in range(3)]
    assert found["nll"] == pytest.approx(np.mean(losses))


def test_true_probabilities_pass_and_the_plain_error_is_known_to_flatter_nobody() -> None:
    plain, debiased, passed = [], [], []
    for seed in range(25):
        found = figures(THREE, *drawn(150, seed=seed))["ece_equal_width"]
        plain.append(found["value"])
        debiased.append(found["debiased"])
        passed.append(found["low"] == 0)
        assert found["low"] <= found["debiased"] <= found["high"]
    assert np.mean(plain) > 0.04, "few examples alone make an error of true probabilities"
    assert np.mean(debiased) < 0.75 * np.mean(plain)
    assert np.mean(passed) >= 0.84
    expected = found["if_calibrated"]["mean"]
    assert expected == pytest.approx(np.mean(plain), rel=0.25)


def test_too_sure_a_model_is_found_out_and_its_temperature_mends_it() -> None:
    scores, labels = drawn(2000, sharpness=3)
    found = calibration(THREE, scores, labels, Temperature(3.0, False, 500))
    assert found is not None
    before, after = found["temperature"]["before"], found["temperature"]["after"]
    assert before == found["model"]
    assert before["ece_equal_mass"]["low"] > before["ece_equal_mass"]["if_calibrated"]["high"]
    assert after["ece_equal_mass"]["low"] == 0
    assert after["nll"] < before["nll"]
    assert after["brier"] < before["brier"]
    applied = calibration(THREE, sharpened(THREE, scores, 1 / 3), labels, Temperature(3.0, True, 500))
    assert applied is not None
    assert applied["model"]["nll"] == pytest.approx(after["nll"])
    assert applied["temperature"]["before"]["nll"] == pytest.approx(before["nll"])
    json.dumps(applied, allow_nan=False)


@pytest.mark.parametrize("task", [THREE, TAGS])
def test_probabilities_are_sharpened_as_logits_would_be(task: object) -> None:
    logits = np.random.default_rng(1).normal(0, 3, (50, 3))
    assert sharpened(task, task.scores(logits), 0.4) == pytest.approx(task.scores(0.4 * logits))  # type: ignore[arg-type, attr-defined]
    extreme = task.scores(np.array([[900.0, -900.0, 0.0]]))  # type: ignore[attr-defined]
    assert np.isfinite(sharpened(task, extreme, 0.5)).all()  # type: ignore[arg-type]
    assert torch.tensor(extreme).isfinite().all()


def test_bins_tell_what_is_in_them() -> None:
    scores, labels = drawn(300)
    rows = figures(THREE, scores, labels)["reliability"]
    assert sum(row["count"] for row in rows) == 300
    assert all(row["low"] <= row["right"] <= row["high"] for row in rows)
    assert all(row["from"] <= row["confidence"] <= row["to"] for row in rows)


def test_few_or_equal_confidences_make_fewer_bins_and_values_none() -> None:
    same = np.tile([0.2, 0.5, 0.3], (30, 1))
    found = figures(THREE, same, np.zeros(30, dtype=np.int64))
    assert found["ece_equal_mass"]["bins"] == 1
    assert found["ece_equal_mass"]["value"] == pytest.approx(0.5)
    assert figures(THREE, same[:4], np.ones(4, dtype=np.int64))["ece_equal_width"]["bins"] == 1
    number = make_task(TaskSpec("size", "regression", ()))
    assert calibration(number, np.zeros(5), np.zeros(5)) is None
    assert calibration(THREE, same[:1], np.zeros(1, dtype=np.int64)) is None
