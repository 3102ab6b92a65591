from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from regraft.core.files import write_json
from regraft.core.task_spec import TaskSpec
from regraft.linking import Blueprint, find_link
from regraft.linking.finding.heads import pick_rows
from regraft.sources import Source, example_batch, find
from regraft.tasks import make_task

Make = Callable[..., Blueprint]
Save = Callable[..., Source]
Tensors = dict[str, torch.Tensor]
WEIGHT, BIAS = "heads.output_label.weight", "heads.output_label.bias"


def test_rows_go_to_the_class_of_the_same_name(save: Save, tensors: Tensors, blueprint: Make) -> None:
    source = save(tensors)
    link = find_link(source, blueprint(source, "emu", "CAT", "whale"))
    row = next(row for row in link.rows if row.target == WEIGHT)
    assert (row.action, row.role, row.rule) == ("adapted", "specific", "class names")
    assert row.recipe is not None
    assert row.recipe.steps[0].options == {"picks": [2, 0, -1]}
    assert row.transform == "2 of 3 rows by class name"
    state = link.load().state_dict()
    assert torch.equal(state[WEIGHT][:2], tensors["5.weight"][[2, 0]])
    assert torch.equal(
        state[BIAS], torch.stack([tensors["5.bias"][2], tensors["5.bias"][0], torch.tensor(0.0)])
    )


def test_all_classes_in_the_same_order_are_copied(save: Save, tensors: Tensors, blueprint: Make) -> None:
    source = save(tensors)
    link = find_link(source, blueprint(source, "cat", "dog", "emu", "fox")).require(1.0)
    assert [row.action for row in link.rows[-2:]] == ["copied", "copied"]
    assert [row.role for row in link.rows[-2:]] == ["shared", "shared"]
    assert torch.equal(link.load().state_dict()[WEIGHT], tensors["5.weight"])


def test_equal_counts_of_unrelated_classes_are_never_reused(
    save: Save, tensors: Tensors, blueprint: Make
) -> None:
    source = save(tensors)
    link = find_link(source, blueprint(source, "oak", "elm", "fir", "yew"))
    assert [row.action for row in link.rows[-2:]] == ["fresh", "fresh"]
    assert set(link.unused) == {"5.weight", "5.bias"}
    assert torch.equal(link.load().state_dict()[WEIGHT], torch.zeros(4, 4))


def test_a_name_that_stands_twice_is_no_name() -> None:
    assert pick_rows(("crane", "ant"), ("crane", "ant", "crane")) == (-1, 1)


def test_a_finished_run_is_a_source_again(save: Save, tensors: Tensors, tmp_path: Path) -> None:
    """Its trunk carries over by equal names, its heads by class names, or by the output's name."""
    first = find("small:image", size=32)
    specs = [TaskSpec("kind", "multiclass", ("cat", "dog")), TaskSpec("a.weight", "regression")]
    plan = Blueprint(first, tuple(make_task(spec) for spec in specs))
    model = find_link(first, plan).load()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.normal_()
    folder = tmp_path / "run"
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    described = {
        "builder": first.builder.to_json(),
        "preprocessing": first.preprocessing.to_json(),
        "tasks": [spec.to_json() for spec in specs],
        "heads": {},
    }
    write_json(folder / "model.json", described)

    source = find(f"bundle:{folder}")
    assert source.preprocessing == first.preprocessing
    turned = TaskSpec("kind", "multiclass", ("dog", "cat"))
    link = find_link(source, Blueprint(source, (make_task(turned), make_task(specs[1])))).require(1.0)
    assert link.verify().proven
    assert {row.rule for row in link.rows} == {"equal names", "class names", "output name"}
    inputs = (example_batch(source), torch.tensor([0, 1]), torch.ones(2), 2)
    with torch.no_grad():
        before, after = model(*inputs), link.load()(*inputs)
    assert torch.allclose(after["kind"], before["kind"].flip(1))
    assert torch.equal(after["a.weight"], before["a.weight"])


def test_user_network_in_a_bundle_asks_for_its_builder(tmp_path: Path) -> None:
    from regraft.core.errors import UsageError

    save_file({"trunk.network.0.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    described = {
        "builder": {"name": "user", "options": {"head": "", "width": 4}},
        "preprocessing": find("small:image").preprocessing.to_json(),
        "tasks": [],
        "heads": {},
    }
    write_json(tmp_path / "model.json", described)
    with pytest.raises(UsageError, match=r"hand its builder over again with builder='module:function'"):
        find(f"bundle:{tmp_path}")
