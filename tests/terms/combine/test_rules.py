"""Combine rules: their formulas on small gradients, and what they become in special cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regraft.core.errors import PlanError
from regraft.terms.combine import GradNorm, Moment, PCGrad, Sum, balanced_weights, project_conflicts


def moment(gradients: torch.Tensor, losses: list[float]) -> Moment:
    return Moment(gradients, torch.tensor(losses), np.random.default_rng(0))


def test_gradients_that_agree_are_summed() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.0, 1.0]])
    assert torch.equal(project_conflicts(rows, [[0, 1, 2]] * 3), rows.sum(0))
    combined = PCGrad({})(moment(rows, [1.0, 1.0, 1.0]), {})
    assert torch.equal(combined.gradient, Sum({})(moment(rows, [1.0, 1.0, 1.0]), {}).gradient)
    assert combined.factors.tolist() == [1.0, 1.0, 1.0]


def test_conflicts_are_projected_in_the_order_that_is_given() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    # (1, 0) loses its part along (-1, 1); (-1, 1) loses its part along (1, 0).
    assert torch.allclose(project_conflicts(rows, [[1, 0], [0, 1]]), torch.tensor([0.5, 1.5]))
    three = torch.tensor([[1.0, 0.0], [-1.0, 0.2], [-0.2, -1.0]])
    one = project_conflicts(three, [[1, 2], [0, 2], [0, 1]])
    other = project_conflicts(three, [[2, 1], [2, 0], [1, 0]])
    assert not torch.allclose(one, other)
    assert torch.isfinite(project_conflicts(torch.zeros(2, 3), [[1], [0]])).all()


def test_pcgrad_against_the_papers_algorithm() -> None:
    rows = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    orders = [np.random.default_rng(i).permutation(4).tolist() for i in range(4)]
    total = np.zeros(7)
    for i, order in enumerate(orders):
        own = rows[i].double().numpy().copy()
        for j in order:
            other = rows[j].double().numpy()
            if j != i and own @ other < 0:
                own -= (own @ other) / (other @ other) * other
        total += own
    assert project_conflicts(rows, orders).numpy() == pytest.approx(total, abs=1e-5)


def test_gradnorm_lowers_the_weight_of_what_pulls_too_hard() -> None:
    rule = GradNorm({"alpha": 0.0, "rate": 0.1})
    rows = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    state = rule.begin(2)
    first = rule(moment(rows, [1.0, 1.0]), state)
    assert torch.equal(first.gradient, rows.sum(0))  # weights of 1 at first
    # Slopes 3/2 and -1/2 times the rate: 0.85 and 1.05, scaled to sum to 2.
    assert first.state["weights"].tolist() == pytest.approx([0.85 / 0.95, 1.05 / 0.95])
    second = rule(moment(rows, [1.0, 1.0]), first.state)
    assert torch.allclose(second.gradient, first.state["weights"] * torch.tensor([3.0, 1.0]))
    assert torch.equal(second.factors, first.state["weights"])


def test_gradnorm_favours_terms_that_lag_behind() -> None:
    even, first = torch.ones(2), torch.tensor([2.0, 2.0])
    later = balanced_weights(even, even, torch.tensor([1.0, 2.0]), first, alpha=1.5, rate=0.1)
    assert later[1] > 1 > later[0]
    assert later.sum().item() == pytest.approx(2.0)
    assert balanced_weights(even, even, torch.tensor([1.0, 2.0]), first, alpha=0.0, rate=0.1).equal(even)
    without = balanced_weights(even, torch.tensor([1.0, 0.0]), first, first, alpha=1.5, rate=0.1)
    assert without.equal(even)


def test_options_are_checked() -> None:
    with pytest.raises(PlanError, match="'pcgrad' has no option alpha; it has: none"):
        PCGrad({"alpha": 1})
    with pytest.raises(PlanError, match="alpha of the combine rule 'gradnorm' is a number from 0"):
        GradNorm({"alpha": "high"})
