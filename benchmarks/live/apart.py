r"""What fine-tuning adds to one source and not to another, fitted without the target that it is judged on.

On the scale of log-odds let :math:`d_k` be the accuracy of source k after fine-tuning minus the figure of a
probe on the ranking's first look. Around their mean over the K sources of a target their squares sum to

.. math:: E \sum_k (d_k - \bar d)^2 = (K - 1)\, a^2 + \mathrm{tr}\, C (\Sigma_p + \Sigma_t) C

with a the constant ``apart``, C the centring matrix, :math:`\Sigma_p` the probe's error (paired bootstrap)
and :math:`\Sigma_t` the binomial error of the test part, correlated between sources as the probe's is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from common import print_markdown
from compared import Compared, Record

from regraft.choosing.ranking.forecast import STEPS
from regraft.choosing.ranking.scale import Scale

SHARE = Scale(True)


def differences(one: Compared) -> tuple[np.ndarray, np.ndarray]:
    """The gains of fine-tuning, ``float64 (K,)``, and the covariance of their errors."""
    accuracies = one.by_seed[0]
    gains = SHARE.forward(accuracies, one.tests) - np.array(one.look["values"])
    probe = np.array(one.look["covariance"])
    deviations = np.sqrt(np.diag(probe))
    together = probe / np.outer(deviations, deviations)
    off = together[~np.eye(len(together), dtype=bool)].mean()
    inside = np.clip(accuracies, 0.5 / one.tests, 1 - 0.5 / one.tests)
    binomial = np.sqrt(1 / (one.tests * inside * (1 - inside)))
    correlated = np.where(np.eye(len(gains), dtype=bool), 1.0, off)
    return gains, probe + np.outer(binomial, binomial) * correlated


def variance(one: Compared) -> float:
    """An unbiased estimate of a^2 from one target; it may be below 0."""
    gains, errors = differences(one)
    centring = np.eye(len(gains)) - 1 / len(gains)
    squares = float(((centring @ gains) ** 2).sum())
    return (squares - float(np.trace(centring @ errors @ centring))) / (len(gains) - 1)


def fitted(every: Sequence[Compared]) -> float:
    """The constant from several targets, each of one weight."""
    return float(np.sqrt(max(np.mean([variance(one) for one in every]), 0.0)))


def likelihood(one: Compared, apart: float) -> float:
    """Log-density of the differences between a target's gains, in nats for each of K - 1 contrasts."""
    gains, errors = differences(one)
    count = len(gains)
    contrasts = np.linalg.qr(np.eye(count)[:, :-1] - 1 / count)[0]  # orthonormal, each sums to 0
    seen, spread = contrasts.T @ gains, contrasts.T @ (errors + apart**2 * np.eye(count)) @ contrasts
    _, size = np.linalg.slogdet(2 * np.pi * spread)
    return float(-(size + seen @ np.linalg.solve(spread, seen)) / 2 / (count - 1))


def left_out(every: Sequence[Compared]) -> dict[str, float]:
    """By target the constant fitted on all others."""
    return {one.name: fitted([other for other in every if other is not one]) for one in every}


def leave_one_out(every: Sequence[Compared]) -> dict[str, Record]:
    """By target: the constant fitted on the others, and how likely both constants make what is left out."""
    found, constants = dict[str, Record](), left_out(every)
    for one in every:
        apart = constants[one.name]
        gains, _ = differences(one)
        found[one.name] = {
            "own": float(np.sign(variance(one)) * np.sqrt(abs(variance(one)))),
            "gain": float(gains.mean()),
            "fitted on the others": apart,
            "likelihood": likelihood(one, apart),
            "likelihood as it is": likelihood(one, STEPS.apart),
        }
    found["all"] = {"fitted on all": fitted(every)}
    lines = [[name, *(f"{row[key]:.2f}" for key in row)] for name, row in found.items() if name != "all"]
    columns = ["target", "apart of its own", "mean gain", "apart of the others"]
    print_markdown([*columns, "nats with it", f"nats with {STEPS.apart:g}"], lines)
    print(f"fitted on all: {found['all']['fitted on all']:.2f}\n")
    return found
