import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

from regraft.core.errors import BundleError, SealedError, UsageError
from regraft.core.statistics import Estimate, Verdict
from regraft.evidence.arms import ArmKind, ArmResult
from regraft.evidence.baseline import BaselineArm
from regraft.evidence.contrasts import Contrast
from regraft.evidence.judge import judge
from regraft.evidence.ledger import Ledger
from regraft.evidence.sentence import verdict_sentence
from regraft.evidence.table import evidence_table
from regraft.evidence.trials import Trials, run_trials
from regraft.evidence.verdict import Evidence
from regraft.targets import Draw, Target
from regraft.tasks import make_task
from regraft.tasks.metrics import ACCURACY, RMSE
from regraft.terms.solvers import solve_ridge

SEEDS = range(4)


@dataclass
class RidgeArm:
    """A real arm that needs no engine: ridge on given features of a target's examples."""

    target: Target
    features: np.ndarray
    name: str = "ridge"
    kind: ArmKind = "strategy"
    uses_source: bool = True
    expected_seconds: float | None = None
    draws: list[Draw] = field(default_factory=list)

    def run(self, draw: Draw) -> ArmResult:
        start = time.perf_counter()
        self.draws.append(draw)
        spec = self.target.tasks[0]
        task = make_task(spec)
        labels = {
            part: self.target.labels(rows)[spec.name] for part, rows in vars(draw).items() if part != "seed"
        }
        head = solve_ridge(self.features[draw.train], labels["train"], task)
        scores = task.scores(self.features @ head.weight.T + head.bias)
        validation = task.metrics[0].compute(scores[draw.validation], labels["validation"])
        seconds = time.perf_counter() - start
        return ArmResult(validation, scores[self.target.test], seconds, head.weight.size + head.bias.size)


@pytest.fixture(scope="module")
def digits() -> Target:
    images, labels = load_digits(return_X_y=True)
    target = Target.from_arrays(images.reshape(-1, 8, 8) / 16, labels.astype(str))
    return target.with_test(0.5)


def pixels(target: Target) -> np.ndarray:
    return np.stack([np.asarray(target.examples.raw(n), dtype=float).ravel() for n in range(len(target))])


@pytest.fixture(scope="module")
def trials(digits: Target) -> Trials:
    features = pixels(digits)
    arms = [
        RidgeArm(digits, np.random.default_rng(0).normal(size=(len(digits), 5)), "ridge on noise"),
        BaselineArm(digits, "label"),
        RidgeArm(digits, features, "ridge on pixels", "scratch", uses_source=False),
        RidgeArm(digits, features + 1, "ridge on pixels and one", "probe"),
    ]
    return run_trials(arms, lambda seed: digits.draw(seed, train_size=200), seeds=SEEDS)


@pytest.fixture(scope="module")
def evidence(trials: Trials, digits: Target) -> Evidence:
    return judge(trials, digits, "label", Ledger())


def test_noise_as_a_source_harms(evidence: Evidence) -> None:
    assert evidence.verdict == "HARMED"
    assert evidence.strategy_arm == "ridge on noise"
    assert evidence.reference.startswith("SVM on 8x8")
    assert evidence.sentence.startswith("HARMED: ridge on noise is ")
    assert (
        f"below {evidence.reference}, the best arm without a source, over 4 paired seeds."
        in evidence.sentence
    )
    assert evidence.labels == 200
    assert (evidence.delta, evidence.metric["name"]) == (0.005, "accuracy")


