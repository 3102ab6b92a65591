"""DELTA on maps, token sequences and pieces: sums written out by hand."""

from __future__ import annotations

import pytest
import torch

from regraft.core.errors import PlanError
from regraft.terms import find_term
from regraft.terms.term import Maps
from tests.terms.contexts import step

GENERATOR = torch.Generator().manual_seed(0)


def value(student: torch.Tensor, start: torch.Tensor, *, lengths: list[int] | None = None) -> float:
    """Three pieces, of which the last two belong to one example with weights 1/4 and 3/4."""
    found = {}
    for model, values in (("student", student), ("start", start)):
        owners, weights = torch.tensor([0, 1, 1]), torch.tensor([1.0, 0.25, 0.75])
        found[model] = Maps(values, owners, weights, None if lengths is None else torch.tensor(lengths))
    term = find_term("delta")(
        models=("student", "start"), streams=("target",), outputs=(), options={"blocks": ["b"]}
    )
    context = step(size=2, maps=lambda model, stream, block: found[model])
    result = term(context)
    assert result.per_example.shape == (2,)
    return float(result.total)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


@pytest.mark.parametrize("shape", [(3, 5, 2, 4), (3, 4, 4, 5)])
def test_maps_have_places_and_channels(shape: tuple[int, ...]) -> None:
    one, other = draw(*shape), draw(*shape)
    places = 8 if shape[1] == 5 else 16
    each = [float((a - b).square().sum()) / (2 * places) for a, b in zip(one, other, strict=True)]
    expected = (each[0] + 0.25 * each[1] + 0.75 * each[2]) / 2
    assert value(one, other) == pytest.approx(expected, rel=1e-5)
    assert value(one, one) == 0.0


def test_padding_of_sequences_plays_no_part_and_may_be_cut_off() -> None:
    one, other = draw(3, 6, 4), draw(3, 5, 4)
    lengths = [5, 2, 3]
    each = [
        float((a[:n] - b[:n]).square().sum()) / (2 * n) for a, b, n in zip(one, other, lengths, strict=True)
    ]
    expected = (each[0] + 0.25 * each[1] + 0.75 * each[2]) / 2
    assert value(one, other, lengths=lengths) == pytest.approx(expected, rel=1e-5)


def test_features_have_one_place() -> None:
    assert value(torch.ones(3, 4), torch.zeros(3, 4)) == pytest.approx(2.0)


def test_blocks_have_to_be_named() -> None:
    with pytest.raises(PlanError, match="wants the blocks whose activations are compared"):
        find_term("delta")(models=("student", "start"), streams=("target",), outputs=(), options={})
