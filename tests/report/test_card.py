"""The model card."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from regraft.core.errors import BundleError
from regraft.report import write_card
from regraft.report._card import block, escape

Make = Callable[..., Path]
SECTIONS = ["What it is", "Data", "Source and licence", "Figures", "Verdict", "How to predict", "Limits"]


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(text))


def test_every_card_has_its_sections(any_folder: Path) -> None:
    place = write_card(any_folder)
    assert place == any_folder / "README.md"
    headings = re.findall(r"^## (.*)$", place.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[: len(SECTIONS)] == SECTIONS


def test_the_card_says_what_matters(make: Make) -> None:
    folder = make("proven")
    text = write_card(folder).read_text(encoding="utf-8")
    for part in (
        "**HELPED**: The source helped",
        "| licence | Apache-2.0 |",
        "| label | accuracy | 83.6% (80.5 to 86.7) |",
        "| SVM on 32 x 32 pixels (reference) | no source |",
        f"regraft predict {folder.name} ITEM..",
        "Classes of label: sound, defective.",
    ):
        assert part in text
    assert rendered(text).count("<table>") == 5


def test_a_card_of_an_unproven_run_says_so_among_the_limits(make: Make) -> None:
    text = write_card(make("sixty")).read_text(encoding="utf-8")
    assert "- It is not proven that the source helped." in text
    assert "```sh\nregraft prove " in text


def test_hostile_strings_stay_text(make: Make) -> None:
    html = rendered(write_card(make("hostile")).read_text(encoding="utf-8"))
    assert not re.search(r"<(script|img|svg|a|b|style)\b", html)
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in html
    assert re.findall(r"<h1>(.*?)</h1>", html) == [re.findall(r"<h1>(.*?)</h1>", html)[0]]


@pytest.mark.parametrize(
    "text",
    [
        "# no heading",
        "1. no list",
        "- no list",
        "a | b",
        "*no* _stress_",
        "`no code`",
        "<b>no tag</b>",
        "&lt;",
    ],
)
def test_whatever_is_escaped_reads_as_it_was_written(text: str) -> None:
    html = rendered(escape(text))
    plain = html.removeprefix("<p>").removesuffix("</p>\n")
    for entity, letter in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        plain = plain.replace(entity, letter)
    assert plain == text


def test_a_fence_is_longer_than_any_inside() -> None:
    html = rendered(block("a ``` b\n````\n<i>", "sh"))
    assert html.count("<pre>") == 1
    assert html.endswith("&lt;i&gt;\n</code></pre>\n")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no run"):
        write_card(tmp_path)
