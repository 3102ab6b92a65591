"""Finding rows by structure, names and order: networks of other libraries and of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.errors import LinkError
from regraft.linking import Link, find_link
from regraft.linking.origin import Origin
from regraft.linking.whole import WholeBlueprint

IDS = torch.arange(24).reshape(2, 12)
PIXELS = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32).sin()


class Attention(nn.Module):
    """Self-attention with one fused layer; ``per_head`` lays its rows out head by head."""

    def __init__(self, width: int, heads: int, per_head: bool):
        super().__init__()
        self.heads, self.per_head = heads, per_head
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        y = self.qkv(x)
        if self.per_head:
            parts = y.view(count, length, self.heads, 3, -1).permute(3, 0, 2, 1, 4)
        else:
            parts = y.view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts.unbind(0))
        return self.proj(mixed.transpose(1, 2).reshape(count, length, width))


class Layer(nn.Module):
    """One pre-norm layer."""

    def __init__(self, width: int, per_head: bool):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.a = Attention(width, 4, per_head)
        self.f1, self.f2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.a(self.n1(x))
        return x + self.f2(functional.gelu(self.f1(self.n2(x))))


class Vit(nn.Module):
    """A small vision transformer with names of its own."""

    def __init__(
        self, channels: int = 3, size: int = 32, depth: int = 3, classes: int = 5, per_head: bool = False
    ):
        super().__init__()
        self.patches = nn.Conv2d(channels, 48, 8, 8)
        self.first = nn.Parameter(torch.zeros(1, 1, 48))
        self.pos = nn.Parameter(torch.zeros(1, (size // 8) ** 2 + 1, 48))
        self.blocks = nn.ModuleList(Layer(48, per_head) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(48, eps=1e-12), nn.Linear(48, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Convolutions(nn.Module):
    """Three convolutions, with batch norms or without."""

    def __init__(self, norms: bool = True):
        super().__init__()
        widths = ((3, 8), (8, 8), (8, 12))
        self.steps = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=not norms) for i, o in widths)
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for _, o in widths) if norms else None

    def forward(self, x: Tensor) -> Tensor:
        for place, step in enumerate(self.steps):
            x = step(x)
            x = functional.relu(x if self.norms is None else self.norms[place](x))
        return x.mean((2, 3))


class Text(nn.Module):
    """BERT with the layers of torch, and names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.tok, self.ln = nn.Embedding(100, 48), nn.LayerNorm(48, eps=1e-12)
        self.place, self.kind = nn.Parameter(torch.zeros(1, 64, 48)), nn.Parameter(torch.zeros(2, 48))
        layer = nn.TransformerEncoderLayer(
            48, 4, 96, activation="gelu", batch_first=True, layer_norm_eps=1e-12
        )
        self.layers = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tok(input_ids) + self.kind[0] + self.place[:, : input_ids.shape[1]]
        return self.layers(self.ln(x))


def bert() -> nn.Module:
    """A small BERT of the transformers library."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        vocab_size=100,
        max_position_embeddings=64,
    )
    return BertModel(config, add_pooling_layer=False)


def gpt() -> nn.Module:
    """A small GPT-2: its layers are stored transposed, and it gives a cache beside its output."""
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(
        n_embd=48, n_layer=2, n_head=4, vocab_size=100, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    return GPT2Model(config)


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every tensor random, so that no two layers are alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.add_(noise * 0.2 + (0.5 if "running_var" in name else -0.1))
    return module.eval()


def first(given: object) -> Tensor:
    """The main output."""
    return given if isinstance(given, Tensor) else given[0]  # type: ignore[index]


def same(source: nn.Module, target: nn.Module, given: Tensor) -> float:
    """The largest difference of the two networks' outputs, over the largest output."""
    with torch.no_grad():
        theirs, ours = first(source(given)), first(target(given))
    return float((ours - theirs).abs().max() / theirs.abs().max())


def join(source: nn.Module, target: Callable[[], nn.Module], given: Tensor) -> Link:
    return find_link(Origin("source", module=source, given=given), WholeBlueprint("target", target, given))