def test_the_reference_is_chosen_on_validation_and_all_contrasts_are_shown(evidence: Evidence) -> None:
    figures = {arm.name: arm for arm in evidence.arms}
    others = [arm for arm in evidence.arms if not arm.uses_source]
    assert evidence.reference == max(others, key=lambda arm: np.mean(arm.validation)).name
    assert [one.against for one in evidence.contrasts] == [arm.name for arm in evidence.arms[1:]]
    for one in evidence.contrasts:
        paired = np.subtract(figures[one.arm].test, figures[one.against].test)
        np.testing.assert_allclose(one.differences, paired)
        assert one.low < one.mean < one.high < 0
        assert one.p_holm >= one.p >= 2 / 2**4
    assert all(arm.low <= arm.mean <= arm.high for arm in evidence.arms)
    assert figures[evidence.reference].mean > 0.93
    assert figures[evidence.reference].note.startswith("C=")
    assert all(arm.trained_parameters > 0 for arm in evidence.arms)


def test_a_source_that_adds_nothing_is_equivalent(digits: Target) -> None:
    features = pixels(digits)
    arms = [
        RidgeArm(digits, features + 1, "ridge on pixels and one"),
        RidgeArm(digits, features, "ridge on pixels", "scratch", uses_source=False),
    ]
    found = run_trials(arms, lambda seed: digits.draw(seed, train_size=200), seeds=SEEDS)
    evidence = judge(found, digits, "label", Ledger())
    assert evidence.verdict == "EQUIVALENT"
    assert "differ by less than 0.5 points of accuracy (+0.0, 90% interval" in evidence.sentence
    assert evidence.contrasts[0].p == 1.0


def test_pixels_as_a_source_help_against_noise(digits: Target) -> None:
    noise = np.random.default_rng(0).normal(size=(len(digits), 5))
    arms = [
        RidgeArm(digits, pixels(digits), "ridge on pixels"),
        RidgeArm(digits, noise, "ridge on noise", "scratch", uses_source=False),
    ]
    found = run_trials(arms, lambda seed: digits.draw(seed, train_size=200), seeds=SEEDS)
    evidence = judge(found, digits, "label", Ledger(), delta=0.1)
    assert evidence.verdict == "HELPED"
    assert "points of accuracy (95% interval " in evidence.sentence
    assert ") above ridge on noise, the best arm without a source" in evidence.sentence


def test_all_arms_see_the_same_draws(digits: Target) -> None:
    arms = [
        RidgeArm(digits, pixels(digits), "one"),
        RidgeArm(digits, pixels(digits), "other", uses_source=False),
    ]
    run_trials(arms, lambda seed: digits.draw(seed, train_size=100), seeds=range(3))
    for one, other in zip(arms[0].draws, arms[1].draws, strict=True):
        assert one is other


def test_the_labels_are_opened_once(trials: Trials, digits: Target) -> None:
    ledger = Ledger()
    judge(trials, digits, "label", ledger)
    assert ledger.entries == [(digits.fingerprint, "prove")]
    with pytest.raises(SealedError, match=r"regraft\.prove"):
        digits.labels(digits.test)


def test_the_same_evidence_comes_out_twice(trials: Trials, digits: Target, evidence: Evidence) -> None:
    assert judge(trials, digits, "label", Ledger()) == evidence


def test_it_survives_its_file(evidence: Evidence, tmp_path: Path) -> None:
    evidence.write(tmp_path)
    assert Evidence.read(tmp_path) == evidence
    data = json.loads((tmp_path / "evidence.json").read_text())
    assert set(data["arms"][0]) >= {
        "name",
        "kind",
        "uses_source",
        "validation",
        "test",
        "mean",
        "low",
        "high",
    }
    assert data["seeds"] == list(SEEDS)


def test_evidence_that_is_not_there_or_damaged_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has no evidence yet: regraft prove"):
        Evidence.read(tmp_path)
    (tmp_path / "evidence.json").write_text('{"arms": 3}')
    with pytest.raises(BundleError, match=r"evidence\.json is damaged"):
        Evidence.read(tmp_path)


