"""The verdict in plain English, with its figures."""

from __future__ import annotations

from regraft.core.statistics import Estimate, Verdict
from regraft.evidence.contrasts import Contrast
from regraft.tasks import Metric


def verdict_sentence(
    contrast: Contrast,
    metric: Metric,
    delta: float,
    *,
    labels: int | None = None,
    doubt: Contrast | None = None,
) -> str:
    """One sentence: the verdict, both arms, the difference and its interval, and over how many seeds.

    ``HELPED: probe on packaged:efficientnet-lite0 is 3.2 points of accuracy (95% interval 1.9 to 4.5) above
    SVM on 32x32 pixels, the best arm without a source, over 8 paired seeds.`` Where all seeds saw the same
    examples, the number of these ``labels`` is said: the verdict is about them. ``doubt`` is the contrast
    with another arm without a source that leaves it open whether the strategy is beyond the best of them.
    """
    words = _Words(contrast.estimate, metric, delta)
    reference = f"{contrast.against}, the best arm without a source"
    same = f" on the same {labels} labels" if labels else ""
    seeds = f"over {len(contrast.estimate.values)} paired seeds{same}"
    apart = f"{contrast.arm} is {words.size} ({words.interval()}) {words.side} {reference}, {seeds}."
    sentences = {
        Verdict.HELPED: apart,
        Verdict.HARMED: apart,
        Verdict.EQUIVALENT: (
            f"{contrast.arm} and {reference}, differ by less than {words.limit} "
            f"({words.signed}, {words.signed_interval(0.9)}), {seeds}."
        ),
        Verdict.INCONCLUSIVE: (
            f"{contrast.arm} is {words.size} {words.side} {reference}, {seeds}, but the interval is too wide "
            f"to tell whether that is more than {words.limit}: {words.signed_interval()}."
        ),
    }
    if doubt is not None:
        but = _doubted(contrast, doubt, metric, delta)
        return f"{Verdict.INCONCLUSIVE}: {apart.removesuffix('.')}, but {but}"
    return f"{contrast.verdict}: {sentences[contrast.verdict]}"


def _doubted(contrast: Contrast, doubt: Contrast, metric: Metric, delta: float) -> str:
    """Why the verdict on the arm that validation chose is not one on the best arm without a source."""
    words = _Words(doubt.estimate, metric, delta)
    more = f"more than {words.limit} better than" if contrast.verdict is Verdict.HELPED else "as good as"
    return (
        f"it is not clear that it is {more} {doubt.against} too, which has no source either: "
        f"{words.signed}, {words.signed_interval()}."
    )


def null_sentence(contrast: Contrast, metric: Metric, delta: float) -> str:
    """The null hypotheses: that of the p-values, and that of the verdict with its error rate."""
    limit = _Words(contrast.estimate, metric, delta).limit
    return (
        f"{contrast.arm} and the other arm have the same {metric.name} on the population (p-values); it "
        f"differs from the best arm without a source by no more than {limit} (verdict: where that is so, "
        "HELPED or HARMED is said in at most one case of 20)"
    )


class _Words:
    """The figures of a difference, written out in its own unit."""

    def __init__(self, found: Estimate, metric: Metric, delta: float):
        self.found = found
        self.metric = metric
        self.factor = 100 if metric.percent else 1
        self.unit = f"points of {metric.name}" if metric.percent else metric.name
        self.digits = 1 if metric.percent else _digits(found.high - found.low)
        self.limit = f"{self.factor * delta:.{1 if metric.percent else _digits(delta)}f} {self.unit}"

    @property
    def size(self) -> str:
        return f"{self._figure(abs(self.found.mean))} {self.unit}"

    @property
    def side(self) -> str:
        """Differences are positive where the arm is better, whichever way the metric points."""
        ahead = self.found.mean >= 0
        if self.metric.percent and self.metric.higher_is_better:
            return "above" if ahead else "below"
        return "better than" if ahead else "worse than"

    @property
    def signed(self) -> str:
        return f"{self.factor * self.found.mean:+.{self.digits}f}"

    def interval(self) -> str:
        """Of the size of the difference."""
        low, high = self.found.low, self.found.high
        if self.found.mean < 0:
            low, high = -high, -low
        return f"95% interval {self._figure(low)} to {self._figure(high)}"

    def signed_interval(self, level: float = 0.95) -> str:
        from scipy.stats import t

        half = float(t.ppf((1 + level) / 2, self.found.degrees)) * self.found.standard_error
        low, high = (self.factor * (self.found.mean + side * half) for side in (-1, 1))
        return f"{level:.0%} interval {low:+.{self.digits}f} to {high:+.{self.digits}f}"

    def _figure(self, value: float) -> str:
        return f"{self.factor * value:.{self.digits}f}"


def _digits(width: float) -> int:
    """Decimals that show about two digits of a width."""
    from math import floor, log10

    return max(0, min(6, 1 - floor(log10(width)))) if width > 0 else 2
