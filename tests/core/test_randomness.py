"""Randomness is a function of what it is for."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from regraft.core.randomness import numpy_generator, random_key, torch_generator, torch_randomness


def test_equal_keys_equal_numbers_in_any_process() -> None:
    code = "from regraft.core.randomness import random_key as k; print(k(3, 'order', 7, 'a'))"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(elsewhere.stdout) == random_key(3, "order", 7, "a")
    assert 0 <= random_key(0, "x") < 2**63


@pytest.mark.parametrize(
    "other", [(4, "order", 7), (3, "views", 7), (3, "order", 8), (3, "order"), (3, "order", 7, 0)]
)
def test_every_part_of_the_key_matters(other: tuple[int, str, int]) -> None:
    assert random_key(*other) != random_key(3, "order", 7)


def test_generators_repeat() -> None:
    assert np.array_equal(numpy_generator(1, "a").random(4), numpy_generator(1, "a").random(4))
    one, two = (torch.rand(4, generator=torch_generator(1, "a")) for _ in range(2))
    assert torch.equal(one, two)


def test_a_blocks_numbers_are_those_of_its_key() -> None:
    torch.manual_seed(random_key(0, "dropout", 1))
    expected = torch.rand(3), torch.randn(2)
    torch.manual_seed(5)
    with torch_randomness(0, "dropout", 1):
        found = torch.rand(3), torch.randn(2)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_block_of_randomness_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with torch_randomness(0, "dropout", 1):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(99)
    with pytest.raises(RuntimeError, match="stop"), torch_randomness(0, "dropout", 1):  # noqa: PT012
        assert torch.equal(torch.rand(3), inside)
        raise RuntimeError("stop")


def test_what_pythons_and_numpys_generators_give_in_a_block_depends_on_its_key_alone() -> None:
    found = []
    for outside in (1, 2):
        random.seed(outside)
        np.random.seed(outside)
        before = random.getstate(), np.random.get_state()[1].tolist()
        with torch_randomness(0, "step", 3):
            found.append((random.random(), np.random.rand()))
        assert before == (random.getstate(), np.random.get_state()[1].tolist())
    assert found[0] == found[1]
    with torch_randomness(0, "step", 4):
        assert found[0] != (random.random(), np.random.rand())
