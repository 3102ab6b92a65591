"""Proofs: of small networks of torch and transformers, each beside a case that must not be proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from regraft.core.preprocessing import ImagePreprocessing
from regraft.linking import Blueprint, Link, find_link
from regraft.linking.network import Call
from regraft.linking.origin import Origin
from regraft.linking.proving.compare import located_difference, relative_difference, spread_of
from regraft.linking.proving.inputs import mask_of, redraw
from regraft.linking.proving.prepared import compare_preprocessing
from regraft.linking.recipe import Recipe
from regraft.linking.row import Row
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Source

Build = Callable[[], nn.Module]


def small(classes: int = 5, *, channels: int = 3, norm: bool = False) -> nn.Sequential:
    """A convolutional network with a classifier; with ``norm`` a norm before it."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(8) if norm else nn.Identity(),
        nn.Linear(8, classes),
    )


def trained(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every tensor drawn, statistics of batch norms included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
    return module.eval()


def link_in_order(
    source: nn.Module, target: Build, changes: Mapping[str, str | None] | None = None, **fields: object
) -> Link:
    """A link by the order of the tensors; ``changes`` says what others take, None for a fresh one."""
    state, changes = source.state_dict(), dict(changes or {})
    blueprint = WholeBlueprint("target", target)
    rows = []
    for slot, key in zip(blueprint.slots(), state, strict=True):
        taken = changes.get(slot.name, key)
        action = "copied" if taken is not None else "fresh"
        shape = tuple(state[taken].shape) if taken is not None else None
        row = Row(slot.name, taken, "order", "", slot.shape, shape, action, "shared", kind=slot.kind)  # type: ignore[arg-type]
        rows.append(replace(row, block=slot.block, **fields))
    return Link(Origin("source", module=source), blueprint, tuple(rows))


def images(count: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(3))


def test_the_same_network_is_proven() -> None:
    proof = link_in_order(trained(small()), small).verify(images())
    assert proof.proven
    assert proof.max_relative_difference == 0
    assert proof.compared == "outputs"
    assert (proof.causes, proof.unseen, proof.first_difference) == ((), (), None)
    assert proof.sentence.startswith("proven: both networks give the same outputs (max relative difference 0")
    assert json.loads(json.dumps(proof.to_json(), allow_nan=False))["sentence"] == proof.sentence


def test_swapped_layers_of_equal_shape_are_not() -> None:
    swap = {"1.weight": "4.weight", "4.weight": "1.weight"}
    proof = link_in_order(trained(small()), small, swap).verify(images())
    assert not proof.proven
    assert (proof.first_difference, proof.first_module) == ("1", "1")
    assert "not proven: the outputs differ, first after 1" in proof.sentence


def test_a_link_that_was_searched_is_proven_without_given_inputs() -> None:
    source = trained(nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4)))
    fresh = WholeBlueprint("target", lambda: nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 4)))
    assert find_link(Origin("source", module=source), fresh).verify().proven


def test_a_new_head_is_proven_up_to_itself() -> None:
    source = trained(small(5))
    link = link_in_order(source, lambda: small(5), {"9.weight": None, "9.bias": None})
    open_head = link.verify(images())
    assert not open_head.proven
    assert "waive them (9.*) if they may start fresh" in open_head.sentence
    proof = link.waive("9.*").verify(images())
    assert proof.proven
    assert proof.compared == "what enters its new head 9"
    assert "proven up to its new head 9" in proof.sentence
    wrong = link_in_order(source, small, {"9.weight": None, "9.bias": None, "4.weight": "4.bias"})
    assert not wrong.verify(images()).proven


def test_a_head_of_picked_rows_is_new_as_well() -> None:
    link = link_in_order(trained(small(5)), small)
    rows = list(link.rows)
    for place, row in enumerate(rows):
        if row.target.startswith("9."):
            recipe = Recipe((row.target,)).then("rows", picks=[1, 0, 2, 3, 4])
            rows[place] = replace(row, action="adapted", recipe=recipe)
    assert replace(link, rows=tuple(rows)).verify(images()).compared == "what enters its new head 9"


