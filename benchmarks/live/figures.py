"""Tables of how well rankings agree with what fine-tuning gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import print_markdown, write_results
from compared import ORDER, RANK, Compared, Record, interval, over_targets
from decisions import show_decisions
from gains import show_fits

from regraft.choosing.agreement import top_regret, weighted_tau

REDRAWN = 500  # test parts, for the ceiling


def show(every: Sequence[Compared], out: Path) -> None:
    """Print all tables as Markdown and keep their figures."""
    if not every:
        raise SystemExit("no target is fine-tuned and ranked in full yet")
    accuracies(every)
    agreements = agreement(every)
    decisions = show_decisions(every)
    inside = coverage(every)
    costs = prices(every)
    print()
    fits = show_fits(every)
    figures = {"agreement": agreements, "decisions": decisions, "coverage": inside, "seconds": costs}
    write_results(out, {**figures, "constants": fits})


def accuracies(every: Sequence[Compared]) -> None:
    """What fine-tuning gave."""
    lines = []
    for place, source in enumerate(every[0].sources):
        each = [100 * one.accuracies[place] for one in every]
        lines.append([source, *(f"{value:.1f}" for value in each), f"{np.mean(each):.1f}"])
    lines.sort(key=lambda line: -float(line[-1]))
    print_markdown(["source", *(one.name for one in every), "mean"], lines)
    print()


def agreement(every: Sequence[Compared]) -> dict[str, Record]:
    """By ranking: weighted tau and regret on each target, means with 95% intervals over targets."""
    found = {name: _figures(every, lambda one, name=name: one.said[name]) for name in every[0].said}
    found["ceiling"] = ceiling(every)
    order = sorted(found, key=lambda name: -found[name]["tau"][0])
    names = [one.name for one in every]
    lines = [
        [
            name,
            *(f"{tau:.2f}" for tau in found[name]["taus"]),
            interval(found[name]["tau"], 2),
            interval(found[name]["kendall"], 2),
        ]
        for name in order
    ]
    print_markdown(["ranked by", *names, "weighted tau", "Kendall tau"], lines)
    print()
    order.sort(key=lambda name: found[name]["regret"][0])
    lines = [
        [
            name,
            *(f"{value:.1f}" for value in found[name]["regrets"]),
            interval(found[name]["regret"], 1),
            interval(found[name]["more than rank"], 1) if name not in (RANK, "ceiling") else "",
        ]
        for name in order
    ]
    print_markdown(["chosen by", *names, "regret", "more than rank"], lines)
    print()
    return found


def _figures(every: Sequence[Compared], scores: Callable[[Compared], np.ndarray]) -> Record:
    from scipy.stats import kendalltau

    taus = [weighted_tau(scores(one), one.accuracies) for one in every]
    plain = [float(np.nan_to_num(kendalltau(scores(one), one.accuracies)[0])) for one in every]
    lost = [100 * top_regret(scores(one), one.accuracies) for one in every]
    ours = [100 * top_regret(one.said[ORDER], one.accuracies) for one in every]
    return {
        "taus": taus,
        "tau": over_targets(taus),
        "kendall": over_targets(plain),
        "regrets": lost,
        "regret": over_targets(lost),
        "more than rank": over_targets([a - b for a, b in zip(lost, ours, strict=True)]),
    }


def ceiling(every: Sequence[Compared]) -> Record:
    """What a ranking by the accuracies themselves would have, on other test parts of the same sizes.

    Binomial errors of the sources are drawn independently; on one test part they go together in part, so the
    real ceiling is higher.
    """
    random = np.random.default_rng(0)
    drawn = [random.binomial(one.tests, one.accuracies, (REDRAWN, len(one.sources))) for one in every]
    each = [
        _figures(every, lambda one, number=number: drawn[every.index(one)][number].astype(float))
        for number in range(REDRAWN)
    ]
    taus, lost = (np.mean([one[key] for one in each], axis=0) for key in ("taus", "regrets"))
    plain = np.mean([one["kendall"][0] for one in each])
    return {
        "taus": taus.tolist(),
        "tau": over_targets(taus.tolist()),
        "kendall": [float(plain)] * 3,
        "regrets": lost.tolist(),
        "regret": over_targets(lost.tolist()),
    }


def coverage(every: Sequence[Compared]) -> dict[str, list[int]]:
    """By target and in all, how many accuracies lie within the 80% interval, of how many."""
    found = dict[str, list[int]]()
    for one in every:
        accuracy = dict(zip(one.sources, one.accuracies, strict=True))
        rows = [row for row in one.rows.values() if row["low"] is not None]
        inside = [row["low"] <= accuracy[row["name"]] <= row["high"] for row in rows]
        off = [100 * (row["predicted"] - accuracy[row["name"]]) for row in rows]
        wide = [100 * (row["high"] - row["low"]) for row in rows]
        found[one.name] = [int(sum(inside)), len(inside)]
        print(
            f"{one.name}: {sum(inside)} of {len(inside)} within the 80% interval, {np.mean(wide):.1f} points "
            f"wide; predicted minus true {np.mean(off):+.1f}, spread {np.std(off):.1f}"
        )
    inside, count = (sum(values) for values in zip(*found.values(), strict=True))
    print(f"all: {inside} of {count}, {inside / count:.0%}\n")
    return {**found, "all": [inside, count]}


def prices(every: Sequence[Compared]) -> dict[str, list[float]]:
    """Processor seconds of ranking and of fine-tuning every source once."""
    found = {one.name: [one.look["processor seconds"], float(one.seconds.sum())] for one in every}
    both = np.sum(list(found.values()), axis=0)
    found["all"] = both.tolist()
    lines = [[name, f"{a:.0f}", f"{b:.0f}", f"{a / b:.2f}"] for name, (a, b) in found.items()]
    print_markdown(["target", "ranking, s", "fine-tuning all, s", "ratio"], lines)
    return found
