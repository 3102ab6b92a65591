"""What is shown of a ranking, in a run's report and on a page of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.report import write_ranking_page, write_report
from regraft.report._cost import clock_ticks, short_names
from regraft.report._ranking import ranking_view
from regraft.report._scale import log_axis
from regraft.report._words import MISSING
from tests.report.boards import board_json
from tests.report.conftest import EVIL
from tests.report.test_page import Reader

Make = Callable[..., Path]


def page_of(board: dict[str, object], tmp_path: Path, **more: str) -> Reader:
    return Reader(write_ranking_page(board, tmp_path / "rank.html", **more).read_text(encoding="utf-8"))


@pytest.mark.parametrize("count", [1, 2, 4, 40])
def test_every_candidate_is_in_the_table(count: int, tmp_path: Path) -> None:
    board = board_json(count)
    reader = page_of(board, tmp_path, data="photos/", next_line="regraft fit photos/")
    assert reader.open == []
    assert "Which source for photos/" in reader.text
    assert "Next: regraft fit photos/" in reader.text
    table = reader.text.split("measured, frozen")[1]
    for row in board["rows"]:
        assert row["name"] in table
    assert table.count("as good as best") == min(2, count - 1)
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in reader.tags}


def test_decisions_are_told_by_shape_and_by_word() -> None:
    view = ranking_view(board_json(6))
    assert view is not None
    assert view.plot is not None
    assert [row.hollow for row in view.plot.rows] == [False, False, False, True, True]
    assert [row.tag for row in view.plot.rows] == [
        "best",
        "as good as best, naive choice",
        "as good as best",
        "dropped after first look",
        "dropped after first look",
    ]
    assert view.rows[-1].decision == "failed"
    assert view.rows[-1].predicted == MISSING
    assert view.rows[-1].reason == "its weights could not be read"


def test_many_candidates_are_folded_on_one_axis() -> None:
    view = ranking_view(board_json(40))
    assert view is not None
    assert view.plot is not None
    assert view.rest is not None
    assert (len(view.plot.rows), len(view.rest.rows)) == (15, 24)
    assert view.plot.ticks == view.rest.ticks
    assert view.costs is not None
    assert len(view.costs.marks) == 39
    assert view.costs.marks[0].label.startswith("family0")
    unnamed = sum(not mark.label for mark in view.costs.marks)
    assert f"{unnamed} that stand close together are not named" in view.costs.caption


def test_the_cheapest_and_best_is_in_the_corner_that_is_said() -> None:
    board = board_json(4)
    view = ranking_view(board)
    assert view is not None
    assert view.costs is not None
    known = [row for row in board["rows"] if row["predicted"] is not None]
    by_cost = sorted(range(len(known)), key=lambda at: known[at]["seconds"])
    by_place = sorted(range(len(known)), key=lambda at: view.costs.marks[at].at[0])  # type: ignore[union-attr]
    assert by_cost == by_place
    assert "top left" in view.costs.caption
    lower = ranking_view(board | {"higher_is_better": False, "percent": False, "metric": "RMSE"})
    assert lower is not None
    assert lower.costs is not None
    assert "bottom left" in lower.costs.caption
    assert lower.plot is not None
    assert "lower is better" in lower.plot.axis


def test_missing_figures_leave_what_is_known(tmp_path: Path) -> None:
    board = board_json(4)
    board["rows"][1].update(low=None, high=math.nan, seconds=None, memory=None, chance=None, licence="")
    board["rows"][2].update(predicted=None)
    reader = page_of(board, tmp_path)
    assert reader.open == []
    view = ranking_view(board)
    assert view is not None
    assert view.costs is None  # one candidate alone has both figures
    assert view.plot is not None
    assert [row.low is None for row in view.plot.rows] == [False, True]
    assert ranking_view({}) is None
    assert ranking_view({"rows": [{"name": "only this is known"}]}) is not None


def test_a_board_in_which_all_failed_says_so(tmp_path: Path) -> None:
    rows = [row | {"decision": "failed", "predicted": None} for row in board_json(2)["rows"]]
    assert "NO SOURCE" in page_of(board_json(2, rows=rows, best=None), tmp_path).text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    board = board_json(3, sentence=EVIL, skipped=[EVIL])
    board["rows"][0] |= {"name": EVIL, "reason": EVIL, "licence": EVIL}
    reader = page_of(board, tmp_path, data=EVIL, next_line=EVIL)
    assert not {"script", "img"} & {tag for tag, _ in reader.tags}
    assert "<script>alert(2)</script>" in reader.text


def test_a_run_shows_the_ranking_that_chose_its_source(make: Make) -> None:
    folder = make("proven", ranking=board_json(4))
    text = Reader(write_report(folder).read_text(encoding="utf-8")).text
    assert "Which source" in text
    assert "83.6% (80.5 to 86.7) with lpft" in text
    (folder / "ranking.json").unlink()
    assert "Which source" not in Reader(write_report(folder).read_text(encoding="utf-8")).text


def test_a_board_has_no_figure_that_json_does_not_know() -> None:
    from regraft.choosing.ranking.row import Row

    row = Row("a", "failed", "why", predicted=math.nan, low=math.inf)
    assert json.loads(json.dumps(row.to_json(), allow_nan=False))["predicted"] is None


def test_names_are_short_and_stay_different() -> None:
    assert short_names(["timm:resnet18", "packaged:lite0"]) == ["resnet18", "lite0"]
    assert short_names(["timm:resnet18", "hf:resnet18"]) == ["timm:resnet18", "hf:resnet18"]
    long = ["a" * 30 + "1" + "b" * 30, "a" * 30 + "2" + "b" * 30]
    assert short_names(long) == long  # cut they would be the same
    assert short_names(["vit_base_patch16_224.augreg_in21k_ft_in1k"]) == ["vit_base_pa…n21k_ft_in1k"]


@pytest.mark.parametrize(
    ("seconds", "texts"),
    [
        ((146, 227), ["2.5 min", "3 min", "3.5 min"]),
        ((2, 70), ["2 s", "5 s", "10 s", "20 s", "1 min"]),
        ((900, 20_000), ["20 min", "1 h", "2 h", "5 h"]),
    ],
)
def test_times_on_an_axis_are_round(seconds: tuple[float, float], texts: list[str]) -> None:
    axis = log_axis(seconds)
    assert axis is not None
    assert [tick.text for tick in clock_ticks(axis)] == texts
