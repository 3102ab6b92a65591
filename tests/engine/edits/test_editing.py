"""A model with edits: what changes, what keeps its name, and that nothing is left of them."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regraft.core.errors import MissingPackageError, PlanError
from regraft.core.hashing import hash_tensors
from regraft.engine.edits import EDITS, Editing, edited
from regraft.engine.edits.edit import replace_module
from regraft.engine.freezing import decide_freeze
from regraft.engine.patterns import matches
from regraft.inference.structure import structure_hash
from regraft.linking import Grafted
from regraft.plans import EditSpec
from tests.engine.conftest import Bench

LORA = EditSpec(edit="lora", match=("two",), options={"rank": 2})


@pytest.fixture
def model(attention: Bench) -> Grafted:
    return attention.link().load().eval()


@pytest.fixture
def pixels(attention: Bench) -> dict[str, Tensor]:
    return attention.prepared.inputs.batch(attention.target.pool[:3])


def edit(model: Grafted, *specs: EditSpec) -> Editing:
    return Editing(model, specs, seed=0, stage="tune")


def test_lora_puts_two_narrow_matrices_beside_each_layer_of_a_block(model: Grafted) -> None:
    editing = edit(model, LORA)
    added = {name.removeprefix("trunk.network.") for name in model.edited.added}
    layers = ("attn.qkv", "attn.proj", "fc1", "fc2")
    assert added == {f"two.{layer}.lora_{side}.default.weight" for layer in layers for side in "AB"}
    assert set(model.edited.added.values()) == {"lora"}
    now = "trunk.network.two.fc1.base_layer.weight"
    assert model.edited.plain(now) == "trunk.network.two.fc1.weight"
    assert set(editing.tensors()) == set(model.edited.added)


def test_patterns_name_what_an_edit_added_and_plain_names_still_hold(model: Grafted) -> None:
    edit(model, LORA)
    freeze = decide_freeze(model, ("lora", "head"), "one")
    assert {n for n in freeze.trainable if not n.startswith("heads")} == set(model.edited.added)
    assert freeze.moving == {"two", "mean", "pool", "head"}
    assert matches(model, "trunk.network.two.fc1.base_layer.weight", ("two.fc1.weight",))
    assert not matches(model, "trunk.network.two.fc1.base_layer.weight", ("lora",))
    with pytest.raises(PlanError, match=r"no layer is called 'dora'; the blocks are .*, head, lora"):
        decide_freeze(model, ("dora",), None)


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
def test_an_edit_begins_as_nothing_and_leaves_nothing(
    model: Grafted, pixels: dict[str, Tensor], kind: str
) -> None:
    before, keys = hash_tensors(model.state_dict()), list(model.state_dict())
    modules, structure = dict(model.named_modules()), structure_hash(model.trunk, 0, 4)
    plain = model.trunk(pixels)
    with edited(model, (EditSpec(edit=kind, match=("two",)),)):
        assert torch.allclose(model.trunk(pixels), plain, atol=1e-6)
        assert not all(modules.get(name) is module for name, module in model.named_modules())
    assert hash_tensors(model.state_dict()) == before
    assert list(model.state_dict()) == keys
    assert dict(model.named_modules()) == modules
    assert structure_hash(model.trunk, 0, 4) == structure
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.edited.added
    assert not model.edited.renamed


def test_new_parameters_are_a_function_of_seed_and_stage(model: Grafted) -> None:
    drawn = []
    for seed, stage in ((0, "tune"), (0, "tune"), (1, "tune"), (0, "again")):
        torch.rand(3)  # whatever was drawn before
        editing = Editing(model, (LORA,), seed=seed, stage=stage)
        drawn.append(hash_tensors(editing.tensors()))
        editing.undo()
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_blocks_stay_and_a_cut_is_exact_in_front_of_edited_layers_and_behind_them(
    model: Grafted, pixels: dict[str, Tensor]
) -> None:
    names, prefix = model.trunk.block_names, structure_hash(model.trunk, 0, 2)
    editing = edit(model, LORA)
    with torch.no_grad():
        for tensor in editing.tensors().values():
            tensor.normal_(std=0.3)
        assert model.trunk.block_names == names == ("patches", "one", "two", "mean", "pool")
        assert structure_hash(model.trunk, 0, 2) == prefix  # so what is kept of it is read again
        whole = model.trunk(pixels)
        for end in ("one", "two"):
            cut = model.trunk.cut_after(end)
            activation = model.trunk.prefix(pixels, cut=cut)
            assert torch.equal(model.trunk.suffix(activation, pixels, cut=cut), whole)


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("network", ["attention", "convolutional"])
def test_merged_layers_compute_what_the_edited_ones_did(
    request: pytest.FixtureRequest, pixels: dict[str, Tensor], kind: str, network: str
) -> None:
    model = request.getfixturevalue(network).link().load().eval()
    inputs = {"inputs": ["two.fc2"]} if (kind, network) == ("ia3", "attention") else {}
    plain = model.trunk(pixels).detach()
    keys = list(model.state_dict())
    editing = edit(model, EditSpec(edit=kind, options=inputs))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in editing.tensors().values():
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
        changed = model.trunk(pixels)
        editing.merge()
        merged = model.trunk(pixels)
    assert float((merged - changed).norm() / changed.norm()) < 1e-5
    assert float((changed - plain).norm() / plain.norm()) > 1e-2
    assert list(model.state_dict()) == keys


def test_two_edits_share_a_stage_where_they_change_different_layers(model: Grafted) -> None:
    second = EditSpec(edit="ia3", match=("*.fc?",))
    editing = edit(model, EditSpec(edit="lora", match=("*.qkv",)), second)
    assert {kind: len(list(model.edited.added.values())) for kind in set(model.edited.added.values())}
    kinds = list(model.edited.added.values())
    assert (kinds.count("lora"), kinds.count("ia3")) == (4, 4)
    editing.undo()
    with pytest.raises(PlanError, match=r"'ia3' is to change '\*\.qkv', where it finds no layer"):
        edit(model, LORA, EditSpec(edit="lora", match=("one",)), EditSpec(edit="ia3", match=("*.qkv",)))
    assert not model.edited.added  # what the first ones changed was put back
    assert not any("lora" in name for name, _ in model.named_modules())


class Own(nn.Conv2d):
    """A convolution with padding of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1)))


