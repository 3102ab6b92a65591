"""Which of those that cannot be told apart is taken."""

from __future__ import annotations

from typing import Any, cast

import pytest

from regraft.choosing.ranking.deciding import _preferred
from regraft.choosing.ranking.entrant import Entrant
from regraft.choosing.ranking.scale import Scale
from regraft.engine.price import Price

NONE = cast(Any, None)  # neither a network nor its facts play a part here


def entrant(scale: Scale, figure: float, seconds: float) -> Entrant:
    price = Price(features=0.0, stages={"tune": seconds}, examples=1, weights=0, memory={}, free=0)
    return Entrant(NONE, NONE, NONE, value=float(scale.forward(figure, 10_000)), price=price)


@pytest.mark.parametrize(
    ("share", "figures", "seconds", "taken"),
    [
        (True, (0.757, 0.719), (34.0, 6.0), 0),  # cheaper, and four points behind
        (True, (0.757, 0.750), (34.0, 6.0), 1),
        (True, (0.757, 0.750), (34.0, 30.0), 0),  # hardly cheaper: prices are measured on a few examples
        (True, (0.757, 0.750, 0.700), (34.0, 6.0, 1.0), 1),
        (False, (2.00, 2.10), (34.0, 6.0), 0),  # of errors a hundredth counts
        (False, (2.00, 2.01), (34.0, 6.0), 1),
    ],
)
def test_a_cheaper_source_is_preferred_where_it_is_hardly_worse(
    share: bool, figures: tuple[float, ...], seconds: tuple[float, ...], taken: int
) -> None:
    scale = Scale(share)
    every = [entrant(scale, *pair) for pair in zip(figures, seconds, strict=True)]
    assert _preferred(every, every[0], scale) is every[taken]


def test_a_leader_without_a_price_is_taken() -> None:
    scale = Scale(True)
    leader, other = entrant(scale, 0.9, 5.0), entrant(scale, 0.9, 1.0)
    leader.price = None
    assert _preferred([leader, other], leader, scale) is leader
    assert _preferred([], None, scale) is None
