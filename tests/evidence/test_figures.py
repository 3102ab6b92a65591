import json

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from regraft.core.errors import UsageError
from regraft.evidence import Closer, Ledger, final_figures
from regraft.evidence.mistakes import f1_interval
from regraft.targets import Target
from regraft.tasks import make_task


@pytest.fixture(scope="module")
def digits() -> Target:
    images, labels = load_digits(return_X_y=True)
    return Target.from_arrays(images[:600].reshape(-1, 8, 8) / 16, labels[:600].astype(str))


def noisy(target: Target, noise: float = 0.4) -> np.ndarray:
    """Scores of a model that is right most of the time."""
    task = make_task(target.tasks[0])
    truth = target.open_test(Ledger(), "a test's own look")[task.spec.name]
    logits = np.eye(task.outputs)[truth] * 2 + np.random.default_rng(0).normal(
        0, noise * 2, (len(truth), task.outputs)
    )
    return task.scores(logits)


def test_figures_equal_scikit_learn_and_lie_within_their_intervals(digits: Target) -> None:
    scores, ledger = noisy(digits), Ledger()
    figures = final_figures(digits, {"label": scores}, ledger)
    truth = digits.open_test(Ledger(), "a test's own look")["label"]
    output = figures["outputs"]["label"]
    assert figures["part"] == "test"
    assert figures["count"] == len(digits.test) == output["count"]
    assert (output["task"], output["deciding"], output["missing"]) == ("multiclass", "accuracy", 0)
    assert output["metrics"]["accuracy"]["value"] == pytest.approx((scores.argmax(1) == truth).mean())
    for entry in output["metrics"].values():
        assert 0 < entry["low"] < entry["value"] < entry["high"] < 1
        assert entry["high"] - entry["low"] < 0.2
    assert output["confusion"] == confusion_matrix(truth, scores.argmax(1), labels=range(10)).tolist()
    assert output["calibration"]["temperature"] is None
    expected = precision_recall_fscore_support(truth, scores.argmax(1), zero_division=0)
    for column, key in enumerate(("precision", "recall", "f1", "count")):
        found = [row[key] for row in output["per_class"].values()]
        assert found == pytest.approx(list(expected[column]))
    for row in output["per_class"].values():
        for key, (low, high) in row["intervals"].items():
            assert low <= row[key] <= high
    said = [(one["label"], one["predicted"], one["count"]) for one in output["confused"]]
    matrix = np.array(output["confusion"])
    assert sum(count for _, _, count in said) == matrix.sum() - np.trace(matrix)
    assert all(matrix[int(label), int(predicted)] == count for label, predicted, count in said)
    json.dumps(figures, allow_nan=False)


def test_intervals_of_f1_hold_the_truth() -> None:
    random, missed = np.random.default_rng(0), 0
    for _ in range(400):  # a class of 30%, found at 70% and called so by mistake at 10%: F1 is .724
        is_so = random.random(80) < 0.3
        said = np.where(is_so, random.random(80) < 0.7, random.random(80) < 0.1)
        low, high = f1_interval(int((is_so & said).sum()), int((is_so | said).sum())) or (0, 1)
        missed += not low <= 2 * 0.21 / (0.3 + 0.28) <= high
    assert missed / 400 < 0.08


def test_the_worst_are_wrong_and_the_most_confident_come_first(digits: Target) -> None:
    entries = final_figures(digits, {"label": noisy(digits)}, Ledger())["outputs"]["label"]["worst"]
    assert entries
    assert all(entry["label"] != entry["predicted"] for entry in entries)
    confidences = [entry["confidence"] for entry in entries]
    assert confidences == sorted(confidences, reverse=True)
    assert entries[0]["thumbnail"].startswith("data:image/jpeg;base64,")
    assert entries[0]["item"] in set(digits.examples.names)
    assert entries[0]["text"] is None


def test_reading_test_labels_is_recorded(digits: Target) -> None:
    ledger = Ledger()
    final_figures(digits, {"label": noisy(digits)}, ledger)
    assert ledger.count == 1
    again = Ledger.from_json(ledger.to_json())
    final_figures(digits, {"label": noisy(digits)}, again, purpose="another look")
    assert again.entries == [(digits.fingerprint, "final figures"), (digits.fingerprint, "another look")]


