"""Chains that are found: recurrent stacks, modules, refusals, and what makes a graph anew."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.inputs import Batch
from regraft.sources import build_trunk, from_module
from regraft.sources.cutting import chain
from regraft.sources.trunk import fold_names


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], *, last: bool, both: bool = False):
        super().__init__()
        self.embedding = nn.Embedding(60, 8)
        self.stack = kind(8, 8, num_layers=3, dropout=0.3, batch_first=True, bidirectional=both)
        self.last = last

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        tokens, state = self.stack(self.embedding(ids))
        final: Tensor = (state[0] if isinstance(state, tuple) else state)[-1]
        return final if self.last else tokens


class Step(nn.Module):
    def __init__(self, drop: float = 0.2):
        super().__init__()
        self.convolution, self.norm, self.drop = (
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Dropout(drop),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        stepped: Tensor = pixels + self.drop(self.norm(self.convolution(pixels))).relu_()
        return stepped


class Steps(nn.Module):
    """Not an nn.Sequential; its output is one of several."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.steps = nn.ModuleList(Step() for _ in range(3))

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = self.stem(pixels)
        for step in self.steps:
            pixels = step(pixels)
        return pixels


class Branching(nn.Module):
    """Which way it goes depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(3, 4))

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = pixels.mean((2, 3))
        return pooled @ self.one if bool(pooled.sum() > 0) else pooled @ -self.one


class BranchingStep(Step):
    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels) if bool(pixels.sum() > 0) else 2 * pixels


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(60, 8)
        self.first, self.second, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 60, bias=False)
        self.second.weight = self.first.weight
        self.out.weight = self.embedding.weight

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        given: Tensor = self.out(self.second(self.first(self.embedding(ids)).tanh()).tanh())
        return given


class Attending(nn.Module):
    """Torch's own encoder, which takes a shortcut in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.embedding = nn.Embedding(60, 8)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        tokens: Tensor = self.encoder(self.embedding(ids), src_key_padding_mask=mask == 0)
        return tokens


class Mapping(nn.Module):
    """Gives a mapping, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Steps()

    def forward(self, pixels: Tensor) -> SimpleNamespace:
        found = self.inner(pixels)
        return SimpleNamespace(last_hidden_state=found, states=(found, pixels))


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each graph that is made; everything found before is forgotten."""
    from regraft.sources.cutting import graphs

    made: list[bool] = []
    original = graphs.export_network

    def count(*args: object, **options: object) -> object:
        made.append(True)
        return original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(graphs, "export_network", count)
    monkeypatch.setattr(chain, "_outlines", type(chain._outlines)())
    monkeypatch.setattr(chain, "_graphs", graphs.Shelf())
    return made


@pytest.mark.parametrize(
    ("kind", "last", "both"),
    [(nn.LSTM, True, False), (nn.LSTM, False, True), (nn.GRU, False, False), (nn.RNN, True, True)],
)
def test_a_recurrent_stack_is_cut_between_its_layers(
    kind: type[nn.RNNBase], last: bool, both: bool, cutting: SimpleNamespace
) -> None:
    trunk = cutting.trunk_of(Recurrent(kind, last=last, both=both), cutting.text_steps())
    cutting.check(trunk, cutting.text_steps())
    assert [name for name in trunk.block_names if "layer" in name] == [f"stack.layer.{i}" for i in range(3)]
    assert trunk.block_of("stack.weight_hh_l1") == "stack.layer.1"
    assert trunk.block_of("stack") == "stack.layer.2", "its mode decides on the dropout between layers"


def test_tied_weights_belong_to_the_first_block_that_reads_them(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Tied(), cutting.text_steps())
    cutting.check(trunk, cutting.text_steps())
    assert trunk.block_names == ("embedding", "first", "second", "out", "pool")
    assert trunk.block_of("out.weight") == "embedding"
    assert trunk.block_of("second.weight") == "first"


def test_torchs_own_attention(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Attending(), cutting.text_steps())
    cutting.check(trunk, cutting.text_steps())
    assert trunk.block_names == ("embeddings", *(f"encoder.layers.{i}" for i in range(3)), "pool")


def test_a_network_that_gives_more_than_a_tensor(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Mapping(), cutting.image_steps(12))
    cutting.check(trunk, cutting.image_steps(12))
    assert trunk.block_names == ("inner.stem", *(f"inner.steps.{i}" for i in range(3)), "pool")


def test_a_branch_inside_a_module_leaves_cuts_between_modules(cutting: SimpleNamespace) -> None:
    network = Steps()
    network.steps[1] = BranchingStep()
    trunk = cutting.trunk_of(network, cutting.image_steps(12))
    cutting.check(trunk, cutting.image_steps(12))
    assert trunk.block_names == ("stem", "steps.0", "steps.1", "steps.2", "pool")


def test_a_branch_on_the_data_is_refused_with_the_reason(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Branching(), cutting.image_steps(12))
    assert trunk.block_names == ("network",)
    assert "it does not export (" in trunk.uncut_reason
    with pytest.raises(
        PlanError, match=r"no block 'one': this network cannot be cut, because it does not exp"
    ):
        trunk.cut_after("one")
    assert trunk.block_of("one") == "network"
    assert trunk.cut_after("network") == 1


