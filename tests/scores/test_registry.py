"""The list of scores: what each needs, and what is said where that is not there."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.core.errors import UsageError
from regraft.scores import SCORES, Examples, find_score
from tests.scores.problems import probabilities, problem


def test_every_score_says_what_it_is() -> None:
    assert len(SCORES) == 16
    for name, score in SCORES.items():
        assert name == score.name
        assert score.says
        assert score.cost
        assert any(year in score.cite for year in map(str, range(1960, 2027)))
        assert (score.compute is None) != (score.over_pool is None)
        assert score.higher_is_better


@pytest.mark.parametrize("name", SCORES)
def test_a_better_source_scores_higher(name: str) -> None:
    """Features in which the classes stand far apart beside features that know nothing of them."""
    labels = np.arange(60) % 3
    random = np.random.default_rng(0)
    noise = random.normal(size=(60, 5))
    knowing = np.eye(3)[labels] * 0.9 + 0.1 / 3
    pool = [
        Examples.of(noise, labels, source_probabilities=probabilities(60, 3)),
        Examples.of(noise + 3 * np.eye(5)[labels], labels, source_probabilities=knowing),
    ]
    worse, better = find_score(name).among(pool)
    assert better > worse


def test_a_name_that_is_none() -> None:
    with pytest.raises(UsageError, match=r"no score is called 'logm'; there are: .*mean 'logme'\?"):
        find_score("logm")


def test_what_a_score_needs_is_said() -> None:
    features, labels = problem(20, 3, 2)
    examples = Examples.of(features, labels)
    with pytest.raises(UsageError, match=r"leep cannot be computed: it needs the source head's prob"):
        SCORES["leep"].of(examples)
    with pytest.raises(UsageError, match=r"ncti only orders a pool of sources: SCORES\['ncti'\]"):
        SCORES["ncti"].of(examples)
    values = Examples.of(features, features[:, 0], kind="regression")
    with pytest.raises(UsageError, match="h cannot be computed: it is there for binary, multiclass"):
        SCORES["h"].of(values)
    there = [name for name, score in SCORES.items() if score.why_not(values) is None]
    assert there == ["logme", "knn", "ridge"]
