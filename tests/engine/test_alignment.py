"""Weights learned by alignment: the best prediction of the reference's gradient, from noisy ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from regraft.core.randomness import torch_randomness
from regraft.engine.alignment import Alignment, Moments, learned_weight
from regraft.plans import Learned
from tests.engine.conftest import Bench
from tests.engine.test_combining import flat, opened, two_terms
from tests.engine.test_loop_parity import labels, logits, pixels


def alignment(start: float = 1.0, **options: object) -> Alignment:
    found = learned_weight(Learned(learned="alignment", start=start, options=options))
    assert isinstance(found, Alignment)
    return found


def settled(moments: Moments, **options: object) -> float:
    """The weight after many steps that all say the same."""
    weight = alignment(decay=0.5, **options)
    for _ in range(60):
        weight.follow(0.0, moments)
    return weight.value


def test_it_settles_at_the_best_linear_prediction() -> None:
    """Against least squares over draws of noisy gradients."""
    generator = np.random.default_rng(0)
    size, draws, noise, other_noise = 40, 4000, 0.8, 2.0
    target = generator.normal(size=size)
    source = 0.6 * target + generator.normal(size=size)
    g_t = target + other_noise * generator.normal(size=(draws, size))
    g_s = source + noise * generator.normal(size=(draws, size))
    seen = np.stack([g_t.ravel(), g_s.ravel()], axis=1)
    x, y = np.linalg.lstsq(seen, np.tile(target, draws), rcond=None)[0]
    exact = Moments(
        float(source @ target),
        float(source @ source),
        float(target @ target),
        size * noise**2,
        size * other_noise**2,
    )
    assert settled(exact) == pytest.approx(y / x, rel=0.03)


def test_it_is_nothing_where_gradients_point_apart_and_falls_with_the_references_noise() -> None:
    assert settled(Moments(-0.5, 1.0, 1.0, 0.1, 1.0)) < 1e-5
    few, many = (settled(Moments(0.5, 1.0, 1.0, 0.1, noise)) for noise in (2.0, 0.2))
    assert few == pytest.approx(10 * many, rel=1e-6)
    assert settled(Moments(0.5, 1.0, 0.0, 0.1, 1.0), most=3.0) == pytest.approx(3.0)
    assert settled(Moments(0.5, 0.0, 0.0, 0.0, 0.0)) == 1.0  # what says nothing leaves it where it is


def test_products_are_averaged_before_they_are_divided() -> None:
    """Single steps whose cosines are small and of both signs add up to what they share."""
    weight = alignment(decay=0.9)
    steps = [Moments(product, 1.0, 1.0, 4.0, 4.0) for product in (1.4, -0.4)] * 200
    for moments in steps:
        weight.follow(moments.product / 5, moments)
    assert weight.value == pytest.approx(0.5 * 4.0 / (5.0 - 0.25), rel=0.1)


@pytest.mark.parametrize("measure", ["cosine", "sign"])
def test_the_measures_of_single_steps_forget_and_come_back(measure: str) -> None:
    weight = alignment(2.0, decay=0.5, measure=measure)
    assert weight.value == 2.0
    for cosine in (-1.0, -0.2):
        weight.follow(cosine, None)
    assert weight.value == pytest.approx(0.5)
    weight.follow(0.6, None)
    assert weight.value == pytest.approx(2 * (0.125 + (0.3 if measure == "cosine" else 0.5)))
    for _ in range(100):
        weight.follow(-1.0, None)
    assert weight.value == Alignment.LEAST


def test_moments_of_a_step_against_gradients_of_its_halves(bench: Bench) -> None:
    plan = two_terms(bench, "2.0", "{learned: alignment, start: 0.8}")
    run, other = opened(bench, plan), opened(bench, plan)
    batch, model = run.leading.at(0), other.model
    trained = [p for name, p in model.named_parameters() if name in run.freeze.trainable]
    means = []
    for half in np.array_split(batch, 2):
        with torch_randomness(run.work.draw.seed, "step", 0):
            found = logits(model, pixels(other, half))
        logs = found.log_softmax(1)
        losses = [functional.cross_entropy(found, labels(other, half)), -(logs.exp() * logs).sum(1).mean()]
        means.append([flat(list(torch.autograd.grad(loss, trained, retain_graph=True))) for loss in losses])
    run._step()
    (target, source), (again, twin) = means
    share = len(batch) / len(run.leading.examples)
    g_t, g_s = (target + again) / 2, (source + twin) / 2
    wanted = Moments(
        float(g_s @ g_t),
        float(source @ twin),
        float(target @ again),
        float(g_s @ g_s - source @ twin) * share,
        float(g_t @ g_t - target @ again) * share,
    )
    (weight,) = run.combining.aligned.values()
    for name, value in vars(wanted).items():
        assert getattr(weight.moments, name) == pytest.approx(value, rel=1e-3), name
    assert weight.value != pytest.approx(0.8)