def test_the_same_figures_come_out_twice(digits: Target) -> None:
    first, second = (final_figures(digits, {"label": noisy(digits)}, Ledger()) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_figures_without_near_duplicates_leave_just_these_out(digits: Target) -> None:
    scores = noisy(digits)
    doubles = np.zeros(len(digits.test), dtype=bool)
    doubles[:7] = True
    output = final_figures(digits, {"label": scores}, Ledger(), closer=Closer(doubles=doubles))
    found = output["outputs"]["label"]["without_near_duplicates"]
    truth = digits.open_test(Ledger(), "a test's own look")["label"]
    assert (found["left_out"], found["count"]) == (7, len(doubles) - 7)
    expected = (scores.argmax(1) == truth)[7:].mean()
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(expected)
    plain = final_figures(digits, {"label": scores}, Ledger(), closer=Closer(doubles=doubles & False))
    assert "without_near_duplicates" not in plain["outputs"]["label"]


def test_all_right_is_not_certainty(digits: Target) -> None:
    output = final_figures(digits, {"label": noisy(digits, 0.0)}, Ledger())["outputs"]["label"]
    accuracy = output["metrics"]["accuracy"]
    assert accuracy["value"] == accuracy["high"] == 1
    assert 0.95 < accuracy["low"] < 0.98
    assert output["worst"] == []


def test_a_regression_has_residuals_and_no_confusion() -> None:
    images = np.random.default_rng(0).integers(0, 255, (442, 4, 4), dtype=np.uint8)
    values = load_diabetes(return_X_y=True)[1]
    target = Target.from_arrays(images, {"progress": [None, *values[1:].tolist()]})
    truth = target.open_test(Ledger(), "a test's own look")["progress"]
    said = np.nan_to_num(truth.astype(float), nan=100.0) + np.linspace(-20, 20, len(truth))
    output = final_figures(target, {"progress": said}, Ledger())["outputs"]["progress"]
    assert (output["task"], output["deciding"]) == ("regression", "RMSE")
    assert output["confusion"] is None
    assert output["per_class"] is None
    assert len(output["residuals"]["labels"]) == output["count"] == len(truth) - output["missing"]
    assert output["metrics"]["RMSE"]["low"] < output["metrics"]["RMSE"]["value"] < 15
    first, last = output["worst"][0], output["worst"][-1]
    assert abs(first["predicted"] - first["label"]) >= abs(last["predicted"] - last["label"])
    assert first["confidence"] is None


def test_several_labels_and_several_outputs_of_texts() -> None:
    texts = [f"example number {n} of {n % 7} kinds" for n in range(120)]
    tags = [[name for name, on in (("even", n % 2 == 0), ("three", n % 3 == 0)) if on] for n in range(120)]
    target = Target.from_arrays(
        texts, {"tags": tags, "half": ["low" if n < 60 else "high" for n in range(120)]}
    )
    kinds = {spec.name: spec.kind for spec in target.tasks}
    assert kinds == {"tags": "multilabel", "half": "binary"}
    truth = target.open_test(Ledger(), "a test's own look")
    tag_scores = np.clip(truth["tags"] * 0.8 + 0.1, 0, 1)
    tag_scores[0] = 0.99
    half_scores = np.eye(2)[1 - truth["half"]]
    figures = final_figures(target, {"tags": tag_scores, "half": half_scores}, Ledger())
    assert figures["outputs"]["half"]["metrics"]["accuracy"]["value"] == 0
    assert figures["outputs"]["tags"]["deciding"] == "mean average precision"
    assert set(figures["outputs"]["tags"]["per_class"]) == {"even", "three"}
    worst = figures["outputs"]["half"]["worst"][0]
    assert worst["text"].startswith("example number")
    assert worst["thumbnail"] is None
    for entry in figures["outputs"]["tags"]["worst"]:
        assert entry["predicted"] == ["even", "three"]
    json.dumps(figures, allow_nan=False)


def test_scores_that_do_not_fit_are_refused(digits: Target) -> None:
    with pytest.raises(UsageError, match=r"scores were given for 'lable'; the target's outputs are 'label'"):
        final_figures(digits, {"lable": noisy(digits)}, Ledger())
    with pytest.raises(UsageError, match=r"for the \d+ examples of target.test, in its order; 'label' has 3"):
        final_figures(digits, {"label": noisy(digits)[:3]}, Ledger())
