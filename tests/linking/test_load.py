"""Loading a link: tensor by tensor, with recipes and fixes, from its file, and not where it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from regraft.core.errors import LinkError
from regraft.linking import Link, find_link
from regraft.linking.fixes.fix import Fix
from regraft.linking.load import load_link
from regraft.linking.origin import Origin
from regraft.linking.recipe import Recipe
from regraft.linking.row import Row
from regraft.linking.saving import load_link_file, save_link
from regraft.linking.sparing import build_sparing
from regraft.linking.whole import WholeBlueprint
from regraft.sources import checkpoint as checkpoints

Tensors = dict[str, Tensor]


class Attention(nn.Module):
    """Fused q, k and v, and a norm behind a convolution, under names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.qkv = nn.Linear(4, 12)
        self.out = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.norm(self.stem(pixels)).flatten(2).transpose(1, 2)
        query, key, value = self.qkv(tokens).chunk(3, dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        given: Tensor = self.head(self.out(mixed).mean(1))
        return given


@pytest.fixture
def stored() -> Tensors:
    """The tensors of another network: q, k and v apart, the stem transposed, in half precision or not."""
    torch.manual_seed(0)
    made = {f"attention.{part}.weight": torch.randn(4, 4) for part in "qkv"}
    made |= {f"attention.{part}.bias": torch.randn(4) for part in "qkv"}
    made |= {"stem.kernel": torch.randn(3, 4), "stem.bias": torch.randn(4)}
    made |= {f"norm.{name}": torch.rand(4) for name in ("weight", "bias", "running_mean", "running_var")}
    made |= {"out.weight": torch.randn(4, 4).half(), "out.bias": torch.randn(4).double()}
    return made | {"head.weight": torch.randn(3, 4), "head.bias": torch.randn(3)}


@pytest.fixture
def path(tmp_path: Path, stored: Tensors) -> Path:
    file = tmp_path / "weights.safetensors"
    save_file(stored, file)
    return file


def row(target: str, recipe: Recipe | str, stored: Tensors, **changes: object) -> Row:
    """A row that takes what ``recipe`` says, or the tensor of this name as it is."""
    place = Attention().state_dict()[target]
    first = recipe if isinstance(recipe, str) else next(iter(recipe.sources), None)
    made = Row(
        target,
        first,
        "by hand",
        "" if isinstance(recipe, str) else recipe.sentence,
        tuple(place.shape),
        tuple(stored[first].shape) if first else None,
        "copied" if isinstance(recipe, str) else "adapted",
        "shared",
        recipe=None if isinstance(recipe, str) else recipe,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def link(path: Path, stored: Tensors) -> Link:
    """Every kind of row: copied, cast, fused, transposed, constant, some rows fresh, wholly fresh."""
    stem = Recipe(("stem.kernel",)).then("permute", dims=[1, 0]).then("reshape", shape=[4, 3, 1, 1])
    head = [2, -1, 0, -1, 1]
    counted = Row(
        "norm.num_batches_tracked", None, "computed", "", (), None, "fresh", "specific", kind="buffer"
    )
    rows = (
        row("stem.weight", stem, stored),
        row("stem.bias", "stem.bias", stored),
        *(row(f"norm.{name}", f"norm.{name}", stored) for name in ("weight", "bias")),
        *(
            row(f"norm.{name}", f"norm.{name}", stored, kind="buffer")
            for name in ("running_mean", "running_var")
        ),
        counted,
        *(
            row(
                f"qkv.{name}",
                Recipe(tuple(f"attention.{part}.{name}" for part in "qkv")).then("concatenate"),
                stored,
            )
            for name in ("weight", "bias")
        ),
        row("out.weight", "out.weight", stored, action="adapted"),
        row("out.bias", "out.bias", stored, action="adapted"),
        row("head.weight", Recipe(("head.weight",)).then("rows", picks=head), stored),
        row("head.bias", Recipe(("head.bias",)).then("rows", picks=head), stored),
    )
    return Link(Origin(str(path), file=path), WholeBlueprint("attention", Attention), rows)


def test_every_recipe_is_applied(link: Link, stored: Tensors) -> None:
    model = link.load()
    state = model.state_dict()
    assert not model.training
    assert torch.equal(state["stem.weight"][:, :, 0, 0], stored["stem.kernel"].T)
    for name in ("weight", "bias"):
        assert torch.equal(state[f"qkv.{name}"], torch.cat([stored[f"attention.{p}.{name}"] for p in "qkv"]))
        assert torch.equal(state[f"out.{name}"], stored[f"out.{name}"].float())
        assert torch.equal(state[f"head.{name}"][[0, 2, 4]], stored[f"head.{name}"][[2, 0, 1]])
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(state["norm.running_var"], stored["norm.running_var"])
    model.train()(torch.randn(2, 3, 4, 4)).sum().backward()


def test_rows_of_a_head_that_nothing_reaches_are_initialised_and_repeat(link: Link) -> None:
    first, again, other = link.load(), link.load(), replace(link, seed=1).load()
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight[1], other.head.weight[1])
    assert torch.equal(first.head.weight[0], other.head.weight[0])
    assert first.head.weight[[1, 3]].abs().max() <= 0.5


def test_a_module_handed_over_keeps_what_is_fresh_and_stays_as_it_is(link: Link, stored: Tensors) -> None:
    module = Attention()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = replace(link, blueprint=WholeBlueprint("attention", module)).load().state_dict()
    assert torch.equal(state["head.weight"][1], before["head.weight"][1])
    assert torch.equal(state["stem.bias"], stored["stem.bias"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_each_tensor_is_read_once_and_alone(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = checkpoints.Checkpoint.read

    def counting(self: checkpoints.Checkpoint, name: str) -> Tensor:
        read.append(name)
        return original(self, name)

    monkeypatch.setattr(checkpoints.Checkpoint, "read", counting)
    link.load()
    assert sorted(read) == sorted(name for row in link.rows for name in row.sources)


def test_what_is_shared_and_uncovered_is_said(link: Link, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tuple(
        replace(row, action="fresh", source=None, source_shape=None, recipe=None, rule="nothing like it")
        if row.target.startswith("out.")
        else row
        for row in link.rows
    )
    lacking = replace(link, rows=rows, required=0.5)
    lacking.load()
    said = capsys.readouterr().err
    assert "2 shared tensors receive nothing and start fresh" in said
    assert "out." in said
    assert "nothing like it" in said
    with pytest.raises(LinkError, match=r"(?s)95\.0% was required.*out\.weight \(4x4\): nothing like it"):
        replace(lacking, required=0.95).load()


def test_a_saved_link_is_applied_without_searching(
    link: Link, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save_link(link, tmp_path / "link.json")
    monkeypatch.setattr("regraft.linking.finding.search.find_link", None)
    read = load_link_file(file, Origin(str(path), file=path), WholeBlueprint("attention", Attention))
    assert read.rows == link.rows
    ours, theirs = read.load().state_dict(), link.load().state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_saved_link_on_other_files_lists_what_does_not_fit(
    link: Link, tmp_path: Path, stored: Tensors
) -> None:
    file = save_link(link, tmp_path / "link.json")
    del stored["norm.bias"]
    stored["stem.kernel"] = torch.zeros(2, 4)
    other = tmp_path / "other.safetensors"
    save_file(stored, other)
    with pytest.raises(LinkError) as caught:
        load_link_file(file, Origin(str(other), file=other), WholeBlueprint("attention", Attention))
    assert "the source has no norm.bias" in str(caught.value)
    assert "stem.kernel is 2x4 and not 3x4" in str(caught.value)


def test_fixes_are_set_in_what_is_loaded(link: Link) -> None:
    fixed = replace(link, blueprint=link.blueprint.fixed((Fix("eps", ("norm",), 0.25, 1e-5),)))
    model, plain = fixed.load(), link.load()
    assert (model.norm.eps, plain.norm.eps) == (0.25, 1e-5)
    pixels = torch.randn(1, 3, 2, 2)
    with torch.no_grad():
        assert not torch.allclose(model(pixels), plain(pixels))


def test_a_module_without_memory_is_refused(stored: Tensors, path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(4, 4)
            self.register_buffer("scale", torch.ones(4), persistent=False)

    with torch.device("meta"):
        module = Scaled()
    rows = tuple(row(f"out.{name}", f"out.{name}", stored, action="adapted") for name in ("weight", "bias"))
    link = Link(Origin(str(path), file=path), WholeBlueprint("scaled", module), rows)
    with pytest.raises(
        LinkError,
        match=r"scaled has 1 tensors without memory that no source fills: scale\. Hand over a function",
    ):
        link.load()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(("head.weight",)), r"stem\.bias is \(4,\); head\.weight \(\) gives \(3, 4\)"),
        (
            Recipe(("stem.bias",)).then("reshape", shape=[7]),
            r"stem\.bias cannot be made of stem\.bias: shape '\[7\]' is invalid",
        ),
        (
            Recipe(("attention.q.bias", "attention.k.bias")).then("concatenate"),
            r"stem\.bias is \(4,\); attention\.q\.bias, attention\.k\.bias \(fused\) gives \(8,\)",
        ),
        ("head.weight", r"stem\.bias is \(4,\), and head\.weight, copied as it is, \(3, 4\)"),
    ],
)
def test_a_recipe_that_gives_another_shape_is_refused(
    link: Link, stored: Tensors, recipe: Recipe | str, message: str
) -> None:
    wrong = row("stem.bias", recipe, stored)
    rows = tuple(wrong if one.target == wrong.target else one for one in link.rows)
    with pytest.raises(LinkError, match=message):
        replace(link, rows=rows).load()


class Tied(nn.Module):
    """One matrix that reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.write = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.write.weight = self.read.weight

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = self.write(torch.tanh(self.read(x)))
        return given


def test_tied_weights_stay_tied(path: Path, stored: Tensors) -> None:
    origin = Origin(str(path), file=path)
    names = ("read.weight", "write.weight")
    rows = tuple(
        Row(name, "attention.q.weight", "by hand", "", (4, 4), (4, 4), "copied", "shared") for name in names
    )
    link = Link(origin, WholeBlueprint("tied", Tied), rows)
    model = link.load()
    assert model.read.weight is model.write.weight
    assert torch.equal(model.read.weight, stored["attention.q.weight"])
    torn = (rows[0], replace(rows[1], source="attention.k.weight"))
    with pytest.raises(
        LinkError, match=r"read\.weight and write\.weight are one tensor and would receive different"
    ):
        replace(link, rows=torn).load()


def test_a_link_found_is_a_link_loaded(path: Path, stored: Tensors) -> None:
    """From the search to the weights, for the tensors that only names speak for."""

    def build() -> nn.Module:
        return nn.ModuleDict({"norm": nn.BatchNorm2d(4), "head": nn.Linear(4, 3)})

    link = find_link(Origin(str(path), file=path), WholeBlueprint("parts", build))
    state = load_link(link).state_dict()
    for name in ("norm.weight", "norm.bias", "head.weight", "head.bias"):
        assert torch.equal(state[name], stored[name])


class Counted(nn.Module):
    """Says which of its parts were given numbers of their own."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.body, self.head = make(), nn.Linear(4, 3)
        nn.init.constant_(self.head.weight, 0.5)


def test_only_what_is_kept_has_memory() -> None:
    def build() -> Counted:
        return Counted(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))

    model = build_sparing(build, {"head.weight", "head.bias", "body.1.running_mean"})
    real = {name for name, parameter in model.named_parameters() if not parameter.is_meta}
    assert real == {"head.weight", "head.bias"}
    assert (model.head.weight == 0.5).all()
    assert not any(buffer.is_meta for buffer in model.buffers())


def test_all_has_memory_where_modules_are_copied_or_made_of_each_other() -> None:
    def copied() -> nn.Module:
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def derived() -> nn.Module:
        network = Counted(lambda: nn.Linear(4, 3))
        with torch.no_grad():
            network.head.bias.copy_(network.body.get_parameter("bias"))
        return network

    for build, name in ((copied, "layers.1.linear1.weight"), (derived, "head.bias")):
        assert not any(parameter.is_meta for parameter in build_sparing(build, {name}).parameters())
