"""cka: how alike examples are to the source and in the labels, for any kernel, by full kernel matrices."""

from __future__ import annotations

from typing import Literal

import numpy as np

from regraft.core.errors import UsageError
from regraft.scores.examples import Examples

Kernel = Literal["rbf", "linear"]


def cka(
    examples: Examples, *, kernel: Kernel = "rbf", bandwidth: float = 1.0, debiased: bool = False
) -> float:
    r"""Centred kernel alignment of the features' kernel with the labels' (Kornblith et al. 2019).

    .. math:: \frac{\operatorname{HSIC}(K, L)}{\sqrt{\operatorname{HSIC}(K, K) \operatorname{HSIC}(L, L)}}

    with L = 1 for two examples of one class and 0 otherwise. At most 1, higher is better; time ``N^2 D``,
    memory ``N^2``: for some thousand examples. The linear kernel without debiasing is ``centroid-cka``, which
    is linear in N. Constant features give 0. Of several labels the mean.

    Parameters
    ----------
    kernel
        ``rbf``, :math:`\exp(-d^2 / 2 \sigma^2)`, or ``linear``, inner products of centred features.
    bandwidth
        sigma of the rbf kernel in medians of the distances between different examples.
    debiased
        With the unbiased estimate of HSIC (Song et al. 2012): it is 0 on average for unrelated features, even
        for wide ones, and may be negative. Needs at least 4 examples.
    """
    if kernel not in ("rbf", "linear") or not bandwidth > 0:
        raise UsageError(
            f"cka knows the kernels 'rbf' and 'linear' and bandwidths above 0; found {kernel!r}, {bandwidth}"
        )
    if debiased and examples.count < 4:
        raise UsageError(f"the debiased cka needs at least 4 examples, found {examples.count}")
    products = examples.features.components @ examples.features.components.T
    if not products.any():
        return 0.0
    likeness = products if kernel == "linear" else gaussian(products, bandwidth)
    centre = centred_without_bias if debiased else centred
    first = centre(likeness)
    return examples.mean_over_labels(lambda one: _alignment(first, centre(one.targets @ one.targets.T)))


def gaussian(products: np.ndarray, bandwidth: float) -> np.ndarray:
    """``exp(-d^2 / 2 sigma^2)`` of a matrix of inner products, sigma in median distances."""
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares - 2 * products, 0.0)
    median = np.median(np.sqrt(distances[np.triu_indices(len(distances), 1)])) ** 2
    # Where most examples are the same one, the median says nothing: the mean is above 0.
    scale = median if median > 0 else distances.mean()
    return np.asarray(np.exp(-distances / (2 * bandwidth**2 * scale)))


def centred(kernel: np.ndarray) -> np.ndarray:
    """A kernel matrix of examples with mean 0 in the kernel's space."""
    means = kernel.mean(axis=0)
    return np.asarray(kernel - means - means[:, None] + means.mean())


def centred_without_bias(kernel: np.ndarray) -> np.ndarray:
    """The same with inner products that are unbiased (Szekely and Rizzo 2014); the diagonal is left out."""
    count = len(kernel)
    hollow = kernel - np.diag(np.diag(kernel))
    means = hollow.sum(axis=0) / (count - 2)
    hollow = hollow - means - means[:, None] + means.sum() / (count - 1)
    return np.asarray(hollow - np.diag(np.diag(hollow)))


def _alignment(first: np.ndarray, second: np.ndarray) -> float:
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum()) / scale if scale > 0 else 0.0