@pytest.mark.parametrize(
    ("layer", "kinds"),
    [
        (nn.Linear(4, 4), {"lora", "dora", "ia3", "adapter"}),
        (nn.Conv2d(4, 4, 3, padding=1), {"lora", "dora", "ia3", "adapter", "parallel"}),
        (nn.Conv2d(4, 4, 3), {"lora", "dora", "ia3", "adapter"}),
        (nn.Conv2d(4, 4, 2, padding=1), {"lora", "dora", "ia3", "adapter"}),
        (nn.Conv1d(4, 4, 3), {"lora", "dora", "adapter"}),
        (nn.Conv2d(4, 4, 3, groups=4), set()),
        (nn.Conv2d(4, 4, 3, dilation=2), set()),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), set()),
        (Own(4, 4, 3), set()),
        (Own(4, 4, 1), {"lora", "dora", "ia3", "adapter"}),
        (nn.BatchNorm2d(4), {"stochnorm"}),
        (nn.LayerNorm(4), set()),
        (nn.LSTM(4, 4), set()),
        (nn.Embedding(4, 4), set()),
    ],
    ids=lambda given: str(sorted(given) if isinstance(given, set) else given),
)
def test_what_each_edit_can_change(layer: nn.Module, kinds: set[str]) -> None:
    assert {name for name, kind in EDITS.items() if kind({}).can_change(layer)} == kinds


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"edit": "lore"},
            r"no edit is called 'lore'; there are: lora, dora, ia3, adapter, .*norm",
        ),
        ({"edit": "lora", "options": {"rank": 0}}, r"rank of the edit 'lora' is .* 1 on; got 0.*use probe"),
        ({"edit": "dora", "options": {"rank": 1.5}}, r"rank of the edit 'dora' .* got 1\.5"),
        ({"edit": "lora", "options": {"alpha": -1}}, r"alpha of the edit 'lora' is above 0; got -1"),
        ({"edit": "lora", "options": {"dropout": 1}}, r"dropout of the edit 'lora' .* below 1; got 1"),
        ({"edit": "lora", "options": {"r": 4}}, r"takes no option r; it takes rank, alpha, dropout"),
        ({"edit": "ia3", "options": {"inputs": "fc2"}}, r"inputs .* is a list of patterns"),
        ({"edit": "ia3", "match": ["one"], "options": {"inputs": ["two.*"]}}, r"none of the edited layers"),
        ({"edit": "lora", "match": ["three"]}, r"'lora' is to change 'three'.*there are .*\.attn\.qkv"),
        ({"edit": "lora", "match": ["*norm?"]}, r"finds no layer that it can change \(Linear layers"),
        ({"edit": "stochnorm"}, r"changes batch norms with running statistics, and Sequential has none"),
        ({"edit": "stochnorm", "options": {"p": 2}}, r"p of the edit 'stochnorm' is from 0 to 1; got 2"),
    ],
)
def test_a_wrong_edit_says_what_there_is(model: Grafted, spec: dict[str, Any], message: str) -> None:
    before = dict(model.named_modules())
    with pytest.raises(PlanError, match=message):
        edit(model, EditSpec.model_validate(spec))
    assert dict(model.named_modules()) == before
    assert model.trunk.block_names == ("patches", "one", "two", "mean", "pool")


