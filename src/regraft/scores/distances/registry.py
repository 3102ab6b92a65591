"""The distances between domains that there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from regraft.core.errors import UsageError
from regraft.core.spelling import did_you_mean
from regraft.scores.distances.coral import coral
from regraft.scores.distances.domains import Domains
from regraft.scores.distances.linear_mmd import linear_mmd
from regraft.scores.distances.otdd import otdd
from regraft.scores.distances.proxy_a import proxy_a
from regraft.scores.distances.rbf_mmd import rbf_mmd
from regraft.scores.distances.sliced_wasserstein import sliced_wasserstein


@dataclass(frozen=True)
class Distance:
    """One number that says how far the target's examples are from the source's; smaller is nearer.

    Attributes
    ----------
    name
        As in ``regraft cite NAME``.
    says
        What it looks at, in a line.
    cite
        The paper.
    cost
        In N and M examples, D features, C classes.
    compute
        The distance.
    needs_labels
        Whether it looks at the labels of both sides.
    """

    name: str
    says: str
    cite: str
    cost: str
    compute: Callable[[Domains], float]
    needs_labels: bool = False


_GRETTON = "Gretton et al.: A kernel two-sample test. JMLR 2012"
_ALL = (
    Distance("linear-mmd", "distance of the means", _GRETTON, "(N + M) D", linear_mmd),
    Distance("rbf-mmd", "any difference that a Gaussian kernel sees", _GRETTON, "(N + M)^2 D", rbf_mmd),
    Distance(
        "coral",
        "difference of the covariances",
        "Sun, Saenko: Deep CORAL: correlation alignment for deep domain adaptation. ECCV workshops 2016",
        "(N + M) D^2",
        coral,
    ),
    Distance(
        "proxy-a",
        "how well a linear classifier tells the domains apart",
        "Ben-David et al.: Analysis of representations for domain adaptation. NeurIPS 2006",
        "a decomposition of at most 4,000 examples",
        proxy_a,
    ),
    Distance(
        "sliced-wasserstein",
        "transport along random directions",
        "Rabin et al.: Wasserstein barycenter and its application to texture mixing. SSVM 2011",
        "256 (N + M) (D + log(N + M))",
        sliced_wasserstein,
    ),
    Distance(
        "otdd",
        "transport of examples and classes together",
        "Alvarez-Melis, Fusi: Geometric dataset distances via optimal transport. NeurIPS 2020",
        "N M (D + N) + C^2 D^3, at most 1,000 examples a side",
        otdd,
        needs_labels=True,
    ),
)

DISTANCES: dict[str, Distance] = {one.name: one for one in _ALL}
"""Every distance by its name."""


def find_distance(name: str) -> Distance:
    """The distance of that name, or a :class:`UsageError` that lists what there is."""
    if name not in DISTANCES:
        raise UsageError(
            f"no distance is called {name!r}; there are: {', '.join(DISTANCES)}"
            f"{did_you_mean(name, DISTANCES)}"
        )
    return DISTANCES[name]
