"""Files written row by row are safetensors like any other, and whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from regraft.core.tensor_file import row_writer


def test_rows_and_what_is_beside_them_are_read_again(tmp_path: Path) -> None:
    rows = np.arange(21, dtype=np.float32).reshape(7, 3)
    path = tmp_path / "rows.safetensors"
    with row_writer(path, "features", room=100) as out:
        for part in (rows[:2], rows[2:2], rows[2:]):
            out.add(part)
        out.finish({"lengths": np.array([3, 4], np.int32)}, {"names": '["é"]'})
    found = load_file(path)
    assert found["features"].tolist() == rows.tolist()
    assert found["lengths"].tolist() == [3, 4]
    with safe_open(path, "numpy") as opened:
        assert opened.metadata() == {"names": '["é"]'}


def test_what_fails_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    def write(shape: tuple[int, ...], metadata: dict[str, str]) -> None:
        with row_writer(tmp_path / "rows.safetensors", "features", room=10) as out:
            out.add(np.zeros((2, 3), np.float32))
            out.add(np.zeros(shape, np.float32))
            out.finish({}, metadata)

    with pytest.raises(ValueError, match=r"rows of the shape \(4,\) after rows of the shape \(3,\)"):
        write((2, 4), {})
    with pytest.raises(ValueError, match="does not fit into"):
        write((2, 3), {"long": "x" * 5000})
    assert list(tmp_path.iterdir()) == []
