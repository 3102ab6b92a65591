"""What looks right and is not: each of these once was, or could have been, wrong without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

import regraft as rg
from regraft.linking import find_link
from regraft.linking.origin import Origin
from regraft.linking.whole import WholeBlueprint

ROWS = torch.linspace(-2, 2, 48).reshape(2, 3, 8)


class Parallel(nn.Module):
    """One layer gives q, k, v and the first layer of the MLP beside attention."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 40), nn.Linear(24, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v, wide = self.inner(x).split([8, 8, 8, 16], -1)
        mixed = functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return self.outer(torch.cat([mixed, wide.relu()], -1))


class Typed(nn.Module):
    """Ids and types of 0 and 1, which are no mask."""

    def __init__(self, shift: float):
        super().__init__()
        self.words, self.shift = nn.Embedding(9, 8), shift

    def forward(self, ids: Tensor, types: Tensor) -> Tensor:
        return self.words(ids) + (types == 0).float()[..., None] * self.shift


class Texts(nn.Module):
    """Words and a table of their positions."""

    def __init__(self, length: int):
        super().__init__()
        self.words, self.pos = nn.Embedding(50, 8), nn.Parameter(torch.randn(1, length, 8))
        self.last = nn.Linear(8, 8)

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.words(ids) + self.pos[:, : ids.shape[1]])


class Headed(nn.Module):
    """A module of the user's own whose heads are called as regraft's."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({"output_a": nn.Linear(8, 2)})

    def forward(self, x: Tensor) -> Tensor:
        return self.heads["output_a"](x)


def mlp(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), activation, nn.Linear(8, 3))


def test_rows_that_no_attention_reads_carry_over_too() -> None:
    link = rg.link(Parallel(), Parallel, inputs=ROWS).require(1.0)
    assert all(row.filled == 1 for row in link.rows)
    assert link.verify(ROWS).proven


def test_zeros_and_ones_are_no_mask() -> None:
    ids, types = torch.arange(8).reshape(2, 4), torch.tensor([[0, 1, 0, 1], [1, 1, 0, 0]])
    assert not rg.link(Typed(0.0), Typed(1.0), inputs=(ids, types)).verify((ids, types)).proven
    assert rg.link(Typed(1.0), Typed(1.0), inputs=(ids, types)).verify((ids, types)).proven


def test_a_ceiling_that_usual_inputs_do_not_reach_is_seen() -> None:
    proof = rg.link(mlp(nn.ReLU()), mlp(nn.ReLU6()), inputs=torch.randn(4, 8)).verify()
    assert not proof.proven
    assert any("relu6" in cause for cause in proof.causes)


def test_positions_of_words_are_not_resampled_as_an_image() -> None:
    ids = torch.arange(24).reshape(2, 12)
    link = rg.link(Texts(64), lambda: Texts(256), inputs=ids)
    assert [row.target for row in link.uncovered] == ["pos"]


def test_heads_of_a_users_own_module_are_tensors_like_others() -> None:
    assert all(row.carried for row in rg.link(Headed(), Headed, inputs=torch.randn(2, 8)).rows)


def test_whole_numbers_do_not_become_weights(tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in mlp(nn.ReLU()).state_dict().items()}
    state["0.weight"] = torch.randint(-99, 99, (8, 8), dtype=torch.int8)
    save_file(state, tmp_path / "w.safetensors")
    link = rg.link(tmp_path / "w.safetensors", lambda: mlp(nn.ReLU()), inputs=torch.randn(2, 8))
    with pytest.raises(rg.LinkError, match=r"0\.weight .*no floating-point numbers \(quantised\?\)"):
        link.load()


def test_what_torch_wrote_into_another_container_is_not_transposed(tmp_path: Path) -> None:
    state = mlp(nn.ReLU()).state_dict()
    np.savez(tmp_path / "w.npz", **{f"x{name}": tensor.numpy() for name, tensor in state.items()})
    link = rg.link(tmp_path / "w.npz", lambda: mlp(nn.ReLU()), inputs=torch.randn(2, 8))
    loaded = link.require(1.0).load().state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_a_link_that_requires_nothing_says_what_starts_fresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = mlp(nn.ReLU()).state_dict()
    del state["2.weight"]
    save_file(state, tmp_path / "w.safetensors")
    rg.link(tmp_path / "w.safetensors", lambda: mlp(nn.ReLU()), inputs=torch.randn(2, 8)).require(0.0).load()
    assert "1 shared tensors receive nothing and start fresh" in capsys.readouterr().err


def test_a_checkpoint_of_other_shapes_is_not_its_builders(tmp_path: Path) -> None:
    state = {**mlp(nn.ReLU()).state_dict(), "2.bias": torch.ones(1)}
    save_file(state, tmp_path / "w.safetensors")
    origin = Origin("w", file=tmp_path / "w.safetensors", builder=lambda: mlp(nn.ReLU()))
    with pytest.raises(rg.LinkError, match=r"no checkpoint of what its builder gives:\n  2\.bias has shape"):
        origin.native(head=True)


def test_networks_about_which_nothing_can_be_guessed_are_linked_by_name() -> None:
    link = find_link(Origin("a", module=nn.LSTM(4, 4)), WholeBlueprint("b", lambda: nn.LSTM(4, 4)))
    assert link.coverage.parameters == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zzz=>0.weight", "matches no source tensor"),
        (r"0\.(.*)=>\2", "names a group"),
        ("0.weight=>no", "does not have"),
    ],
)
def test_a_map_that_does_nothing_is_a_mistake(text: str, message: str) -> None:
    with pytest.raises(rg.UsageError, match=message):
        rg.link(mlp(nn.ReLU()), lambda: mlp(nn.ReLU()), inputs=torch.randn(2, 8), maps=[text])


def test_eight_bit_floats_stay_eight_bit_floats(tmp_path: Path) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3).to(torch.float8_e4m3fn), requires_grad=False)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight.float()

    save_file({"weight": torch.tensor([1.0, 2.0, 4.0]).to(torch.float8_e4m3fn)}, tmp_path / "w.safetensors")
    loaded = rg.link(tmp_path / "w.safetensors", Scale, inputs=torch.ones(1, 3)).load()
    assert loaded.weight.dtype == torch.float8_e4m3fn
    assert loaded.weight.float().tolist() == [1.0, 2.0, 4.0]
