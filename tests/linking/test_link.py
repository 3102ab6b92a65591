from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from regraft.core.errors import LinkError, UsageError
from regraft.linking import Blueprint, Link, find_link, restore
from regraft.sources import Source, example_batch, find, load_native, read_weights

Make = Callable[..., Blueprint]
Save = Callable[..., Source]
Tensors = dict[str, torch.Tensor]


def test_real_weights_load_and_are_proven(lite0: Source, blueprint: Make) -> None:
    link = find_link(lite0, blueprint(lite0)).require(1.0)
    model = link.load()
    weights = read_weights(lite0)
    assert all(
        torch.equal(tensor, weights[name]) for name, tensor in model.trunk.network.state_dict().items()
    )
    assert not model.training
    assert link.unused == ("_fc.weight", "_fc.bias")
    assert {row.action for row in link.rows} == {"copied", "fresh"}
    proof = link.verify()
    assert proof.proven
    assert proof.max_relative_difference == 0
    assert proof.first_difference is None
    assert len(proof.differences) == len(model.trunk.blocks)
    assert "proven" in proof.sentence
    with torch.no_grad():
        outputs = model(example_batch(lite0), torch.tensor([0, 1]), torch.ones(2), 2)
    assert torch.equal(outputs["label"], torch.zeros(2, 3))


