"""From trials to the verdict: the reference chosen on validation, the test labels opened once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from regraft.core.errors import DataError
from regraft.core.seal import Ledger
from regraft.core.statistics import Estimate, Verdict, together
from regraft.evidence.arms import Arm
from regraft.evidence.baseline import spec_of
from regraft.evidence.contrasts import Comparison, Contrast, compare, same_examples
from regraft.evidence.curve_judge import judge_curve
from regraft.evidence.curve_trials import CurveTrials
from regraft.evidence.deciding import choose, verdicts
from regraft.evidence.sentence import null_sentence, verdict_sentence
from regraft.evidence.trials import Trials
from regraft.evidence.verdict import ArmFigures, ContrastFigures, Evidence
from regraft.targets import Target
from regraft.tasks import Metric, Task, make_task

POINTS = 0.005  # what counts as a difference by default: half a point, or as much of the labels' spread

_SAME = "other labelled examples: all seeds use the same ones, so the intervals speak for these only"


def judge(
    trials: Trials,
    target: Target,
    output: str,
    ledger: Ledger,
    *,
    delta: float | None = None,
    curve: CurveTrials | None = None,
) -> Evidence:
    """The verdict on the first arm of the trials.

    Opens the test labels once. The reference is chosen by validation, so the labels decide nothing but the
    figures; what its choice adds to chance is allowed for (:mod:`regraft.evidence.deciding`). Without a
    ``delta`` half a point counts as a difference, for a regression half a percent of the standard deviation
    of the pool's labels.
    """
    task = make_task(spec_of(target, output))
    width = delta if delta is not None else _default_delta(target, task)
    reference = choose_reference(trials, task.metrics[0])
    labels = target.open_test(ledger, "prove")[output]
    if not task.present(labels).sum() > 1:
        raise DataError(
            f"the test part holds {int(task.present(labels).sum())} labelled examples of output {output!r}; "
            "a verdict needs at least 2, and hundreds to say much"
        )
    comparison = compare(trials, task, labels, width)
    evidence = _evidence(trials, task, comparison, _decide(trials, comparison, reference, width), width)
    if curve is None:
        return evidence
    spent = round(evidence.spent_seconds + curve.spent_seconds, 3)
    predicted = round(evidence.predicted_seconds + curve.predicted_seconds, 3)
    shown = judge_curve(curve, task, labels)
    return replace(evidence, curve=shown, spent_seconds=spent, predicted_seconds=predicted)


def choose_reference(trials: Trials, metric: Metric) -> Arm:
    """The arm without a source, other than the first, with the best mean validation metric."""
    others = _without_source(trials)
    validation = [[result.validation for result in trials.results[arm.name]] for arm in others]
    return others[int(choose(np.array(validation), higher_is_better=metric.higher_is_better))]


def _without_source(trials: Trials) -> list[Arm]:
    return [arm for arm in trials.arms[1:] if not arm.uses_source]


@dataclass(frozen=True)
class _Decision:
    """The contrast that decides, the verdict, and the contrast that stands in the way of a better one."""

    contrast: Contrast
    verdict: Verdict
    doubt: Contrast | None


def _decide(trials: Trials, comparison: Comparison, reference: Arm, delta: float) -> _Decision:
    names = [arm.name for arm in _without_source(trials)]
    contrasts = [one for one in comparison.contrasts if one.against in names]
    chosen = [one.against for one in contrasts].index(reference.name)
    found = together([one.estimate for one in contrasts])
    verdict, by = verdicts(found, np.array(chosen), delta)
    doubt = contrasts[int(by)] if by >= 0 else None
    return _Decision(contrasts[chosen], Verdict(str(verdict)), doubt)


def _default_delta(target: Target, task: Task) -> float:
    if task.metrics[0].percent:
        return POINTS
    labels = target.labels(target.pool)[task.spec.name]
    return POINTS * float(np.std(labels[task.present(labels)], dtype=np.float64))


def _evidence(
    trials: Trials, task: Task, comparison: Comparison, decision: _Decision, delta: float
) -> Evidence:
    metric, deciding = task.metrics[0], decision.contrast
    labels = round(float(np.mean([len(draw.train) + len(draw.validation) for draw in trials.draws])))
    same = same_examples(trials.overlap)
    return Evidence(
        verdict=str(decision.verdict),
        sentence=verdict_sentence(
            deciding, metric, delta, labels=labels if same else None, doubt=decision.doubt
        ),
        delta=delta,
        output=task.spec.name,
        metric={
            "name": metric.name,
            "higher_is_better": metric.higher_is_better,
            "percent": metric.percent,
        },
        seeds=tuple(draw.seed for draw in trials.draws),
        strategy_arm=deciding.arm,
        reference=deciding.against,
        null=null_sentence(deciding, metric, delta),
        budget_seconds=trials.budget_seconds,
        predicted_seconds=round(trials.predicted_seconds, 3),
        spent_seconds=round(trials.spent_seconds, 3),
        cut=(*trials.cut, *([_SAME] if same else [])),
        labels=labels,
        arms=tuple(_arm_figures(arm, trials, comparison.arms[arm.name], metric) for arm in trials.arms),
        contrasts=tuple(_contrast_figures(contrast) for contrast in comparison.contrasts),
    )


def _arm_figures(arm: Arm, trials: Trials, figures: Estimate, metric: Metric) -> ArmFigures:
    results = trials.results[arm.name]
    low, high = metric.possible(figures.low, figures.high)
    notes = sorted({result.note for result in results if result.note})
    return ArmFigures(
        name=arm.name,
        kind=arm.kind,
        uses_source=arm.uses_source,
        validation=tuple(float(result.validation) for result in results),
        test=figures.values,
        mean=figures.mean,
        low=low,
        high=high,
        seconds=round(float(np.mean([result.seconds for result in results])), 3),
        trained_parameters=round(float(np.mean([result.trained_parameters for result in results]))),
        note=", ".join(notes),
    )


def _contrast_figures(contrast: Contrast) -> ContrastFigures:
    found = contrast.estimate
    return ContrastFigures(
        arm=contrast.arm,
        against=contrast.against,
        differences=found.values,
        mean=found.mean,
        low=found.low,
        high=found.high,
        p=contrast.p,
        p_holm=contrast.p_holm,
        verdict=str(contrast.verdict),
        p_equivalence=contrast.p_equivalence,
        detectable=contrast.detectable,
    )