@pytest.mark.parametrize(
    ("source", "target", "given"),
    [
        (bert, Text, IDS),
        (Text, bert, IDS),
        (Vit, lambda: Vit(per_head=True), PIXELS),
        (lambda: Vit(per_head=True), Vit, PIXELS),
        (Convolutions, lambda: Convolutions(norms=False), PIXELS),
        (lambda: Convolutions(norms=False), Convolutions, PIXELS),
        (gpt, gpt, IDS),
    ],
    ids=["bert to torch", "torch to bert", "rows per head", "rows per part", "folded", "unfolded", "gpt"],
)
def test_networks_that_compute_the_same_are_linked(
    source: Callable[[], nn.Module], target: Callable[[], nn.Module], given: Tensor
) -> None:
    model = shaken(source())
    link = join(model, target, given).require(1.0)
    assert same(model, link.load(), given) < 1e-6
    assert same(model, shaken(target(), seed=1), given) > 1e-2  # the comparison can fail


def test_separate_layers_are_fused_in_the_order_that_attention_reads() -> None:
    link = join(shaken(bert()), Text, IDS)
    row = next(row for row in link.rows if row.target.endswith("layers.0.self_attn.in_proj_weight"))
    assert [name.split(".")[-2] for name in row.sources] == ["query", "key", "value"]
    assert (row.action, row.transform, row.rule) == ("adapted", "fused", "structure")
    place = next(row for row in link.rows if row.target == "place")
    assert place.sources == ("embeddings.position_embeddings.weight",)


def test_names_that_say_nothing_do_not_matter_where_both_networks_are_seen() -> None:
    class Renamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            inner = Vit()
            for place, name in enumerate(reversed([name for name, _ in inner.named_children()])):
                self.add_module(f"x{place}", inner.get_submodule(name))
            self.y1, self.y0 = inner.first, inner.pos
            object.__setattr__(self, "inner", inner)

        def forward(self, x: Tensor) -> Tensor:
            x = self.x3(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.y1.expand(len(x), -1, -1), x], 1) + self.y0
            for block in self.x2:
                x = block(x)
            return self.x0(self.x1(x)[:, 0])

    model = shaken(Vit())
    link = join(model, Renamed, PIXELS).require(1.0)
    assert same(model, link.load(), PIXELS) < 1e-6


def test_a_changed_architecture_is_explained_row_by_row() -> None:
    model = shaken(Vit())
    link = find_link(
        Origin("small", module=model, given=PIXELS),
        WholeBlueprint(
            "changed", lambda: Vit(channels=4, size=48, depth=5, classes=7), torch.zeros(2, 4, 48, 48)
        ),
    )
    rows = {row.target: row for row in link.rows}
    assert rows["patches.weight"].transform == "input channels -> 4"
    assert rows["pos"].transform == "positions resampled 4x4 -> 6x6"
    assert rows["blocks.2.a.qkv.weight"].rule == "equal names"
    assert rows["blocks.3.a.qkv.weight"].rule == "added: all 3 source tensors of this shape go elsewhere"
    assert (rows["head.weight"].role, rows["head.weight"].rule) == (
        "specific",
        "new head: 7 rows instead of 5",
    )
    with pytest.raises(LinkError, match=r"blocks\.4\.f2\.bias .*added"):
        link.require(0.95)
    waived = link.waive("blocks.3.*").waive("blocks.4.*").require(1.0)
    loaded = waived.load()
    kernel = model.state_dict()["patches.weight"]
    assert torch.allclose(loaded.patches.weight, kernel[:, [0, 1, 2, 0]] * 3 / 4)
    assert torch.equal(loaded.pos[:, 0], model.state_dict()["pos"][:, 0])


def test_a_checkpoint_alone_is_linked_by_names_and_order(tmp_path: Path) -> None:
    model = shaken(Vit())
    words = {"blocks": "layer", ".a.": ".attention.", "f1": "intermediate.dense", "f2": "output.dense"}

    def rename(name: str) -> str:
        for old, new in words.items():
            name = name.replace(old, new)
        return f"encoder.{name}"

    save_file(
        {rename(name): tensor for name, tensor in model.state_dict().items()}, tmp_path / "w.safetensors"
    )
    origin = Origin("w.safetensors", file=tmp_path / "w.safetensors")
    link = find_link(origin, WholeBlueprint("vit", Vit, PIXELS)).require(1.0)
    assert same(model, link.load(), PIXELS) < 1e-6
    assert max(row.confidence for row in link.rows) < 1