def test_seeds_that_all_train_on_the_same_examples_say_so(digits: Target) -> None:
    whole = digits.draw(0, train_size=200)
    arms = [
        RidgeArm(digits, pixels(digits), "ridge on pixels"),
        BaselineArm(digits, "label"),
    ]
    found = run_trials(arms, lambda seed: type(whole)(seed, whole.train, whole.validation), seeds=range(3))
    evidence = judge(found, digits, "label", Ledger())
    assert evidence.cut[-1].startswith("other labelled examples: all seeds use the same ones")
    assert "on the same 200 labels" in evidence.sentence
    assert evidence.contrasts[0].low < evidence.contrasts[0].high


def test_a_regression_counts_in_its_own_unit() -> None:
    features, values = load_diabetes(return_X_y=True)
    images = np.random.default_rng(0).integers(0, 255, (len(values), 4, 4), dtype=np.uint8)
    target = Target.from_arrays(images, {"progress": values}).with_test(0.5)
    arms = [RidgeArm(target, features, "ridge on measurements"), BaselineArm(target, "progress")]
    found = run_trials(arms, lambda seed: target.draw(seed), seeds=SEEDS, higher_is_better=False)
    evidence = judge(found, target, "progress", Ledger())
    assert evidence.verdict == "HELPED"
    assert " RMSE (95% interval " in evidence.sentence
    assert ") better than SVM on 4x4" in evidence.sentence
    assert 0.2 < evidence.delta < 0.6
    assert evidence.contrasts[0].mean > 5, "positive where the strategy's error is smaller"
    assert evidence.metric == {"name": "RMSE", "higher_is_better": False, "percent": False}


def test_texts_have_a_baseline_too() -> None:
    words = ("red", "green", "blue")
    texts = [f"the {words[n % 3]} thing, {('even', 'odd')[n % 2]}, number {n}" for n in range(150)]
    target = Target.from_arrays(texts, [words[n % 3] for n in range(150)])
    result = BaselineArm(target, "label").run(target.draw(0))
    assert result.validation == 1.0
    assert result.scores.shape == (len(target.test), 3)
    np.testing.assert_allclose(result.scores.sum(1), 1)
    assert result.trained_parameters > 100
    tags = Target.from_arrays(
        texts, {"tags": [[words[n % 3], "odd"] if n % 2 else [words[n % 3]] for n in range(150)]}
    )
    several = BaselineArm(tags, "tags").run(tags.draw(0))
    assert several.scores.shape == (len(tags.test), len(tags.tasks[0].classes))
    assert several.validation > 0.9


def test_an_output_that_is_not_there_is_named(trials: Trials, digits: Target) -> None:
    with pytest.raises(UsageError, match="there is no output 'lable'; the target's outputs are 'label'"):
        judge(trials, digits, "lable", Ledger())


def contrast(verdict: Verdict, mean: float, half: float) -> Contrast:
    found = Estimate((mean,) * 8, mean, mean - half, mean + half, 0.95, half / 2.3646, 7)
    return Contrast("probe on packaged:efficientnet-lite0", "SVM on 32x32 pixels", found, 0.01, 0.02, verdict)


PROBE, SVM = "probe on packaged:efficientnet-lite0", "SVM on 32x32 pixels, the best arm without a source"
SENTENCES = {
    (Verdict.HELPED, 0.032, 0.013): (
        f"HELPED: {PROBE} is 3.2 points of accuracy (95% interval 1.9 to 4.5) above {SVM}, over 8 paired "
        "seeds."
    ),
    (Verdict.HARMED, -0.032, 0.013): (
        f"HARMED: {PROBE} is 3.2 points of accuracy (95% interval 1.9 to 4.5) below {SVM}, over 8 paired "
        "seeds."
    ),
    (Verdict.EQUIVALENT, 0.001, 0.004): (
        f"EQUIVALENT: {PROBE} and {SVM}, differ by less than 0.5 points of accuracy "
        "(+0.1, 90% interval -0.2 to +0.4), over 8 paired seeds."
    ),
    (Verdict.INCONCLUSIVE, -0.01, 0.02): (
        f"INCONCLUSIVE: {PROBE} is 1.0 points of accuracy below {SVM}, over 8 paired seeds, but the interval "
        "is too wide to tell whether that is more than 0.5 points of accuracy: 95% interval -3.0 to +1.0."
    ),
}


