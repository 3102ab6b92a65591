from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from regraft.core.errors import SourceError, UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources import build_trunk, example_batch, from_module, load_native, read_weights

STEPS = ImagePreprocessing(size=(16, 16))


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3))


class WithToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(4))
        self.body = nn.Conv2d(3, 4, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.body(pixels).mean((2, 3)) + self.token


def test_module_in_memory(exactness: SimpleNamespace) -> None:
    module = small().eval()
    source = from_module(module, STEPS, name="mine")
    trunk, batch = load_native(source), example_batch(source)
    with torch.no_grad():
        assert torch.equal(trunk(batch), module(batch["pixels"]).mean((2, 3)))
    assert source.weights is not None
    assert source.weights.files == ()
    assert all(
        torch.equal(read_weights(source)[name], tensor) for name, tensor in module.state_dict().items()
    )
    exactness.assert_cuts_are_exact(trunk, batch)
    exactness.assert_owned_once(trunk)
    exactness.assert_copies(trunk, batch)
    exactness.assert_gradients_flow(trunk, batch)
    exactness.assert_meta(source)


def test_a_built_trunk_keeps_no_pretrained_value() -> None:
    module = small()
    source = from_module(module, STEPS)
    fresh = build_trunk(source).network.state_dict()
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            assert not torch.equal(fresh[name], parameter)


def test_module_that_cannot_start_afresh_says_so() -> None:
    with pytest.raises(SourceError, match=r"its part 'WithToken' \(WithToken\) cannot be initialised anew"):
        build_trunk(from_module(WithToken(), STEPS))


def test_head_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="has no submodule 'fc' to take off; it has 0, 1, 2, 3"):
        from_module(small(), STEPS, head="fc")


def test_a_module_that_stands_at_two_places_runs_at_both() -> None:
    act, layer = nn.LeakyReLU(0.1), nn.Conv2d(4, 4, 3, padding=1)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), act, layer, act, layer).eval()
    trunk = load_native(from_module(network, ImagePreprocessing(size=(8, 8))))
    assert trunk is not None
    pixels = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(trunk.eval()({"pixels": pixels}), network(pixels).mean((2, 3)))
