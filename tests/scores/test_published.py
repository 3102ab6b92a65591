"""Numbers that the authors' own code gave for the same examples, where it follows its paper.

Computed once with: thuml/LogME (LogME, LEEP, NCE), thuml/Transfer-Learning-Library (H, regularised H,
TransRate), TencentARC/SFDA (SFDA), BUserName/NCTI (the terms of NCTI), google-research (GBC, diagonal).
"""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from regraft.scores import SCORES, Examples
from regraft.scores.gbc import gbc
from regraft.scores.ncti import collapse
from tests.scores.problems import probabilities, problem

SIZE = (300, 40, 5)


@pytest.mark.parametrize(
    ("name", "scale", "published"),
    [
        ("logme", 1, -0.3843411476138997),
        ("logme", 4, -0.3843412330013951),
        ("leep", 1, -1.5712498624387843),
        ("nce", 1, -1.5437562853917444),
        ("h", 1, 1.8175000450777077),
        ("regularised-h", 1, 1.4640616539266649 * 299 / 300),  # between by N - 1, within by N
        ("transrate", 1, 8.660236728433858),
        ("sfda", 4, 0.434101327000315),  # the floor of the shrinkage
    ],
)
def test_a_published_value(name: str, scale: float, published: float) -> None:
    features, labels = problem(*SIZE, signal=0.3)
    examples = Examples.of(features * scale, labels, source_probabilities=probabilities(300, 8))
    np.testing.assert_allclose(SCORES[name].of(examples), published, rtol=1e-9)


def test_gbc_of_diagonal_classes() -> None:
    value = gbc(Examples.of(*problem(*SIZE, signal=0.3)), gaussian="diagonal")
    np.testing.assert_allclose(value, -6.33357907487931, rtol=1e-9)


def test_the_terms_of_ncti() -> None:
    features, labels = problem(200, 90, 3, signal=0.3)
    published = (63.770817171165575, 0.9892855038006981, 3.2461020718911007)
    np.testing.assert_allclose(astuple(collapse(Examples.of(features * 2, labels))), published, rtol=1e-9)