@pytest.mark.parametrize("case", SENTENCES, ids=lambda case: str(case[0]))
def test_sentences(case: tuple[Verdict, float, float]) -> None:
    assert verdict_sentence(contrast(*case), ACCURACY, 0.005) == SENTENCES[case]


def test_an_error_is_better_or_worse_in_its_own_unit() -> None:
    said = verdict_sentence(contrast(Verdict.HELPED, 2.314, 1.1), RMSE, 0.4)
    assert "is 2.3 RMSE (95% interval 1.2 to 3.4) better than SVM on 32x32 pixels" in said


def test_an_arm_that_leaves_the_best_in_doubt_is_named() -> None:
    found, doubt = contrast(Verdict.HELPED, 0.032, 0.013), contrast(Verdict.INCONCLUSIVE, 0.01, 0.02)
    doubt = replace(doubt, against="scratch, small network")
    assert verdict_sentence(found, ACCURACY, 0.005, doubt=doubt) == (
        f"INCONCLUSIVE: {PROBE} is 3.2 points of accuracy (95% interval 1.9 to 4.5) above {SVM}, over 8 "
        "paired seeds, but it is not clear that it is more than 0.5 points of accuracy better than scratch, "
        "small network too, which has no source either: +1.0, 95% interval -1.0 to +3.0."
    )


def test_the_chosen_reference_is_not_enough_where_another_arm_is_as_good(digits: Target) -> None:
    features = pixels(digits)
    noise = np.random.default_rng(0).normal(size=(len(digits), 5))
    arms = [
        RidgeArm(digits, features + 1, "ridge on pixels and one"),
        Flattered(digits, noise, "ridge on noise", "scratch", uses_source=False),
        RidgeArm(digits, features, "ridge on pixels", "scratch", uses_source=False),
    ]
    found = run_trials(arms, lambda seed: digits.draw(seed, train_size=200), seeds=SEEDS)
    evidence = judge(found, digits, "label", Ledger())
    assert evidence.reference == "ridge on noise"
    assert [one.verdict for one in evidence.contrasts] == ["HELPED", "EQUIVALENT"]
    assert evidence.verdict == "INCONCLUSIVE"
    assert "better than ridge on pixels too, which has no source either" in evidence.sentence


class Flattered(RidgeArm):
    """An arm whose validation says that it is the best of all."""

    def run(self, draw: Draw) -> ArmResult:
        return replace(super().run(draw), validation=1.0)


def test_the_null_and_the_power_are_stated(evidence: Evidence) -> None:
    assert evidence.null.startswith(
        "ridge on noise and the other arm have the same accuracy on the population"
    )
    assert (
        "by no more than 0.5 points of accuracy (verdict: where that is so, HELPED or HARMED" in evidence.null
    )
    one = evidence.contrasts[0]
    assert one.detectable > evidence.delta
    assert one.p_equivalence > 0.95, "they are far apart"
    assert "Power: a true difference of " in evidence_table(evidence)


def test_files_of_other_versions_are_read(evidence: Evidence) -> None:
    data = evidence.to_json()
    older = {**data, "contrasts": [dict(one) for one in data["contrasts"]]}
    for one in older["contrasts"]:
        del one["p_equivalence"], one["detectable"]
    read = Evidence.from_json(older)
    assert np.isnan(read.contrasts[0].detectable)
    assert (read.verdict, read.arms) == (evidence.verdict, evidence.arms)
    later = {**data, "colour": "blue", "arms": [{**arm, "colour": "red"} for arm in data["arms"]]}
    assert Evidence.from_json(later) == evidence
