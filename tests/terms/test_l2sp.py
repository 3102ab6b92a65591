"""The l2sp term: the paper's formula, over slices too."""

from __future__ import annotations

import pytest
import torch

from regraft.core.errors import PlanError
from regraft.terms import find_term
from tests.terms.contexts import step

WEIGHTS = {
    "trunk.a": torch.tensor([1.0, 3.0], requires_grad=True),
    "trunk.new": torch.tensor([2.0], requires_grad=True),
    "head": torch.tensor([[4.0, 0.0]], requires_grad=True),
}
START = {"trunk.a": torch.tensor([1.0, 1.0]), "head": torch.tensor([[7.0, 7.0]])}


def value(rows: slice = slice(None), **options: float) -> torch.Tensor:
    term = find_term("l2sp")(models=("student",), streams=("target",), outputs=(), options=options)
    context = step(
        size=4,
        rows=rows,
        weights=lambda model: WEIGHTS,
        start=lambda model: START,
        carried=lambda model: frozenset({"trunk.a"}),
    )
    found = term(context)
    assert found.per_example.sum().item() == pytest.approx(found.total.item())
    return found.total


def test_it_is_the_papers_formula() -> None:
    # Carried: |[0, 2]|^2 = 4; specific: 2^2 + 4^2 = 20, the head's start plays no part.
    assert value(alpha=0.5, beta=0.1).item() == pytest.approx(0.25 * 4 + 0.05 * 20)
    assert value().item() == pytest.approx(0.05 * 4 + 0.005 * 20)
    assert value(alpha=0.0, beta=0.0).item() == 0.0
    value(alpha=0.5, beta=0.1).backward()
    grads = [weight.grad for weight in WEIGHTS.values()]
    expected = ([0.0, 1.0], [0.2], [[0.4, 0.0]])
    for grad, right in zip(grads, expected, strict=True):
        assert grad is not None
        assert grad.flatten().tolist() == pytest.approx(torch.tensor(right).flatten().tolist())


def test_slices_of_a_batch_add_up() -> None:
    parts = [value(rows).item() for rows in (slice(0, 3), slice(3, 4), slice(4, 4))]
    assert parts[2] == 0.0
    assert sum(parts) == pytest.approx(value().item())


def test_numbers_below_0_are_refused() -> None:
    with pytest.raises(PlanError, match=r"alpha is a number from 0, as 0.1; got -1"):
        value(alpha=-1)
