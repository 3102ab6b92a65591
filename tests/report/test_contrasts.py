"""Paired differences in the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from regraft.report import write_report
from regraft.report._contrasts import contrast_plot, seed_table
from tests.report.conftest import evidence_json
from tests.report.test_page import Reader

Make = Callable[..., Path]


def test_every_seed_is_a_point_beside_its_mean_and_interval() -> None:
    evidence = evidence_json()
    plot = contrast_plot(evidence["contrasts"], evidence, percent=True)
    assert plot is not None
    assert [len(row.points) for row in plot.rows] == [8, 8, 8]
    assert [row.strong for row in plot.rows] == [True, False, False]
    for row in plot.rows:
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.at < row.high
        assert min(row.points) <= row.at <= max(row.points)
    assert plot.band is not None
    assert plot.zero is not None
    assert abs((plot.band[0] + plot.band[1]) / 2 - plot.zero) < 0.02  # delta to both sides
    assert plot.rows[0].tag == "HELPED, p after Holm 0.023"


def test_the_verdict_states_its_hypothesis_and_the_power(make: Make) -> None:
    evidence = evidence_json()
    for row in evidence["contrasts"]:
        row |= {"p_equivalence": 0.91, "detectable": 0.021}
    section = Reader(write_report(make("proven", evidence=evidence)).read_text(encoding="utf-8")).text
    section = section.split("Paired differences")[1]
    assert "Null hypothesis: lpft is as accurate as the best arm without a source." in section
    assert "0.910" in section
    assert "2.1 points" in section


def test_each_seed_has_a_line() -> None:
    evidence = evidence_json()
    table = seed_table(evidence["contrasts"], evidence, percent=True)
    assert table is not None
    assert table.against == ("SVM on 32 x 32 pixels", "small network from scratch", "probe")
    assert [seed for seed, _ in table.rows] == [str(seed) for seed in range(8)]
    first = evidence["contrasts"][0]["differences"][0]
    assert table.rows[0][1][0] == f"{100 * first:+.1f}".replace("-", "\N{MINUS SIGN}")
    evidence["contrasts"] = [row | {"differences": [0.1]} for row in evidence["contrasts"]]
    assert seed_table(evidence["contrasts"], evidence, percent=True) is None
