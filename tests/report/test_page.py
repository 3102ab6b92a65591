"""What the page says, without a browser."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

import regraft.report
from regraft.core.errors import BundleError
from regraft.report import write_report

Make = Callable[..., Path]


class Reader(HTMLParser):
    """Collects tags with their attributes, and the visible text."""

    VOID = ("meta", "link", "img", "br", "wbr", "path", "rect", "circle", "line")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def read(folder: Path) -> Reader:
    return Reader(write_report(folder).read_text(encoding="utf-8"))


def test_the_room_shows_what_it_promises() -> None:
    assert sorted(regraft.report.__all__) == [
        "write_card",
        "write_link_page",
        "write_ranking_page",
        "write_report",
    ]


def test_every_page_is_whole_small_and_self_contained(any_folder: Path) -> None:
    place = write_report(any_folder)
    page = place.read_text(encoding="utf-8")
    reader = Reader(page)
    assert place == any_folder / "report.html"
    assert reader.open == []
    assert len(page.encode()) < 2_000_000
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link-", "form", "base"}
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "data", "action", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/", "data:,")), (tag, attributes)
    assert "url(" not in page
    assert "@import" not in page


def test_the_verdict_comes_first_in_word_and_sentence(make: Make) -> None:
    text = read(make("proven")).text
    assert text.index("HELPED The source helped: lpft is 4.8 points") < text.index("What was asked")
    for figure in ("83.6% (80.5 to 86.7)", "+4.8 points", "720,002", "21.3% of 3,373,586", "86 s"):
        assert figure in text
    assert "more than 0.5 points" in text
    assert "test labels were read" in text
    assert "regraft fit 'solar cells/' --out runs/solar --strategy lpft" in text


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("digits", "HARMED"),
        ("multilabel", "EQUIVALENT"),
        ("regression", "INCONCLUSIVE"),
        ("sixty", "NOT PROVEN YET"),
    ],
)
def test_each_verdict_has_its_word(make: Make, kind: str, word: str) -> None:
    assert word in read(make(kind)).text.split("What was asked")[0]


def test_a_run_that_was_not_proven_says_what_to_type(make: Make) -> None:
    folder = make("sixty")
    assert f"regraft prove {folder}" in read(folder).text


def test_an_unfinished_run_says_so_in_every_section_that_is_missing(make: Make) -> None:
    folder = make("unfinished")
    text = read(folder).text
    assert "This run was interrupted. Stopped at step 412 of 600." in text
    assert "The final figures are not there" in text
    assert "The link between source and target has not been written yet." in text
    assert text.count(f"regraft resume {folder}") >= 6
    assert "regraft predict" not in text


@pytest.mark.parametrize(
    "missing", ["run", "link", "history", "metrics", "evidence", "ranking", "plan", "unreadable", "target"]
)
def test_any_file_may_be_missing(make: Make, missing: str) -> None:
    assert read(make("proven", **{missing: None})).open == []


def test_empty_objects_are_as_good_as_missing_files(make: Make) -> None:
    names = ("run", "target", "link", "metrics", "evidence", "ranking")
    assert read(make("proven", **{name: {} for name in names})).open == []


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no run.*regraft fit DATA --out"):
        write_report(tmp_path)


def test_a_damaged_file_is_named(make: Make) -> None:
    with pytest.raises(BundleError, match=r"metrics\.json is damaged.*regraft report"):
        write_report(make("proven", metrics="{"))


def test_a_last_line_cut_short_by_a_crash_is_left_out(make: Make) -> None:
    folder = make("proven")
    with open(folder / "history.jsonl", "a", encoding="utf-8") as stream:
        stream.write('\n{"stage": "tune", "ki')
    assert "Stage tune" in read(folder).text


def test_hostile_strings_are_shown_and_do_nothing(make: Make) -> None:
    reader = read(make("hostile"))
    assert "<script>alert(2)</script>" in reader.text
    assert "javascript:" not in str(reader.tags)
    pictures = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert pictures == []
    assert "pictures are not shown" in reader.text


def test_pictures_give_way_when_the_page_grows_too_large(make: Make) -> None:
    big = "data:image/jpeg;base64," + base64.b64encode(bytes(150_000)).decode()
    folder = make("proven")
    target = json.loads((folder / "target.json").read_text())
    target["preview"] = [entry | {"thumbnail": big} for entry in target["preview"]]
    (folder / "target.json").write_text(json.dumps(target))
    place = write_report(folder)
    assert place.stat().st_size < 2_000_000
    assert "pictures are not shown" in Reader(place.read_text()).text


def test_many_classes_become_the_most_confused_pairs(make: Make) -> None:
    reader = read(make("sixty"))
    assert "With 60 classes a whole confusion matrix is not readable" in reader.text
    assert "matrix" not in [attributes.get("class") for tag, attributes in reader.tags if tag == "table"]


def test_a_matrix_that_was_not_kept_is_not_taken_for_no_mistakes(make: Make) -> None:
    folder = make("sixty")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["outputs"]["species"]["confusion"] = None
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert "No confusion matrix was kept" in read(folder).text
    metrics["outputs"]["species"]["confusion"] = [[5 * (i == j) for j in range(60)] for i in range(60)]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert "No test example was taken for another class." in read(folder).text


def test_arms_with_and_without_a_source_differ_by_shape_and_by_word(make: Make) -> None:
    page = write_report(make("proven")).read_text(encoding="utf-8")
    section = page.split('id="arms"')[1].split("Paired differences")[0]
    rows = re.findall(r'<div class="dot(?: strong)?" role.*?\n  </div>', section, re.DOTALL)
    arms = {row: 'class="hollow"' in row for row in rows}
    assert len(arms) == 4
    assert all(hollow == ("no source" in row) for row, hollow in arms.items())


def test_regression_is_in_its_own_unit(make: Make) -> None:
    text = read(make("regression")).text
    assert "44.87 (41.57 to 48.17)" in text
    assert "\N{MINUS SIGN}0.6 (\N{MINUS SIGN}5.7 to +4.4)" in text
    assert "Predicted against true value" in text


def test_secrets_in_the_command_are_not_repeated(make: Make) -> None:
    folder = make("unfinished")
    run = json.loads((folder / "run.json").read_text())
    run["command"] = ["regraft", "fit", "d", "--token", "abc123", "--api-key=xyz789"]
    (folder / "run.json").write_text(json.dumps(run))
    page = write_report(folder).read_text()
    assert "abc123" not in page
    assert "xyz789" not in page
    assert "--token HIDDEN --api-key=HIDDEN" in page


def test_a_run_whose_data_lived_in_memory_is_called_as_its_folder(tmp_path: Path) -> None:
    for path in ("solar-cells/data", "solar-cells/data/data.parquet"):
        folder = tmp_path / "solar-cells"
        folder.mkdir(exist_ok=True)
        (folder / "run.json").write_text('{"format": 1, "status": "running"}')
        (folder / "target.json").write_text(json.dumps({"origin": {"path": f"{tmp_path}/{path}"}}))
        assert "<h1>solar-cells</h1>" in write_report(folder).read_text(encoding="utf-8")