def test_fresh_tensors_in_the_middle_are_not_proven() -> None:
    proof = link_in_order(trained(small()), small, {"3.weight": None}).verify(images())
    assert not proof.proven
    assert proof.first_difference == "3"
    assert any("1 tensors of the target start fresh: 3.weight" in cause for cause in proof.causes)
    everything = dict.fromkeys(small().state_dict())
    assert not link_in_order(trained(small()), small, everything).verify(images()).proven


def test_zeros_prove_nothing_of_themselves() -> None:
    """A last layer of zeros: what enters it has to agree."""
    source = trained(small())
    nn.init.zeros_(source[9].weight)  # type: ignore[index]
    proof = link_in_order(source, small).verify(images())
    assert proof.proven
    assert proof.compared == "what enters its last layer 9"
    swap = {"1.weight": "4.weight", "4.weight": "1.weight"}
    assert not link_in_order(source, small, swap).verify(images()).proven
    for tensor in source.state_dict().values():
        tensor.zero_()
    empty = link_in_order(source, small).verify(images())
    assert not empty.proven
    assert "carried parameters have no part in what was compared" in empty.sentence


def test_a_signal_that_dies_out_is_followed_module_by_module() -> None:
    source = trained(small())
    with torch.no_grad():
        source[3].weight.mul_(1e-7)  # type: ignore[index, operator]
    proof = link_in_order(source, small).verify(images())
    assert proof.proven
    assert any("compared by themselves" in note for note in proof.notes)
    swap = {"1.weight": "1.bias", "1.bias": "1.weight"}
    wrong = link_in_order(source, small, swap).verify(images())
    assert not wrong.proven
    assert "hardly depend on the input, and the modules differ, first after 1" in wrong.sentence


def test_values_that_are_no_numbers_are_never_proven() -> None:
    source = trained(small())
    source.state_dict()["4.running_mean"][2] = float("nan")
    proof = link_in_order(source, small).verify(images())
    assert not proof.proven
    assert "4.running_mean of the source holds 1 values that are not finite" in proof.sentence
    overflowing = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 2))
    with torch.no_grad():
        for part in overflowing.parameters():
            part.fill_(1e30)
    proof = link_in_order(overflowing, lambda: nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 2))).verify()
    assert not proof.proven
    assert "the source's outputs are not finite" in proof.sentence
    json.dumps(proof.to_json(), allow_nan=False)


def test_tensors_that_changed_nothing_are_listed() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 4)), nn.Linear(6, 4)
            self.gate = nn.Parameter(torch.zeros(4))
            self.gated = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            given: Tensor = self.used(x) + self.gate * self.gated(x)
            return given

    proof = link_in_order(Branches().eval(), Branches).verify(torch.randn(4, 6))
    assert proof.proven
    assert set(proof.unseen) == {"spare.weight", "spare.bias", "gated.weight", "gated.bias"}
    assert "nothing is shown of 4 tensors" in proof.sentence


def test_inputs_that_cannot_be_shared_say_why() -> None:
    source = trained(small())
    link = find_link(Origin("source", module=source), WholeBlueprint("target", lambda: small(channels=4)))
    proof = link.verify()
    assert not proof.proven
    assert "the source reads 3 channels, the target 4" in proof.sentence
    assert proof.to_json()["max_relative_difference"] is None


def test_dropout_left_on_is_not_proven() -> None:
    class Restless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(self.fc(x), 0.5, training=True)

    proof = link_in_order(Restless(), Restless).verify(torch.randn(4, 6))
    assert not proof.proven
    assert "gives other values each time" in proof.sentence


