r"""Two constants of a ranking, fitted without the target that they are judged on.

``apart`` is what fine-tuning adds to one source and not to another after a probe, ``raced`` is the same
after a race. On the scale of log-odds let :math:`d_k` be the accuracy of source k after fine-tuning minus the
figure of the probe, or of the race. Their contrasts over the K sources of a target are taken as normal with
the covariance

.. math:: a^2 I + \Sigma_p + \Sigma_t

with a the constant, :math:`\Sigma_p` the error of the figure (paired bootstrap) and :math:`\Sigma_t` the
binomial error of the test part, correlated between sources as that one is; a is the likeliest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from common import print_markdown
from compared import Compared, Record

from regraft.choosing.ranking.forecast import STEPS, Steps
from regraft.choosing.ranking.scale import Scale

SHARE = Scale(True)
KEYS = {"apart": ("values", "covariance"), "raced": ("raced", "raced covariance")}
"""By constant what a record holds: figures before fine-tuning and the covariance of their errors."""


def differences(one: Compared, constant: str) -> tuple[np.ndarray, np.ndarray]:
    """The gains of fine-tuning, ``float64 (K,)``, and the covariance of their errors."""
    accuracies, (figures, covariance) = one.by_seed[0], KEYS[constant]
    gains = SHARE.forward(accuracies, one.tests) - np.array(one.look[figures])
    errors = np.array(one.look[covariance])
    deviations = np.sqrt(np.diag(errors))
    together, own = errors / np.outer(deviations, deviations), np.eye(len(gains), dtype=bool)
    inside = np.clip(accuracies, 0.5 / one.tests, 1 - 0.5 / one.tests)
    binomial = np.sqrt(1 / (one.tests * inside * (1 - inside)))
    return gains, errors + np.outer(binomial, binomial) * np.where(own, 1.0, together[~own].mean())


def variance(one: Compared, constant: str) -> float:
    """An unbiased estimate of a^2 from one target; it may be below 0."""
    gains, errors = differences(one, constant)
    centring = np.eye(len(gains)) - 1 / len(gains)
    squares = float(((centring @ gains) ** 2).sum())
    return (squares - float(np.trace(centring @ errors @ centring))) / (len(gains) - 1)


def fitted(every: Sequence[Compared], constant: str) -> float:
    """The constant under which several targets, each of one weight, are likeliest, to a hundredth.

    One target far from the others counts less so than in the mean of :func:`variance`.
    """
    grid = np.arange(0, 101) / 100
    sums = [sum(likelihood(one, constant, float(value)) for one in every) for value in grid]
    return float(grid[int(np.argmax(sums))])


def left_out(every: Sequence[Compared], constant: str) -> dict[str, Steps]:
    """By target the constants of a ranking, this one fitted on all other targets."""
    return {
        one.name: replace(
            STEPS, **{constant: fitted([other for other in every if other is not one], constant)}
        )
        for one in every
    }


def likelihood(one: Compared, constant: str, value: float) -> float:
    """Log-density of the differences between a target's gains, in nats for each of K - 1 contrasts."""
    gains, errors = differences(one, constant)
    count = len(gains)
    contrasts = np.linalg.qr(np.eye(count)[:, :-1] - 1 / count)[0]  # orthonormal, each sums to 0
    seen, spread = contrasts.T @ gains, contrasts.T @ (errors + value**2 * np.eye(count)) @ contrasts
    _, size = np.linalg.slogdet(2 * np.pi * spread)
    return float(-(size + seen @ np.linalg.solve(spread, seen)) / 2 / (count - 1))


def show_fits(every: Sequence[Compared]) -> dict[str, Record]:
    """By constant and target: fitted on the others, and how likely that makes what is left out."""
    found: dict[str, Record] = {}
    for constant, (figures, _) in KEYS.items():
        if not all(figures in one.look for one in every):
            continue
        now = float(every[0].look["steps"].get(constant, 0.0))
        rows = {
            one.name: _row(one, constant, float(getattr(steps, constant)), now)
            for one, steps in zip(every, left_out(every, constant).values(), strict=True)
        }
        print(f"{constant}, fitted on all targets {fitted(every, constant):.2f}:\n")
        columns = ["target", "of its own", "mean gain", "of the others"]
        lines = [[name, *(f"{value:.2f}" for value in row.values())] for name, row in rows.items()]
        means = [float(np.mean([row[key] for row in rows.values()])) for key in ("with it", "as it is")]
        print_markdown([*columns, "nats with it", f"nats with {now:g}"], lines)
        print(f"mean: {means[0]:.3f} nats, as it is {means[1]:.3f}\n")
        found[constant] = {"fitted on all": fitted(every, constant), **rows}
    return found


def _row(one: Compared, constant: str, value: float, now: float) -> dict[str, float]:
    own = variance(one, constant)
    return {
        "own": float(np.sign(own) * np.sqrt(abs(own))),
        "gain": float(differences(one, constant)[0].mean()),
        "fitted on the others": value,
        "with it": likelihood(one, constant, value),
        "as it is": likelihood(one, constant, now),
    }
