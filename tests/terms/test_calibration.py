"""A temperature makes held-out probabilities true and moves no answer."""

from __future__ import annotations

import numpy as np
import pytest

from regraft.core.errors import UsageError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task
from regraft.terms.solvers import solve_temperature

LEAF = make_task(TaskSpec("leaf", "multiclass", ("ash", "elm", "oak")))


def drawn(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``scale`` times too large, and labels drawn from their softmax."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (3000, 3))
    chances = LEAF.scores(logits)
    labels = (random.random((3000, 1)) > chances.cumsum(1)).sum(1)
    return scale * logits, labels


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(scale: float) -> None:
    found = solve_temperature(*drawn(scale), LEAF)
    assert found.sharpness == pytest.approx(1 / scale, rel=0.05)
    before, after = found.history["scores"]
    assert after <= before
    assert found.history["chosen"] == 1 / found.sharpness


def test_rows_without_a_label_do_not_count_and_none_at_all_moves_nothing() -> None:
    logits, labels = drawn(3.0)
    labels[::2] = -1
    some = solve_temperature(logits, labels, LEAF)
    assert some.history["examples"] == 1500
    assert some.sharpness == solve_temperature(logits[1::2], labels[1::2], LEAF).sharpness
    none = solve_temperature(logits, np.full(3000, -1), LEAF)
    assert (none.sharpness, none.history["scores"]) == (1.0, [None, None])


def test_a_number_has_no_temperature() -> None:
    with pytest.raises(UsageError, match="has no temperature: name the outputs that have"):
        solve_temperature(np.ones((4, 1)), np.ones(4), make_task(TaskSpec("age", "regression")))
