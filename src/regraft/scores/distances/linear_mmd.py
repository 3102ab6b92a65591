"""linear-mmd: how far apart the means of two domains are."""

from __future__ import annotations

import numpy as np

from regraft.scores.distances.domains import Domains


def linear_mmd(domains: Domains) -> float:
    r"""Squared maximum mean discrepancy with the linear kernel (Gretton et al. 2012; Tzeng et al. 2014).

    .. math:: \lVert \bar x_s - \bar x_t \rVert^2

    In squared units of the features; time ``(N + M) D``. It sees means only, and noise alone gives
    :math:`\operatorname{tr} \Sigma_s / N + \operatorname{tr} \Sigma_t / M` on average.
    """
    gap = domains.source.values.mean(axis=0) - domains.target.values.mean(axis=0)
    return float(np.square(gap).sum())