def test_a_trunk_against_a_module_with_a_head(blueprint: Callable[..., Blueprint]) -> None:
    """The target's pooled features are what enters the classifier of a network in memory."""
    from regraft.sources import from_module

    steps = ImagePreprocessing(size=(32, 32))
    target = blueprint(from_module(small(), steps, head="9"))
    link = find_link(Origin("source", module=trained(small())), target)
    proof = link.verify()
    assert proof.proven
    assert proof.compared == "features"
    rows = {row.target.removeprefix("trunk.network."): row for row in link.rows}
    one, two = rows["1.weight"], rows["4.weight"]
    swap = {one.target: replace(one, source=two.source), two.target: replace(two, source=one.source)}
    assert not replace(link, rows=tuple(swap.get(row.target, row) for row in link.rows)).verify().proven


def test_preprocessing_is_compared(lite0: Source, blueprint: Callable[..., Blueprint]) -> None:
    half = lite0.preprocessing
    assert isinstance(half, ImagePreprocessing)
    other = replace(half, mean=(0.485, 0.456, 0.406), crop_fraction=1.0)
    target = replace(lite0, preprocessing=other)
    proof = find_link(lite0, blueprint(target)).verify()
    assert proof.proven
    assert "mean: 0.5 0.5 0.5 in the source, 0.485 0.456 0.406 in the target" in proof.preprocessing
    assert "crop: 0.875 in the source, 1.0 in the target" in proof.preprocessing
    assert compare_preprocessing(half, half) == ()
    turned = replace(other, mean=other.mean[::-1])
    assert "BGR" in " ".join(compare_preprocessing(other, turned))


def test_shapes_that_differ_and_values_that_are_no_numbers_never_agree() -> None:
    one = torch.ones(2, 3)
    assert relative_difference(one, one) == 0
    assert relative_difference(one, torch.ones(3, 2)) == float("inf")
    assert relative_difference(one * float("nan"), one * float("nan")) == float("inf")
    assert relative_difference(one, torch.zeros(2, 3)) == float("inf")
    assert relative_difference(torch.zeros(0, 3), torch.zeros(0, 3)) == float("inf")


def test_layouts_are_reconciled_for_locating() -> None:
    image = images(2)
    assert located_difference(image.permute(0, 2, 3, 1), image) == 0
    assert located_difference(image.flatten(2).transpose(1, 2), image) == 0
    assert located_difference(image[:1], image) is None
    different = located_difference(image.permute(0, 2, 3, 1) + 1, image)
    assert different is not None
    assert different > 0.1


def test_spread_and_made_up_inputs() -> None:
    assert spread_of([torch.ones(2, 3)]) == 0
    assert spread_of([torch.zeros(2, 3), torch.zeros(2, 3)]) == 0
    assert spread_of([torch.ones(1, 3), 2 * torch.ones(1, 3)]) == 0.5
    ids = torch.tensor([[3, 9, 1]])
    mask = torch.tensor([[1, 1, 0]])
    made = redraw(Call((), {"input_ids": ids, "attention_mask": mask}), seed=1)
    assert made.kwargs["input_ids"].max() <= 9
    assert torch.equal(made.kwargs["attention_mask"], mask)
    network = Origin("any", module=nn.Identity(), given=ids).native(head=False)
    found = mask_of(network, made)
    assert found is not None
    assert found.tolist() == [[True, True, False]]
    assert mask_of(network, Call((ids,))) is None
    assert mask_of(network, Call((ids, mask))) is None  # zeros and ones alone are no mask


@pytest.mark.parametrize("right", [True, False])
def test_bert_beside_itself_in_other_names(right: bool) -> None:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 2}
    config = BertConfig(vocab_size=50, max_position_embeddings=40, **sizes)
    source = trained(BertModel(config, add_pooling_layer=False))
    names = ("encoder.layer.0.attention.self.query.weight", "encoder.layer.0.attention.self.key.weight")
    swap = {} if right else {names[0]: names[1], names[1]: names[0]}
    proof = link_in_order(source, lambda: BertModel(config, add_pooling_layer=False), swap).verify()
    assert proof.proven is right
    if right:
        assert any("rows of embeddings.word_embeddings.weight" in note for note in proof.notes)
    else:
        assert proof.first_difference == "encoder.layer.0"
