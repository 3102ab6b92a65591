from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from regraft.core.errors import DataError, UsageError
from regraft.targets import Target
from regraft.targets.labels import encode, named_kinds


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["no", "yes", "no"], "binary", ("no", "yes")),
        (["b", "a", "c"], "multiclass", ("a", "b", "c")),
        (["10", "9", "2"], "multiclass", ("2", "9", "10")),
        ([1, 0, 1], "binary", ("0", "1")),
        ([0.0, 1.0, None], "binary", ("0", "1")),
        ([1.0, 2.0, 3.0], "multiclass", ("1", "2", "3")),
        ([True, False], "binary", ("False", "True")),
        (["x|y", "y", ""], "multilabel", ("x", "y")),
        ([["x"], [], ["x", "y"]], "multilabel", ("x", "y")),
        ([0.5, 1.5, 2.0], "regression", ()),
        (["0.5", "1", "2"], "regression", ()),
        (list(range(0, 300, 3)), "regression", ()),
        (list(range(30)) * 5, "multiclass", tuple(str(i) for i in range(30))),
    ],
)
def test_the_task_is_found_from_the_labels(values: list[Any], kind: str, classes: tuple[str, ...]) -> None:
    output = encode("y", pa.array(values))
    assert (output.spec.kind, output.spec.classes) == (kind, classes)
    assert f"y: {kind}, found from the labels" in output.sentence


def test_encodings_with_missing_labels() -> None:
    assert encode("y", pa.array(["a", None, "b", ""])).values.tolist() == [0, -1, 1, -1]
    values = encode("y", pa.array([0.5, None, 1.5])).values
    assert values.dtype == np.float32
    assert np.isnan(values).tolist() == [False, True, False]
    rows = encode("y", pa.array([["a"], None, [], ["b", "a"]])).values
    assert rows.dtype == np.float32
    assert np.isnan(rows[1]).all()
    assert rows[[0, 2, 3]].tolist() == [[1, 0], [0, 0], [1, 1]]


def test_a_dictionary_column_holds_classes_whatever_they_look_like() -> None:
    assert encode("y", pa.array(["1.5", "2.5"]).dictionary_encode()).spec.kind == "binary"


def test_named_tasks_win() -> None:
    assert encode("y", pa.array([1, 2, 3]), "regression").spec.kind == "regression"
    assert encode("y", pa.array([1, 2]), "multiclass").spec.classes == ("1", "2")
    assert encode("y", pa.array(["a", "b"]), "multilabel").values.tolist() == [[1, 0], [0, 1]]
    assert "y: regression, named" in encode("y", pa.array([1, 2, 3]), "regression").sentence


def test_labels_that_do_not_fit_the_named_task() -> None:
    with pytest.raises(DataError, match="'a' is not a number"):
        encode("y", pa.array(["a", "b"]), "regression")
    with pytest.raises(DataError, match="named binary, but it has 3 classes: 1, 2, 3"):
        encode("y", pa.array([1, 2, 3]), "binary")
    with pytest.raises(DataError, match="can only be 'multilabel'"):
        encode("y", pa.array([["a"], ["b"]]), "multiclass")
    with pytest.raises(UsageError, match=r"'sorting' is not a task .* binary, multiclass"):
        named_kinds({"y": "sorting"}, ["y"])
    with pytest.raises(UsageError, match="named for 'z'; the outputs are y"):
        named_kinds({"z": "binary"}, ["y"])
    with pytest.raises(UsageError, match=r'one task .* give one for each: tasks=\{"x": "binary"\}'):
        named_kinds("binary", ["x", "y"])


def test_labels_that_cannot_be_learned_from() -> None:
    with pytest.raises(DataError, match="all 2 labels of 'y' are missing"):
        encode("y", pa.array([None, None], pa.string()))
    with pytest.raises(
        DataError, match=r"1 labels of 'y' are not finite.*\(nan\) at row 2; leave the cell empty"
    ):
        encode("y", pa.array([0.5, float("nan"), 1.0]))
    with pytest.raises(DataError, match="all labels of 'y' are the same number"):
        encode("y", pa.array([0.5, 0.5]))
    with pytest.raises(DataError, match="all lists are empty"):
        encode("y", pa.array([[], []], pa.list_(pa.string())))


def test_several_outputs_with_missing_labels(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, numbers = digits[0][:100], digits[1][:100]
    labels = {
        "even": ["yes" if number % 2 == 0 else "no" for number in numbers],
        "size": [None if index < 40 else float(number) + 0.5 for index, number in enumerate(numbers)],
        "holes": [[["none"], ["one"], ["two", "one"]][number % 3] for number in numbers],
    }
    target = Target.from_arrays(images, labels)
    assert [spec.kind for spec in target.tasks] == ["binary", "regression", "multilabel"]
    given = target.labels(target.pool)
    assert given["holes"].shape == (len(target.pool), 3)
    assert "size: 40 of 100 examples have no label." in target.notes
    assert target.summary()["counts"]["holes"].keys() == {"none", "one", "two"}


def test_examples_without_any_label_stay_in_the_pool_and_out_of_draws(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    labels = [str(number % 3) if index % 2 else None for index, number in enumerate(digits[1][:200])]
    target = Target.from_arrays(digits[0][:200], labels)
    draw = target.draw(0)
    assert len(draw.train) + len(draw.validation) + len(target.test) == 100
    assert len(target.pool) + len(target.test) == 200
    assert (target.labels(draw.train)["label"] >= 0).all()
