"""What a page says about a link, with and without the blocks of both sides."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from regraft.report import write_link_page
from regraft.report._blocks import STEP, picture_of
from regraft.report._link import view_of
from tests.report.conftest import EVIL, chain_link
from tests.report.test_page import Reader

Json = dict[str, Any]


def page_of(link: Json, proof: Json | None, tmp_path: Path) -> Reader:
    return Reader(write_link_page(link, proof, tmp_path / "link.html").read_text(encoding="utf-8"))


def test_short_networks_are_shown_block_by_block() -> None:
    picture = picture_of(chain_link(4))
    assert picture is not None
    assert [box.name for box in picture.source] == ["stem", *(f"layer.{i}" for i in range(4)), "classifier"]
    assert [box.state for box in picture.source][-1] == "unused"
    assert [box.state for box in picture.target] == [
        "adapted",
        "copied",
        "copied",
        "copied",
        "copied",
        "fresh",
    ]
    assert [curve.tone for curve in picture.curves] == ["adapted", *["copied"] * 4]
    assert picture.height == 6 * STEP
    assert not picture.folded


def test_long_networks_are_folded_alike_on_both_sides() -> None:
    picture = picture_of(chain_link(200))
    assert picture is not None
    assert [box.name for box in picture.source] == ["stem", "layer.{0…199}", "classifier"]
    assert [box.name for box in picture.target] == ["stem", "blocks.{0…199}", "head label"]
    assert picture.curves[1].said == "layer.{0…199} to blocks.{0…199}: 200 copied"
    assert picture.folded
    assert picture.target[1].untold == 200 - len(picture.target[1].rows)


def test_a_block_that_did_not_carry_over_is_not_folded_away() -> None:
    link = chain_link(40)
    link["rows"][21].update(action="fresh", source=None)
    block = link["outline"]["target"][21]
    block.update(copied=0, fresh=1)
    picture = picture_of(link)
    assert picture is not None
    assert [box.name for box in picture.target] == [
        "stem",
        "blocks.{0…19}",
        "blocks.20",
        "blocks.{21…39}",
        "head label",
    ]
    assert picture.target[2].state == "fresh"


@pytest.mark.parametrize(
    "broken", [{}, [], None, {"source": [], "target": [], "links": []}, {"source": [{}]}]
)
def test_a_link_without_blocks_is_told_without_a_picture(broken: Any, tmp_path: Path) -> None:
    link = chain_link(4) | {"outline": broken}
    assert view_of(link).picture is None
    reader = page_of(link, None, tmp_path)
    assert reader.open == []
    assert "Row by row" in reader.text


def test_the_page_says_the_proof_and_what_was_decided(tmp_path: Path) -> None:
    link = chain_link(4)
    link |= {"waivers": ["head.*"], "maps": ["a=>b"], "notes": ["prefix 'module.' stripped"]}
    link["fixes"] = [{"kind": "eps", "modules": ["a", "b"], "value": 1e-3, "was": 1e-5}]
    proof = {"proven": False, "sentence": "not proven: the outputs differ, first after blocks.2"}
    text = page_of(link, proof, tmp_path).text
    for said in (
        "NOT PROVEN",
        "The outputs differ, first after blocks.2",
        "Map: a=>b",
        "start fresh: head.*",
        "Set: eps of 2 modules to 0.001 (it was 1e-05)",
        "prefix 'module.' stripped",
        "of the source unused",
        "are left unused",
    ):
        assert said in text
    assert "PROVEN All" in page_of(link, {"proven": True, "sentence": "proven: all"}, tmp_path).text
    assert "NOT VERIFIED" in page_of(link, None, tmp_path).text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    link = copy.deepcopy(chain_link(3))
    link |= {"source": EVIL, "target": EVIL, "notes": [EVIL], "unused": [EVIL]}
    for row in link["rows"]:
        row["target"] = row["rule"] = EVIL
    link["outline"]["target"][0]["block"] = EVIL
    reader = page_of(link, {"proven": True, "sentence": EVIL}, tmp_path)
    assert reader.open == []
    assert not {tag for tag, _ in reader.tags} & {"script", "img"}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]


def test_the_page_is_self_contained(tmp_path: Path) -> None:
    page = write_link_page(chain_link(24), None, tmp_path / "deep" / "link.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 200_000
    assert "url(" not in page
    assert "http" not in page.replace("http-equiv", "")
