"""``rg.link``: every kind of source and target, saved links, and mistakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import regraft as rg
from regraft.linking.coverage import measure_source
from regraft.linking.saving import describe_link, load_link_file, save_link
from regraft.linking.showing.drawing import outline_of
from regraft.linking.whole import WholeBlueprint

NETWORKS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, depth=3, width=8):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(depth)])
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        for block in self.blocks:
            x = x + block(x).relu()
        return self.head(x.mean((2, 3)))

def build():
    return Net()

def deeper():
    return Net(5)

def wider():
    return Net(width=12)

def pretrained():
    torch.manual_seed(0)
    return Net()

def number():
    return 7
"""
IMAGES = torch.zeros(2, 3, 16, 16)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a module of networks and a checkpoint of one of them."""
    (tmp_path / "linknets.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import linknets

    save_file(linknets.pretrained().state_dict(), tmp_path / "weights.safetensors")
    yield tmp_path
    sys.modules.pop("linknets", None)


def same(model: nn.Module) -> bool:
    import linknets

    wanted = linknets.pretrained().state_dict()
    return all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("source", ["weights.safetensors", "file:weights.safetensors", "linknets:pretrained"])
@pytest.mark.parametrize("target", ["linknets:build", "function", "module"])
def test_any_source_goes_to_any_target(nets: Path, source: str, target: str) -> None:
    import linknets

    handed = {"function": linknets.build, "module": linknets.build()}.get(target, target)
    link = rg.link(source, handed, inputs=IMAGES).require(1.0)
    model = link.load()
    assert type(model).__name__ == "Net"
    assert same(model)
    assert link.origin.runs == (source == "linknets:pretrained")


def test_a_module_and_a_file_with_its_network_can_be_run(nets: Path) -> None:
    import linknets

    from_memory = rg.link(linknets.pretrained(), linknets.build, inputs=IMAGES)
    from_file = rg.link("weights.safetensors", linknets.build, builder="linknets:build")
    assert from_memory.origin.runs
    assert from_file.origin.runs
    assert from_file.origin.name == "weights.safetensors"
    assert from_file.verify(IMAGES).proven


def test_a_name_is_a_network_without_weights(nets: Path) -> None:
    link = rg.link("packaged:efficientnet-lite0", "packaged:efficientnet-lite0", size=64)
    assert link.blueprint.name == "packaged:efficientnet-lite0"
    assert not link.uncovered
    assert [note for note in link.notes if note.startswith("preprocessing: ")]
    assert not [row for row in link.rows if row.target.startswith("heads.")]


def test_classes_are_kept_for_the_head(nets: Path) -> None:
    link = rg.link("weights.safetensors", "linknets:build", inputs=IMAGES, classes=("a", "b"))
    assert isinstance(link.blueprint, WholeBlueprint)
    assert link.blueprint.classes == ("a", "b")


@pytest.mark.parametrize(
    ("source", "target", "options", "error", "message"),
    [
        ("wieghts.safetensors", "linknets:build", {}, rg.SourceError, "there is no source 'wieghts"),
        ("file:wights.safetensors", "linknets:build", {}, rg.SourceError, "Did you mean weights.safetensors"),
        ("linknet:pretrained", "linknets:build", {}, rg.SourceError, "there is no module 'linknet'"),
        ("linknets:number", "linknets:build", {}, rg.UsageError, "gave a int, not an nn.Module"),
        ("weights.safetensors", "linknets:biuld", {}, rg.UsageError, "has no attribute 'biuld'"),
        ("weights.safetensors", "linknest:build", {}, rg.UsageError, "no module 'linknest'"),
        ("weights.safetensors", "nowhere", {}, rg.UsageError, "there is no target 'nowhere'"),
        ("weights.safetensors", "packaged:efficientnet-lite9", {}, rg.SourceError, "efficientnet-lite"),
        ("weights.safetensors", "linknets:number", {}, rg.UsageError, "gave a int"),
        ("weights.safetensors", ".", {}, rg.UsageError, "names no network"),
        (".", "linknets:build", {}, rg.SourceError, "the source comes first: regraft link SOURCE TARGET"),
        ("weights.safetensors", "linknets:build", {"head": "h"}, rg.UsageError, "holds tensors alone"),
        ("weights.safetensors", "linknets:build", {"maps": ["head"]}, rg.UsageError, "'REGEX=>TO'"),
        ("weights.safetensors", "linknets:build", {"maps": ["(=>x"]}, rg.UsageError, "no regular expression"),
        ("weights.safetensors", "linknets:deeper", {"waivers": ["x*"]}, rg.LinkError, "nothing to waive"),
    ],
)
def test_a_mistake_names_what_was_tried(
    nets: Path, source: str, target: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    if target == ".":
        for name in ("cats", "dogs"):
            (nets / name).mkdir()

        for number in range(8):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(
                nets / ("cats", "dogs")[number % 2] / f"{number}.png"
            )
        target = str(nets)
    with pytest.raises(error, match=message):
        rg.link(source, target, inputs=IMAGES, **options)  # type: ignore[arg-type]


def test_a_saved_link_is_applied_without_searching(
    nets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rg.link("weights.safetensors", "linknets:build", inputs=IMAGES)
    place = save_link(found, tmp_path / "link.json")

    def search(*given: object, **more: object) -> None:
        raise AssertionError("nothing is to be searched")

    monkeypatch.setattr("regraft.api.link.find_link", search)
    again = rg.link("weights.safetensors", "linknets:build", inputs=IMAGES, saved=place)
    assert again.rows == found.rows
    assert same(again.load())
    assert load_link_file(place, found.origin, found.blueprint).unused == found.unused


def test_a_saved_link_of_others_is_refused(nets: Path, tmp_path: Path) -> None:
    place = save_link(rg.link("weights.safetensors", "linknets:build", inputs=IMAGES), tmp_path / "link.json")
    with pytest.raises(rg.LinkError, match=r"the link says nothing about blocks\.3\.weight") as caught:
        rg.link("weights.safetensors", "linknets:deeper", inputs=IMAGES, saved=place)
    assert "Search anew" in str(caught.value)
    with pytest.raises(rg.LinkError, match=r"stem\.weight is 12x3x3x3 and not 8x3x3x3"):
        rg.link("weights.safetensors", "linknets:wider", inputs=IMAGES, saved=place)
    with pytest.raises(rg.LinkError, match=r"stem\.weight is 12x3x3x3"):
        rg.link("linknets:wider", "linknets:build", inputs=IMAGES, saved=place)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no saved link"),
        ("{", "cannot be read as a saved link"),
        ("{}", "has no rows"),
        ("[]", "has no rows"),
        ('{"rows": [{"a": 1}], "unused": []}', "is no link that this version can read"),
    ],
)
def test_a_broken_saved_link_is_named(nets: Path, text: str | None, message: str) -> None:
    if text is not None:
        (nets / "link.json").write_text(text)
    with pytest.raises(rg.UsageError, match=message):
        rg.link("weights.safetensors", "linknets:build", inputs=IMAGES, saved="link.json")


def test_maps_are_for_a_search(nets: Path) -> None:
    with pytest.raises(rg.UsageError, match="applied without searching"):
        rg.link("weights.safetensors", "linknets:build", inputs=IMAGES, saved="x.json", maps=["a=>b"])


def test_what_is_left_of_the_source_is_measured_and_drawn(nets: Path) -> None:
    import linknets

    small = nn.Sequential()
    small.add_module("stem", linknets.build().stem)
    link = rg.link("weights.safetensors", small, inputs=IMAGES)
    mass = measure_source(link)
    kept = 8 * 3 * 9 + 8
    assert mass.parameters == sum(p.numel() for p in linknets.build().parameters())
    assert mass.unused == mass.parameters - kept
    assert 0 < mass.share < 1
    outline = outline_of(link)
    names = [block["block"] for block in outline["source"]]
    assert names == ["stem", "blocks.0", "blocks.1", "blocks.2", "head"]
    assert sum(block["unused_parameters"] for block in outline["source"]) == mass.unused
    assert outline["links"] == [{"source": 0, "target": 0, "copied": 2, "adapted": 0}]
    assert [link.rows[place].target for place in outline["target"][0]["rows"]] == ["stem.weight", "stem.bias"]
    described = describe_link(link)
    assert json.loads(json.dumps(described))["outline"] == outline


def test_blocks_of_a_sorted_file_stand_in_the_order_of_the_network(nets: Path) -> None:
    import linknets

    save_file(linknets.Net(12).state_dict(), "long.safetensors")
    outline = outline_of(rg.link("long.safetensors", "linknets:deeper", inputs=IMAGES))
    names = [block["block"] for block in outline["source"]]
    assert names == ["stem", *(f"blocks.{number}" for number in range(12)), "head"]