def test_another_network_is_refused() -> None:
    model = shaken(Convolutions())
    with pytest.raises(LinkError, match=r"carry over; at least 95\.0% was required"):
        join(model, Vit, PIXELS).load()


def test_equal_layers_side_by_side_are_said_to_be_alike() -> None:
    class Twins(nn.Module):
        def __init__(self, one: str, two: str):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3)
            self.names = (one, two)
            for name in self.names:
                self.add_module(name, nn.Conv2d(8, 8, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            one, two = (self.get_submodule(name)(x) for name in self.names)
            return one.relu() + two.relu()

    link = join(shaken(Twins("a", "b")), lambda: Twins("p", "q"), PIXELS)
    rows = [row for row in link.rows if row.target.startswith(("p.", "q."))]
    assert {row.rule for row in rows} == {"structure, one of 2 alike"}
    assert all(row.alternatives and row.confidence < 0.7 for row in rows)


def test_a_network_that_does_not_export_is_ordered_as_it_runs() -> None:
    class Branching(nn.Module):
        """A branch on values, which no export follows; its layers run in another order than they stand."""

        def __init__(self, names: tuple[str, str, str]):
            super().__init__()
            self.names = names
            for name in reversed(names):
                self.add_module(name, nn.Linear(6, 6))

        def forward(self, x: Tensor) -> Tensor:
            for name in self.names:
                x = self.get_submodule(name)(x).tanh()
            return x if x.sum() < 1e9 else -x

    given = torch.linspace(-1, 1, 12).reshape(2, 6)
    model = shaken(Branching(("a", "b", "c")))
    link = join(model, lambda: Branching(("s", "t", "u")), given).require(1.0)
    assert same(model, link.load(), given) < 1e-6
    assert {row.rule for row in link.rows} == {"order and shape"}


def test_a_layer_written_out_is_transposed_with_its_bias() -> None:
    """The same names, and squares: only what the networks do says that the weights lie the other way."""

    class InputsFirst(nn.Module):
        def __init__(self, given: int, made: int):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(given, made))
            self.bias = nn.Parameter(torch.zeros(made))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight + self.bias

    def written_out() -> nn.Module:
        vit = Vit()
        for layer in vit.blocks:
            layer.a.qkv, layer.a.proj = InputsFirst(48, 144), InputsFirst(48, 48)
            layer.f1, layer.f2 = InputsFirst(48, 96), InputsFirst(96, 48)
        return vit

    for source, target in ((written_out, Vit), (Vit, written_out)):
        model = shaken(source())
        link = join(model, target, PIXELS).require(1.0)
        assert same(model, link.load(), PIXELS) < 1e-6


def test_of_two_copies_in_a_checkpoint_one_is_taken_out_loud(tmp_path: Path) -> None:
    one, two = shaken(Vit()), shaken(Vit(), seed=5)
    both = {f"net.{name}": tensor for name, tensor in one.state_dict().items()}
    both |= {f"net_ema.{name}": tensor for name, tensor in two.state_dict().items()}
    save_file(both, tmp_path / "w.safetensors")
    origin = Origin("w.safetensors", file=tmp_path / "w.safetensors")
    link = find_link(origin, WholeBlueprint("vit", Vit, PIXELS)).require(1.0)
    assert same(two, link.load(), PIXELS) == 0
    assert link.notes[-1] == "the network is there 2 times: took 'net_ema.' and left 'net.'"


def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    state = shaken(Vit()).state_dict()
    state["blocks.1.f1.weight"][3, 4] = float("nan")
    save_file(state, tmp_path / "w.safetensors")
    origin = Origin("w.safetensors", file=tmp_path / "w.safetensors")
    link = find_link(origin, WholeBlueprint("vit", Vit, PIXELS))
    with pytest.raises(
        LinkError, match=r"blocks\.1\.f1\.weight of the source holds 1 values that are not fin"
    ):
        link.load()
