"""``--source auto``: what the ranking behind it may look at."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from regraft.api.rank import _own_labels
from regraft.targets import Target


def test_a_ranking_reads_no_label_that_the_run_may_not_use() -> None:
    found = load_digits(n_class=4)
    target = Target.from_arrays((found.images * 15.9).astype(np.uint8), found.target.astype(str))
    assert _own_labels(target, 0, None, None) is target
    few = _own_labels(target, 3, 10, None)
    draw = target.draw(3, per_class=10)
    own = np.concatenate([draw.train, draw.validation])
    hashes = target.examples.hashes
    assert len(few.pool) == len(own) == 40
    assert {few.examples.hashes[int(i)] for i in few.pool} == {hashes[int(i)] for i in own}
    assert {few.examples.hashes[int(i)] for i in few.test} == {hashes[int(i)] for i in target.test}
