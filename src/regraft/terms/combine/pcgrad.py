"""PCGrad: gradients that point against each other lose the part in which they do."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from regraft.terms.combine.base import Combined, CombineRule, Moment, State


class PCGrad(CombineRule):
    """Projecting conflicting gradients (Yu et al. 2020, "Gradient surgery for multi-task learning", alg. 1).

    Each term's gradient of the shared parameters is projected, one after the other and in random order, onto
    the normal plane of every other term's with which its inner product is negative; the results are summed.
    What one term alone reaches keeps its plain gradient.
    """

    def __call__(self, moment: Moment, state: State) -> Combined:
        """See :class:`CombineRule`."""
        terms = len(moment.losses)
        orders = [moment.generator.permutation(terms).tolist() for _ in range(terms)]
        return Combined(project_conflicts(moment.gradients, orders), self.factors(terms, state), state)


def project_conflicts(gradients: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """``Float[Tensor, "terms parameters"]`` to ``Float[Tensor, "parameters"]``.

    ``orders[i]`` is the order in which the others are looked at for term i:
    ``g_i <- g_i - (g_i . g_j) / |g_j|^2 g_j`` where ``g_i . g_j < 0``.
    """
    projected = gradients.clone()
    for own, order in zip(projected, orders, strict=True):
        for other in order:
            inner = own @ gradients[other]
            # A gradient never points against itself, nor against one that is zero.
            if inner < 0:
                own -= inner / gradients[other].square().sum() * gradients[other]
    return projected.sum(0)
