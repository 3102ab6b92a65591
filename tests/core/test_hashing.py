"""Hashes depend on contents, and on nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from regraft.core.hashing import hash_bytes, hash_file, hash_json, hash_tensors


def test_a_file_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # more than two chunks
    (tmp_path / "data").write_bytes(data)
    assert hash_file(tmp_path / "data") == hash_bytes(data)
    assert hash_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(FileNotFoundError):
        hash_file(tmp_path / "none")


def test_the_order_of_keys_does_not_matter() -> None:
    assert hash_json({"a": 1, "b": [1, 2]}) == hash_json({"b": [1, 2], "a": 1})
    assert hash_json({"a": [1, 2]}) != hash_json({"a": [2, 1]})
    one, two = torch.ones(2), torch.zeros(2)
    assert hash_tensors({"a": one, "b": two}) == hash_tensors({"b": two, "a": one})


@pytest.mark.parametrize(
    "other",
    [
        {"b": torch.zeros(2, 2)},
        {"a": torch.zeros(4)},
        {"a": torch.zeros(2, 2, dtype=torch.float64)},
        {"a": torch.tensor([[0.0, 0.0], [0.0, -0.0]])},
        {"a": torch.zeros(2, 2), "b": torch.zeros(0)},
    ],
    ids=["name", "shape", "dtype", "one bit", "one more"],
)
def test_whatever_differs_shows(other: dict[str, torch.Tensor]) -> None:
    assert hash_tensors(other) != hash_tensors({"a": torch.zeros(2, 2)})


def test_strides_do_not_matter_and_every_dtype_has_a_hash() -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    assert hash_tensors({"a": matrix.T.contiguous()}) == hash_tensors({"a": matrix.T})
    for dtype in (torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.uint8):
        assert len(hash_tensors({"a": torch.ones(3).to(dtype), "scalar": torch.tensor(1).to(dtype)})) == 64
