"""A value depends on its example alone: not on its neighbours, nor on their order, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regraft.inference import fixed_batches, pieces_of


@pytest.mark.parametrize("kind", ["image_embedder", "text_embedder"])
def test_features_do_not_depend_on_neighbours_or_order(kind: str, request: pytest.FixtureRequest) -> None:
    prepared, make = request.getfixturevalue(kind)
    everyone = np.arange(len(prepared.inputs))[:37]
    whole = make().features(everyone)
    assert whole.shape[0] == 37
    shuffled = np.random.default_rng(0).permutation(everyone)
    assert torch.equal(make().features(shuffled), whole[torch.from_numpy(shuffled)])
    for few in ([5], [36, 0, 5, 5]):
        assert torch.equal(make().features(np.array(few)), whole[few])


def test_a_prefix_gives_what_the_trunk_gives_there(image_embedder: tuple) -> None:  # type: ignore[type-arg]
    prepared, make = image_embedder
    embedder = make(cut=5)
    with torch.inference_mode():
        expected = embedder.trunk.prefix(prepared.inputs.batch(np.arange(32)), cut=5)
    assert torch.equal(embedder.activations(np.arange(32)), expected)


class Pieces:
    """Examples of one, three and two pieces in two buckets."""

    owners = np.array([0, 1, 1, 1, 2, 2])
    buckets = np.array([1, 0, 0, 1, 1, 1])


def test_batches_have_one_bucket_and_one_size() -> None:
    batches = list(fixed_batches(Pieces(), np.arange(6), 3))  # type: ignore[arg-type]
    assert [batch.pieces.tolist() for batch in batches] == [[1, 2, 2], [0, 3, 4], [5, 5, 5]]
    assert [batch.count for batch in batches] == [2, 3, 1]


def test_pieces_come_in_the_order_of_their_examples() -> None:
    pieces, positions = pieces_of(Pieces(), np.array([2, 0, 1]))  # type: ignore[arg-type]
    assert pieces.tolist() == [4, 5, 0, 1, 2, 3]
    assert positions.tolist() == [0, 0, 1, 2, 2, 2]
