"""What every trunk that is cut has to satisfy, however its blocks were found."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models
from torch import Tensor, nn

from regraft.core.inputs import Batch
from regraft.core.preprocessing import ImagePreprocessing, Preprocessing, TextPreprocessing
from regraft.sources import Trunk
from regraft.sources.example import example_of

WORDS = 60


def text_steps() -> TextPreprocessing:
    vocabulary = {f"w{number}": number for number in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "w0")).to_str().encode()
    return TextPreprocessing(tokenizer=tokenizer, max_length=16, pad_id=1)


def image_steps(size: int) -> ImagePreprocessing:
    return ImagePreprocessing(size=(size, size))


def batch_of(steps: Preprocessing) -> Batch:
    """Another batch size than the example's, and for text another length."""
    batch = example_of(steps, count=3)
    return {name: one[:, :9] if one.ndim == 2 else one for name, one in batch.items()}


def cuts_are_exact(trunk: Trunk, batch: Batch) -> None:
    """All blocks in a row, and each prefix with its suffix, give what the network gives in one piece."""
    trunk.eval()
    with torch.no_grad():
        whole = trunk(batch)
        activation: Tensor | None = None
        for block in trunk.blocks:
            activation = block.run(trunk.network, activation, batch)
        assert activation is not None
        assert torch.equal(activation, whole)
        for cut in {1, len(trunk.blocks) // 2, len(trunk.blocks) - 1}:
            assert torch.equal(trunk.suffix(trunk.prefix(batch, cut=cut), batch, cut=cut), whole), cut
    for name, _ in [*trunk.network.named_parameters(), *trunk.network.named_buffers()]:
        assert trunk.block_of(name) in trunk.block_names


def training_is_exact(trunk: Trunk, batch: Batch, *, apart: tuple[str, ...] = ()) -> None:
    """Same seed, cut in the middle: same outputs, same buffers, same gradients.

    ``apart`` names parameters that blocks on both sides of the cut share: their gradient has other last bits.
    """
    whole, cut = copy.deepcopy(trunk).train(), copy.deepcopy(trunk).train()
    middle = len(trunk.blocks) // 2
    torch.manual_seed(7)
    expected = whole(batch)
    torch.manual_seed(7)
    found = cut.suffix(cut.prefix(batch, cut=middle), batch, cut=middle)
    assert torch.equal(found, expected)
    for given in (expected, found):
        given.square().sum().backward()
    for (name, one), other in zip(whole.named_parameters(), cut.parameters(), strict=True):
        if name.endswith(apart) and apart:
            assert torch.allclose(one.grad, other.grad)  # type: ignore[arg-type]
        else:
            assert (one.grad is None) == (other.grad is None), name
            assert one.grad is None or torch.equal(one.grad, other.grad), name  # type: ignore[arg-type]
    for (name, one), other in zip(whole.named_buffers(), cut.buffers(), strict=True):
        assert torch.equal(one, other), name


@pytest.fixture(scope="session")
def cutting() -> SimpleNamespace:
    """Test modules cannot import each other."""

    def check(trunk: Trunk, steps: Preprocessing, *, apart: tuple[str, ...] = ()) -> None:
        trunk.reading(steps)
        batch = batch_of(steps)
        trunk.eval().cut_after(trunk.block_names[0])  # proves it: what departs is cut in another way
        assert trunk.uncut_reason == ""
        cuts_are_exact(trunk, batch)
        training_is_exact(trunk, batch, apart=apart)

    def trunk_of(network: nn.Module, steps: Preprocessing) -> Trunk:
        from regraft.sources.module import _whole

        torch.manual_seed(0)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.3)
        return Trunk(network, _whole, 1, reads=steps)

    return SimpleNamespace(
        check=check,
        trunk_of=trunk_of,
        batch_of=batch_of,
        text_steps=text_steps,
        image_steps=image_steps,
        assert_exact=cuts_are_exact,
        assert_trains_exactly=training_is_exact,
        words=WORDS,
    )