def test_minilm_leaves_its_pooler(blueprint: Make) -> None:
    source = find("packaged:minilm")
    link = find_link(source, blueprint(source)).require(1.0)
    assert set(link.unused) == {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
    assert link.verify().proven


def test_rows_cover_every_tensor(lite0: Source, blueprint: Make) -> None:
    plan = blueprint(lite0)
    link = find_link(lite0, plan)
    assert [row.target for row in link.rows] == list(plan.build().state_dict())
    assert [row.kind for row in link.rows].count("parameter") == len(list(plan.build().parameters()))
    assert {row.role for row in link.rows if row.target.startswith("heads.")} == {"specific"}


def test_coverage_counts_shared_rows_alone(save: Save, tensors: Tensors, blueprint: Make) -> None:
    del tensors["1.bias"]
    source = save(tensors)
    link = find_link(source, blueprint(source))
    assert link.coverage.tensors == pytest.approx(6 / 7)
    assert link.coverage.parameters == pytest.approx(1 - 4 / (108 + 4 + 4 + 4))
    assert link.coverage.depth == pytest.approx(1 / 2)
    assert link.require(0.9).rows is link.rows
    with pytest.raises(LinkError, match=r"1\.bias \(4\): no source tensor has this name"):
        link.require(0.99)


def test_require_lists_everything_at_once(save: Save, tensors: Tensors, blueprint: Make) -> None:
    tensors["0.weight"] = torch.zeros(5, 3, 3, 3)
    del tensors["1.running_mean"]
    source = save(tensors)
    link = find_link(source, blueprint(source))
    with pytest.raises(LinkError) as caught:
        link.require(0.0)
    message = str(caught.value)
    assert "0.weight (4x3x3x3): equal names, but the shapes differ: 0.weight is 5x3x3x3" in message
    assert "1.running_mean (4): no source tensor has this name" in message
    assert "--waive PATTERN" in message
    with pytest.raises(LinkError, match="rows that do not fit cannot be loaded"):
        link.load()
    with pytest.raises(LinkError, match="nothing to waive: no uncovered row matches 'nothing'"):
        link.waive("nothing")


def test_waived_rows_start_fresh_out_loud(
    save: Save, tensors: Tensors, blueprint: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors["0.weight"] = torch.zeros(5, 3, 3, 3)
    source = save(tensors)
    link = find_link(source, blueprint(source), waivers=["0.*"]).require(1.0)
    assert "2 tensors are waived by '0.*'" in capsys.readouterr().err
    assert link.to_json()["waivers"] == ["0.*"]
    first, again, other = link.load(), link.load(), replace(link, seed=1).load()
    key = "trunk.network.0.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])
    assert torch.equal(first.state_dict()["trunk.network.1.bias"], tensors["1.bias"])


def test_maps(save: Save, tensors: Tensors, blueprint: Make) -> None:
    renamed = {name.replace("1.", "norm/"): tensor for name, tensor in tensors.items()}
    source = save(renamed)
    link = find_link(source, blueprint(source), maps=[r"norm/(.*)=>1.\1"]).require(1.0)
    rules = {row.rule for row in link.rows if row.block == "1"}
    assert rules == {r"map norm/(.*)=>1.\1"}
    assert torch.equal(link.load().state_dict()["trunk.network.1.weight"], tensors["1.weight"])
    with pytest.raises(UsageError, match="a map is written 'REGEX=>TO'"):
        find_link(source, blueprint(source), maps=["norm"])
    with pytest.raises(UsageError, match="holds no regular expression"):
        find_link(source, blueprint(source), maps=["(=>x"])


@pytest.mark.parametrize("prefix", ["backbone.", "a.b."])
def test_prefix(save: Save, tensors: Tensors, blueprint: Make, prefix: str) -> None:
    source = save({prefix + name: tensor for name, tensor in tensors.items()})
    link = find_link(source, blueprint(source)).require(1.0)
    assert {row.rule for row in link.rows if row.role == "shared"} == {f"prefix '{prefix}' of the source"}
    state = link.load().trunk.network.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in state.items())


def test_two_copies_are_named_as_alternatives(save: Save, tensors: Tensors, blueprint: Make) -> None:
    both = {f"{copy}.{name}": tensor.clone() for copy in ("ema", "net") for name, tensor in tensors.items()}
    source = save(both)
    row = find_link(source, blueprint(source)).rows[0]
    assert {row.source, *row.alternatives} == {"ema.0.weight", "net.0.weight"}
    assert row.confidence < 0.5


def test_half_precision_is_cast(save: Save, tensors: Tensors, blueprint: Make) -> None:
    tensors["0.weight"] = tensors["0.weight"].half()
    source = save(tensors)
    link = find_link(source, blueprint(source)).require(1.0)
    assert link.rows[0].transform == "float16 -> float32"
    assert link.rows[0].action == "adapted"
    assert link.load().state_dict()[link.rows[0].target].dtype == torch.float32


def test_fresh_is_the_networks_own_initialisation(lite0: Source, blueprint: Make) -> None:
    link = find_link(lite0, blueprint(lite0)).fresh(seed=3)
    model, again = link.load().state_dict(), link.load().state_dict()
    weights = read_weights(lite0)
    assert all(torch.equal(model[name], again[name]) for name in model)
    assert not torch.equal(model["trunk.network._conv_stem.weight"], weights["_conv_stem.weight"])
    assert model["trunk.network._bn0.running_mean"].abs().max() == 0
    assert link.coverage.parameters == 0
    assert all(row.action == "fresh" and row.rule == "from scratch" for row in link.rows)
    assert set(link.unused) == set(weights)


def test_source_without_weights_gives_a_fresh_link(blueprint: Make) -> None:
    source = find("small:image")
    link = find_link(source, blueprint(source), seed=1)
    assert link.coverage.tensors == 0
    assert not torch.equal(
        link.load().state_dict()["trunk.network.stem.0.weight"],
        replace(link, seed=2).load().state_dict()["trunk.network.stem.0.weight"],
    )


def test_json_and_back(lite0: Source, blueprint: Make) -> None:
    plan = blueprint(lite0)
    link = find_link(lite0, plan)
    read = Link.from_json(json.loads(json.dumps(link.to_json())), lite0, plan)
    assert read == link
    assert link.to_json()["coverage"] == {"tensors": 1.0, "parameters": 1.0, "depth": 1.0}


def test_saved_link_of_another_model(save: Save, tensors: Tensors, lite0: Source, blueprint: Make) -> None:
    source = save(tensors)
    saved = find_link(lite0, blueprint(lite0)).to_json()
    with pytest.raises(LinkError, match=r"(?s)is not one between .* has no trunk\.network\._conv_stem"):
        Link.from_json(saved, source, blueprint(source)).load()


def test_table_is_folded(lite0: Source, blueprint: Make) -> None:
    table = find_link(lite0, blueprint(lite0)).table()
    assert max(map(len, table.splitlines())) <= 80
    assert "_blocks.{0..15}._depthwise_conv.weight" in table
    assert "294 copied, 0 adapted, 2 fresh; 2 source tensors unused" in table
    assert len(table.splitlines()) < 30


def test_restore_takes_exactly_the_models_tensors(lite0: Source, blueprint: Make) -> None:
    plan = blueprint(lite0)
    state = find_link(lite0, plan).load().state_dict()
    back = restore(plan, state)
    assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in state.items())
    wrong = {**state, "extra": torch.ones(1), "heads.output_label.bias": torch.ones(9)}
    del wrong["trunk.network._bn0.bias"]
    with pytest.raises(
        LinkError, match=r"_bn0\.bias is missing\n  extra belongs nowhere\n  heads.* shape \(9,\)"
    ):
        restore(plan, wrong)


def test_proof_finds_the_first_block_that_departs(lite0: Source, blueprint: Make) -> None:
    """Two tensors of equal shape, swapped: names and shapes are right, the function is not."""
    link = find_link(lite0, blueprint(lite0))
    rows = {row.target.removeprefix("trunk.network."): row for row in link.rows}
    one, two = rows["_blocks.7._bn2.weight"], rows["_blocks.7._bn2.bias"]
    swap = {one.target: replace(one, source=two.source), two.target: replace(two, source=one.source)}
    wrong = replace(link, rows=tuple(swap.get(row.target, row) for row in link.rows))
    proof = wrong.verify()
    assert not proof.proven
    assert proof.first_difference == "blocks.7"
    assert "first after blocks.7" in proof.sentence
    json.dumps(proof.to_json(), allow_nan=False)


def test_native_needs_every_tensor(save: Save, tensors: Tensors, blueprint: Make) -> None:
    from regraft.core.errors import SourceError

    del tensors["1.bias"]
    with pytest.raises(SourceError, match=r"its weights lack 1 tensors of its own network: 1\.bias"):
        load_native(save(tensors))