def test_names_are_the_same_without_weights_and_in_every_mode(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Steps(), cutting.image_steps(12))
    source = from_module(nn.ModuleList([Steps()])[0], cutting.image_steps(12), name="steps")
    with torch.device("meta"):
        skeleton = build_trunk(source)
    expected = ("stem", "steps.0", "steps.1", "steps.2", "pool")
    assert skeleton.block_names == trunk.block_names == trunk.train().block_names == expected
    with pytest.raises(PlanError, match=r"no block 'head'; the blocks are stem, steps\.\{0\.\.2\}, pool"):
        trunk.cut_after("head")


def test_nothing_is_exported_for_a_trunk_that_is_never_cut(
    exports: list[bool], cutting: SimpleNamespace
) -> None:
    trunk = cutting.trunk_of(Steps(), cutting.image_steps(12))
    trunk(cutting.batch_of(cutting.image_steps(12)))
    assert exports == []
    assert copy.deepcopy(trunk).state_dict().keys() == trunk.state_dict().keys()
    assert all(name.startswith("network.") for name in trunk.state_dict())


def test_a_graph_serves_other_batches_and_copies_until_the_network_changes(
    exports: list[bool], cutting: SimpleNamespace
) -> None:
    steps = cutting.image_steps(12)
    trunk = cutting.trunk_of(Steps(), steps).eval()
    cut = trunk.cut_after("steps.0")
    made = len(exports)
    for count in (2, 3, 7):
        same_bits(trunk, {"pixels": torch.randn(count, 3, 12, 12)}, cut)
    same_bits(copy.deepcopy(trunk), cutting.batch_of(steps), cut)
    assert len(exports) == made, "one graph for all of them"
    trunk.network.steps[2].train()
    same_bits(trunk, cutting.batch_of(steps), cut)
    assert len(exports) == made + 1, "another mode of one module"
    trunk.eval()
    same_bits(trunk, cutting.batch_of(steps), cut)
    assert len(exports) == made + 1, "the first mode again"
    trunk.network.steps[2].norm.eps = 0.5
    same_bits(trunk, cutting.batch_of(steps), cut)
    assert len(exports) > made + 1, "an edit"


def same_bits(trunk: nn.Module, batch: Batch, cut: int) -> None:
    torch.manual_seed(0)
    expected = trunk(batch)
    torch.manual_seed(0)
    assert torch.equal(trunk.suffix(trunk.prefix(batch, cut=cut), batch, cut=cut), expected)


def test_a_replaced_module_is_part_of_the_next_graph(cutting: SimpleNamespace) -> None:
    steps = cutting.image_steps(12)
    trunk = cutting.trunk_of(Steps(), steps).eval()
    batch, cut = cutting.batch_of(steps), trunk.cut_after("steps.0")
    same_bits(trunk, batch, cut)
    trunk.network.steps[2] = nn.Sequential(Step(), Step()).eval()
    same_bits(trunk, batch, cut)


def test_frozen_prefix_and_trained_suffix_have_modes_of_their_own(cutting: SimpleNamespace) -> None:
    steps = cutting.image_steps(12)
    trunk = cutting.trunk_of(Steps(), steps).eval()
    batch, cut = cutting.batch_of(steps), trunk.cut_after("steps.1")
    with torch.no_grad():
        activation = trunk.prefix(batch, cut=cut)
    network = trunk.network
    network.steps[2].train()
    network.steps[2].norm.eval()
    whole = copy.deepcopy(trunk)
    torch.manual_seed(3)
    whole(batch).sum().backward()
    torch.manual_seed(3)
    before = activation.clone()
    trunk.suffix(activation, {}, cut=cut).sum().backward()
    assert torch.equal(activation, before), "what is kept is not written to"
    for one, other in zip(whole.network.steps[2].parameters(), network.steps[2].parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert network.stem.weight.grad is None
    assert torch.equal(network.steps[2].norm.running_mean, whole.network.steps[2].norm.running_mean)


def test_names_are_folded() -> None:
    names = ["stem", "s.0.b.0", "s.0.b.1", "s.1.b.0", "norm1", "pool"]
    assert fold_names(names) == ["stem", "s.0.b.{0..1}", "s.1.b.0", "norm1", "pool"]
    assert fold_names(("0", "1", "stem", "stem0")) == ["{0..1}", "stem", "stem0"]


class CheckedStep(nn.Module):
    """Looks at the data, and so does not export."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.norm(self.convolution(pixels)) if bool(pixels.sum() > -1e9) else pixels


class Scaled(nn.Module):
    """Uses a tensor of its own before its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.layers = nn.ModuleList(CheckedStep() for _ in range(3))

    def forward(self, pixels: Tensor) -> Tensor:
        pixels = pixels * self.scale
        for layer in self.layers:
            pixels = layer(pixels)
        return pixels


def test_a_containers_tensor_belongs_to_the_block_that_may_use_it_first(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Behind().eval(), cutting.image_steps(8))
    assert trunk.block_names[:3] == ("stem", "body.layers.0", "body.layers.1")
    assert trunk.block_of("body.scale") == "body.layers.0"


class Behind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 4, 3), Scaled()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(self.stem(pixels)).mean((2, 3))


class Named(nn.Module):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.other = nn.Conv2d(3, 4, 3), Step(), Step()
        self.again = self.one

    def forward(self, pixels: Tensor) -> Tensor:
        return self.again(self.other(self.one(self.stem(pixels)))).mean((2, 3))


def test_a_module_of_two_names_is_owned_under_both(cutting: SimpleNamespace) -> None:
    trunk = cutting.trunk_of(Named(), cutting.image_steps(8))
    cutting.assert_exact(trunk, cutting.batch_of(cutting.image_steps(8)))
    assert {trunk.block_of(name) for name in trunk.network.state_dict()} <= set(trunk.block_names)
