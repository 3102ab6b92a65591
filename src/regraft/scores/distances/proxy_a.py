"""proxy-a: how well a linear classifier tells two domains apart."""

from __future__ import annotations

import numpy as np

from regraft.scores.distances.domains import Domains
from regraft.scores.examples import Examples
from regraft.scores.ridge import ridge


def proxy_a(domains: Domains, *, limit: int = 2000, seed: int = 0) -> float:
    r"""Proxy A-distance (Ben-David, Blitzer, Crammer, Pereira 2007).

    .. math:: 2 (1 - 2 \epsilon)

    with the error :math:`\epsilon` of a linear classifier that tells source from target examples: here least
    squares, its exact leave-one-out error at the best of 17 penalties, so that no examples are set aside. As
    many examples of both sides are taken, so that guessing errs in half of them. Between 0 (cannot be told
    apart; an error above one half counts as one half) and 2; time of a decomposition. Where D is near N + M
    every two samples can be told apart in hindsight, and still not out of sample.

    Parameters
    ----------
    limit
        Examples of each side at most; more are drawn by the seed.
    """
    count = min(domains.source.count, domains.target.count, limit)
    drawn = domains.at_most(count, seed=seed, purpose="scores: proxy-a")
    sides = np.repeat([0, 1], count)
    error = 1 - ridge(Examples.of(drawn.both, sides, kind="binary"), log_loss=False).accuracy
    return max(0.0, 2 * (1 - 2 * error))
