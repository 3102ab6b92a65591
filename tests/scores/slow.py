"""Every score again, by its formula and as slowly as that reads: loops and explicit matrices."""

from __future__ import annotations

import itertools
import math

import numpy as np


def leep(theta: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for row, label in zip(theta, labels, strict=True):
        likelihood = 0.0
        for z in range(theta.shape[1]):
            mass = sum(theta[:, z])
            if mass > 0:
                likelihood += sum(theta[labels == label, z]) / mass * row[z]
        total += math.log(likelihood)
    return total / len(labels)


def nce(theta: np.ndarray, labels: np.ndarray) -> float:
    said, total = [int(np.argmax(row)) for row in theta], 0.0
    for z, y in set(zip(said, labels.tolist(), strict=True)):
        both = sum(1 for pair in zip(said, labels, strict=True) if pair == (z, y))
        total += both * math.log(both / said.count(z))
    return total / len(labels)


def covariances(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the features, and of the class means put in their place; divided by N."""
    means = np.array([features[labels == label].mean(0) for label in labels])
    return np.cov(features.T, bias=True), np.cov(means.T, bias=True)


def h(features: np.ndarray, labels: np.ndarray) -> float:
    whole, between = covariances(features, labels)
    return float(np.trace(np.linalg.pinv(np.atleast_2d(whole), rcond=1e-12) @ np.atleast_2d(between)))


def regularised_h(features: np.ndarray, labels: np.ndarray) -> float:
    from sklearn.covariance import ledoit_wolf

    _, between = covariances(features, labels)
    shrunk, alpha = ledoit_wolf(features)
    return float(np.trace(np.linalg.inv(shrunk) @ ((1 - alpha) * np.atleast_2d(between))))


def evidence(features: np.ndarray, target: np.ndarray) -> float:
    """One target's log evidence per example by solving D x D systems; precisions as the authors iterate."""
    count, width = features.shape
    alpha = beta = 1.0
    for _ in range(11):
        t = alpha / beta
        system = features.T @ features + t * np.eye(width)
        weights = np.linalg.solve(system, features.T @ target)
        gamma = width - t * np.trace(np.linalg.inv(system))
        length, residual = weights @ weights, np.square(target - features @ weights).sum()
        alpha, beta = gamma / (length + 1e-5), (count - gamma) / (residual + 1e-5)
        if abs(alpha / beta - t) / t <= 1e-3:
            break
    covariance = np.eye(count) / beta + features @ features.T / alpha
    # ln N(y | 0, covariance) = ln p(y | m) p(m) / p(m | y): the quadratic form is that of the last weights.
    determinant = np.linalg.slogdet(covariance)[1]
    quadratic = beta * residual + alpha * length
    return float(-(determinant + quadratic + count * math.log(2 * math.pi)) / 2 / count)


def logme(features: np.ndarray, columns: np.ndarray) -> float:
    return float(np.mean([evidence(features, column) for column in columns.T]))


def coding_rate(features: np.ndarray) -> float:
    count, width = features.shape
    return float(np.linalg.slogdet(np.eye(width) + features.T @ features / (count * 1e-4))[1] / 2)


def transrate(features: np.ndarray, labels: np.ndarray) -> float:
    centred = features - features.mean(0)
    rates = [coding_rate(centred[labels == label]) for label in np.unique(labels)]
    return coding_rate(centred) - float(np.mean(rates))


def gbc(features: np.ndarray, labels: np.ndarray, *, spherical: bool) -> float:
    classes = [features[labels == label] for label in np.unique(labels)]
    total = 0.0
    for one, other in itertools.permutations(classes, 2):
        sides = []
        for rows in (one, other):
            variances = rows.var(0)
            if spherical:
                variances = np.full_like(variances, variances.mean())
            sides.append(np.diag(np.maximum(variances, 1e-4)))
        both, gap = (sides[0] + sides[1]) / 2, one.mean(0) - other.mean(0)
        distance = gap @ np.linalg.inv(both) @ gap / 8 + np.linalg.slogdet(both)[1] / 2
        distance -= (np.linalg.slogdet(sides[0])[1] + np.linalg.slogdet(sides[1])[1]) / 4
        total += math.exp(-distance)
    return -total


def discriminant(features: np.ndarray, labels: np.ndarray, alpha: float | None) -> tuple[np.ndarray, float]:
    """Posteriors of linear discriminants with a shrunk covariance, by normal densities."""
    classes = np.unique(labels)
    priors = [float((labels == label).mean()) for label in classes]
    within = sum(
        prior * np.atleast_2d(np.cov(features[labels == label].T, bias=True))
        for prior, label in zip(priors, classes, strict=True)
    )
    if alpha is None:
        alpha = max(math.exp(-5 * np.linalg.eigvalsh(within).max()), 1e-10)
    width = features.shape[1]
    inverse = np.linalg.inv((1 - alpha) * within + alpha * np.trace(within) / width * np.eye(width))
    logs = np.empty((len(features), len(classes)))
    for number, label in enumerate(classes):
        gap = features - features[labels == label].mean(0)
        logs[:, number] = math.log(priors[number]) - np.einsum("id,de,ie->i", gap, inverse, gap) / 2
    powers = np.exp(logs - logs.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True), alpha


def sfda(features: np.ndarray, labels: np.ndarray) -> float:
    classes, codes = np.unique(labels, return_inverse=True)
    first, alpha = discriminant(features, labels, None)
    means = np.array([features[labels == label].mean(0) for label in classes])
    moved = np.empty_like(features)
    for i, code in enumerate(codes):
        sure = math.exp(first[i, code]) / sum(math.exp(one) for one in first[i])
        others = np.delete(means, code, axis=0).mean(0)
        moved[i] = sure * features[i] + (1 - sure) * others
    second, _ = discriminant(moved, labels, alpha)
    return float(np.mean([second[i, code] for i, code in enumerate(codes)]))


def parc(features: np.ndarray, columns: np.ndarray) -> float:
    from scipy.stats import spearmanr

    scaled = (features - features.mean(0)) / features.std(0)
    pairs = list(itertools.combinations(range(len(features)), 2))
    one = [1 - np.corrcoef(scaled[i], scaled[j])[0, 1] for i, j in pairs]
    other = [round(1 - np.corrcoef(columns[i], columns[j])[0, 1], 9) for i, j in pairs]
    return float(spearmanr(one, other).statistic)


def cka(features: np.ndarray, columns: np.ndarray, *, kernel: str, debiased: bool = False) -> float:
    count = len(features)
    distances = np.array([[np.linalg.norm(a - b) for b in features] for a in features])
    if kernel == "rbf":
        median = np.median([distances[i, j] for i, j in itertools.combinations(range(count), 2)])
        first = np.exp(-(distances**2) / (2 * median**2))
    else:
        first = features @ features.T
    second = columns @ columns.T
    hsic = unbiased_hsic if debiased else biased_hsic
    return hsic(first, second) / math.sqrt(hsic(first, first) * hsic(second, second))


def biased_hsic(first: np.ndarray, second: np.ndarray) -> float:
    count = len(first)
    centring = np.eye(count) - 1 / count
    return float(np.trace(first @ centring @ second @ centring))


def unbiased_hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Song et al. 2012, equation 5."""
    n = len(first)
    first, second = (one - np.diag(np.diag(one)) for one in (first, second))
    total = np.trace(first @ second) + first.sum() * second.sum() / ((n - 1) * (n - 2))
    total -= 2 * (first @ second).sum() / (n - 2)
    return float(total / (n * (n - 3)))


def knn(features: np.ndarray, targets: np.ndarray, k: int, *, cosine: bool, kind: str) -> float:
    wrong = []
    for i, row in enumerate(features):
        if cosine:
            far = [1 - row @ one / np.linalg.norm(row) / np.linalg.norm(one) for one in features]
        else:
            far = [float(np.linalg.norm(row - one)) for one in features]
        far[i] = math.inf
        near = sorted(range(len(features)), key=far.__getitem__)[:k]
        if kind == "multiclass":
            votes = [targets[j] for j in near]
            wrong.append(float(max(votes, key=votes.count) != targets[i]))  # the first of equals
        elif kind == "multilabel":
            wrong.append(np.mean((targets[near].mean(0) >= 0.5) != (targets[i] >= 0.5)))
        else:
            wrong.append(np.mean((targets[near].mean(0) - targets[i]) ** 2))
    return 1 - float(np.mean(wrong)) / (targets.var(0).mean() if kind == "regression" else 1.0)


def ridge(features: np.ndarray, columns: np.ndarray, penalty: float) -> np.ndarray:
    """Leave-one-out outputs by fitting N times; the penalty in mean eigenvalues of the whole Gram matrix."""
    centred = features - features.mean(0)
    values = np.linalg.eigvalsh(centred @ centred.T)
    strength = penalty * values[values > values[-1] * 1e-9].mean()
    outputs = np.empty_like(columns)
    for i in range(len(features)):
        keep = np.arange(len(features)) != i
        mean, centre = features[keep].mean(0), columns[keep].mean(0)
        rest = features[keep] - mean
        gram = rest.T @ rest + strength * np.eye(features.shape[1])
        weights = np.linalg.solve(gram, rest.T @ (columns[keep] - centre))
        outputs[i] = (features[i] - mean) @ weights + centre
    return outputs