def test_without_peft_the_line_that_installs_it(model: Grafted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'regraft\[peft\]'"):
        edit(model, LORA)


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "ia3 of inputs"])
def test_merged_weights_are_those_of_the_papers_formula(model: Grafted, kind: str) -> None:
    name, _, inputs = kind.partition(" ")
    layer = model.trunk.network.get_submodule("two.fc2")
    assert isinstance(layer, nn.Linear)
    W, b = layer.weight.detach().clone(), layer.bias.detach().clone()
    options = {"inputs": ["two.fc2"]} if inputs else {"rank": 2} if name != "ia3" else {}
    editing = edit(model, EditSpec(edit=name, match=("two.fc2",), options=options))
    own = {key.split("fc2.")[1]: tensor for key, tensor in editing.tensors().items()}
    generator = torch.Generator().manual_seed(0)
    for tensor in own.values():
        tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    if name == "ia3":
        (factors,) = (tensor.clone() for tensor in own.values())
        expected = W * factors.reshape((1, -1) if inputs else (-1, 1))
        b = b if inputs else b * factors.flatten()
    else:
        A, B = (own[f"lora_{side}.default.weight"].clone() for side in "AB")
        expected = W + 4 / 2 * B @ A
    if name == "dora":
        m = own["lora_magnitude_vector.default.weight"].clone()
        expected = m[:, None] * expected / expected.norm(dim=1, keepdim=True)
    editing.merge()
    assert model.trunk.network.get_submodule("two.fc2") is layer
    assert torch.allclose(layer.weight, expected, atol=1e-6)
    assert torch.allclose(layer.bias, b, atol=1e-6)
    assert not torch.allclose(layer.weight, W, atol=1e-2)


class Batched(nn.Module):
    """Layers of every shape that the library's edits change."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.deep = nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 4, 1, bias=False)
        self.wide, self.point = nn.Conv2d(1, 3, 3, 2, 1), nn.Conv2d(3, 3, 1, bias=False)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(torch.relu(self.line(self.point(self.wide(x)).flatten(2))))
        return self.out(x.mean(2))


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "ia3 of inputs"])
def test_a_sketch_for_the_price_is_as_large_as_the_edit_and_computes_the_same(kind: str) -> None:
    name, _, inputs = kind.partition(" ")
    torch.manual_seed(0)
    network, x = Batched(), torch.randn(2, 1, 8, 8)
    options = {"inputs": ["*"]} if inputs else {} if name == "ia3" else {"rank": 2, "alpha": 2}
    one = EDITS[name](options)
    paths = [path for path, layer in network.named_modules() if path and one.can_change(layer)]
    layers = {path: network.get_submodule(path) for path in paths}
    given = {}
    for way in (one.sketch, one.apply):
        way(network, paths)
        state = network.state_dict()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for key in sorted(key for key in state if "lora" in key or "ia3" in key):
                start = state[key] if "magnitude" in key or "ia3" in key else 0  # the others are drawn
                state[key].copy_(start + 0.1 * torch.randn(state[key].shape, generator=generator))
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        given[way.__name__] = shapes, network(x)
        for path, layer in layers.items():
            replace_module(network, path, layer)
    assert given["sketch"][0] == given["apply"][0]
    assert torch.allclose(given["sketch"][1], given["apply"][1], atol=1e-5)


def test_a_sketch_is_refused_without_peft_too(model: Grafted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with (
        pytest.raises(MissingPackageError, match=r"pip install 'regraft\[peft\]'"),
        edited(model, (LORA,), sketched=True),
    ):
        pass


def test_beside_a_convolution_stands_one_of_its_centre() -> None:
    """Rebuffi et al. 2018: W' = W with A added in the middle, exact whatever the stride."""
    network = nn.Sequential(nn.Conv2d(2, 3, (3, 5), stride=2, padding=(1, 2)), nn.Conv2d(3, 4, 3, padding=1))
    one = EDITS["parallel"]({})
    x = torch.randn(2, 2, 9, 10, generator=torch.Generator().manual_seed(0))
    before = [layer.weight.detach().clone() for layer in network]  # type: ignore[union-attr]
    plain = network(x)
    changes = one.apply(network, ["0", "1"])
    assert torch.equal(network(x), plain)
    assert [name for name in network.state_dict() if "parallel" in name] == [
        "0.parallel.weight",
        "1.parallel.weight",
    ]
    drawn = [0.3 * torch.randn(change.now.parallel.weight.shape) for change in changes]  # type: ignore[union-attr]
    with torch.no_grad():
        for change, value in zip(changes, drawn, strict=True):
            change.now.parallel.weight.copy_(value)  # type: ignore[union-attr]
    learned = network(x)
    for change, weight, value in zip(changes, before, drawn, strict=True):
        one.settle(change)
        replace_module(network, change.path, change.original)
        middle = tuple(size // 2 for size in weight.shape[2:])
        weight[:, :, middle[0], middle[1]] += value[:, :, 0, 0]
        assert torch.equal(change.original.weight, weight)  # type: ignore[arg-type]
    assert torch.allclose(network(x), learned, atol=1e-5)
    assert not torch.allclose(learned, plain, atol=1e-2)
