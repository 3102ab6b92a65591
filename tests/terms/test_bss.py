"""Batch spectral shrinkage: numpy's singular values, slices weighted by their sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regraft.core.errors import PlanError
from regraft.terms import find_term
from tests.terms.contexts import step

FEATURES = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))


def value(features: torch.Tensor, rows: slice = slice(None), **options: int) -> torch.Tensor:
    term = find_term("bss")(models=("student",), streams=("target",), outputs=(), options=options)
    return term(step(features={"student": features}, size=len(features), rows=rows)).total


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_the_sum_of_the_smallest_squared_singular_values(k: int) -> None:
    expected = np.sort(np.linalg.svd(FEATURES.double().numpy(), compute_uv=False))[:k]
    assert value(FEATURES, k=k).item() == pytest.approx((expected**2).sum(), rel=1e-5)
    assert value(FEATURES.T.contiguous(), k=k).item() == pytest.approx((expected**2).sum(), rel=1e-5)


def test_its_gradient_shrinks_them() -> None:
    features = FEATURES.clone().requires_grad_()
    value(features).backward()
    assert features.grad is not None
    less = value(FEATURES - 0.1 * features.grad)
    assert less < value(FEATURES)


def test_a_slice_has_its_own_and_its_share() -> None:
    own = np.linalg.svd(FEATURES[:2].numpy(), compute_uv=False).min() ** 2
    assert value(FEATURES, slice(0, 2)).item() == pytest.approx(own / 3, rel=1e-5)


def test_k_is_a_whole_number() -> None:
    with pytest.raises(PlanError, match="a whole number from 1; got 0"):
        value(FEATURES, k=0)
