import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from regraft.terms.solvers.temperature import fit_sharpness


def outputs_of(seed: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, 200)
    return scale * (np.eye(3)[labels] + random.normal(0, 0.8, (200, 3))), labels


@pytest.mark.parametrize("scale", [0.01, 1.0, 60.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_minimum_that_a_plain_search_finds(seed: int, scale: float) -> None:
    outputs, labels = outputs_of(seed, scale)

    def probabilities(exponent: float) -> np.ndarray:
        z = np.exp(exponent) * outputs
        powers = np.exp(z - z.max(1, keepdims=True))
        return powers / powers.sum(1, keepdims=True)

    def loss(exponent: float) -> float:
        """The log-loss against labels of which one in N + 2 is in doubt."""
        logs = np.log(np.maximum(probabilities(exponent), 1e-300))
        doubt = 1 / (len(labels) + 2)
        return -((1 - doubt) * logs[np.arange(len(labels)), labels] + doubt * logs.mean(1)).mean()

    found, least = fit_sharpness(outputs.T, np.eye(3)[labels].T, exclusive=True)
    plain = minimize_scalar(loss, bounds=(-6.9, 6.9), method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(np.exp(plain.x), rel=1e-4)
    assert least == pytest.approx(log_loss(labels, probabilities(plain.x)), abs=1e-6)


def test_labels_on_their_own_have_a_sigmoid_each() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (2, 4000))
    truth = (random.random((2, 4000)) < 1 / (1 + np.exp(-logits))).astype(float)
    found, _ = fit_sharpness(logits / 5, truth, exclusive=False)
    assert found == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("exclusive", [True, False])
def test_perfect_and_useless_outputs_end_within_bounds(exclusive: bool) -> None:
    truth = np.eye(3)[np.arange(30) % 3].T
    sharp, _ = fit_sharpness(truth - 0.5, truth, exclusive=exclusive)
    flat, _ = fit_sharpness(0.5 - truth, truth, exclusive=exclusive)
    same, loss = fit_sharpness(np.zeros((3, 30)), truth, exclusive=exclusive)
    # 30 hits of 30 are no certainty: the best class gets about 31/32, not 1.
    best = 1 / (1 + 2 * np.exp(-sharp)) if exclusive else 1 / (1 + np.exp(-sharp / 2))
    assert best == pytest.approx(1 - 1 / 32, abs=0.02)
    assert 1e-3 <= flat < 2e-3
    assert 1e-3 <= same <= 1e3
    assert loss == pytest.approx(np.log(3) if exclusive else np.log(2))
