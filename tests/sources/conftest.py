"""Sources that several tests read, and what every source's trunk has to satisfy."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

from regraft.core.inputs import Batch
from regraft.sources import Source, Trunk, build_trunk, find


@pytest.fixture(scope="session")
def lite0() -> Source:
    return find("packaged:efficientnet-lite0", size=96)


@pytest.fixture(scope="session")
def minilm() -> Source:
    return find("packaged:minilm")


@pytest.fixture(scope="session")
def exactness() -> SimpleNamespace:
    """The assertions below: test modules cannot import each other."""
    checks = (cuts_are_exact, owned_once, gradients_flow, copies, meta)
    return SimpleNamespace(**{f"assert_{check.__name__}": check for check in checks})


def cuts_are_exact(trunk: Trunk, batch: Batch, *, every: int = 1) -> None:
    """suffix(prefix(x)) equals forward(x) to the bit, at each cut."""
    trunk.eval()
    with torch.no_grad():
        whole = trunk(batch)
        activation = None
        for cut, block in enumerate(trunk.blocks, start=1):
            activation = block.run(trunk.network, activation, batch)
            if cut % every == 0 or cut == len(trunk.blocks):
                assert torch.equal(trunk.suffix(activation, batch, cut=cut), whole), block.name
        assert torch.equal(trunk.suffix(trunk.prefix(batch, cut=2), batch, cut=2), whole)
    assert whole.shape[1] == trunk.width


def owned_once(trunk: Trunk) -> None:
    """Every parameter and buffer belongs to a block of the chain."""
    for name, _ in [*trunk.network.named_parameters(), *trunk.network.named_buffers()]:
        assert trunk.block_of(name) in trunk.block_names


def gradients_flow(trunk: Trunk, batch: Batch) -> None:
    """Each block's parameters get a gradient from the pooled features, and only once."""
    trunk.train()
    trunk(batch).square().sum().backward()
    without = [name for name, parameter in trunk.network.named_parameters() if parameter.grad is None]
    trunk.zero_grad()
    assert without == []


def copies(trunk: Trunk, batch: Batch) -> None:
    """A deep copy is another network with the same function."""
    twin = copy.deepcopy(trunk).eval()
    trunk.eval()
    with torch.no_grad():
        assert torch.equal(twin(batch), trunk(batch))
        for parameter in twin.parameters():
            parameter.zero_()
        assert not torch.equal(twin(batch), trunk(batch))


def meta(source: Source) -> None:
    """The skeleton takes no memory and has the same names."""
    with torch.device("meta"):
        skeleton = build_trunk(source)
    assert all(tensor.is_meta for tensor in skeleton.state_dict().values())
    assert sum(parameter.numel() for parameter in skeleton.parameters()) == source.parameters
    assert skeleton.stated_outputs == source.outputs
