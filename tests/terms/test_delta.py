"""DELTA on maps, token sequences and pieces: sums written out by hand, and channels removed one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.errors import PlanError
from regraft.core.task_spec import TaskSpec
from regraft.tasks import make_task
from regraft.terms import Pass, StageContext, find_term
from regraft.terms.delta import Delta
from regraft.terms.term import Maps
from tests.terms.contexts import step

GENERATOR = torch.Generator().manual_seed(0)


def value(student: torch.Tensor, start: torch.Tensor, *, lengths: list[int] | None = None) -> float:
    """Three pieces, of which the last two belong to one example with weights 1/4 and 3/4."""
    found = {}
    for model, values in (("student", student), ("start", start)):
        owners, weights = torch.tensor([0, 1, 1]), torch.tensor([1.0, 0.25, 0.75])
        found[model] = Maps(values, owners, weights, None if lengths is None else torch.tensor(lengths))
    term = find_term("delta")(
        models=("student", "start"), streams=("target",), outputs=(), options={"blocks": ["b"]}
    )
    context = step(size=2, maps=lambda model, stream, block: found[model])
    result = term(context)
    assert result.per_example.shape == (2,)
    return float(result.total)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


@pytest.mark.parametrize("shape", [(3, 5, 2, 4), (3, 4, 4, 5)])
def test_maps_have_places_and_channels(shape: tuple[int, ...]) -> None:
    one, other = draw(*shape), draw(*shape)
    places = 8 if shape[1] == 5 else 16
    each = [float((a - b).square().sum()) / (2 * places) for a, b in zip(one, other, strict=True)]
    expected = (each[0] + 0.25 * each[1] + 0.75 * each[2]) / 2
    assert value(one, other) == pytest.approx(expected, rel=1e-5)
    assert value(one, one) == 0.0


def test_padding_of_sequences_plays_no_part_and_may_be_cut_off() -> None:
    one, other = draw(3, 6, 4), draw(3, 5, 4)
    lengths = [5, 2, 3]
    each = [
        float((a[:n] - b[:n]).square().sum()) / (2 * n) for a, b, n in zip(one, other, lengths, strict=True)
    ]
    expected = (each[0] + 0.25 * each[1] + 0.75 * each[2]) / 2
    assert value(one, other, lengths=lengths) == pytest.approx(expected, rel=1e-5)


def test_features_have_one_place() -> None:
    assert value(torch.ones(3, 4), torch.zeros(3, 4)) == pytest.approx(2.0)


def test_blocks_have_to_be_named() -> None:
    with pytest.raises(PlanError, match="wants the blocks whose activations are compared"):
        find_term("delta")(models=("student", "start"), streams=("target",), outputs=(), options={})


HEAD = nn.Linear(6, 3)
TASKS = {"kind": make_task(TaskSpec("kind", "multiclass", ("a", "b", "c")))}
LABELS = torch.tensor([0, 2, 1, -1])


def learned(values: Tensor, *, labels: Tensor | None = LABELS, lengths: Tensor | None = None) -> Delta:
    """Prepared on four examples of one piece each, whose mean over places the head reads."""
    weights = torch.ones(4)

    def passes(model: str, stream: str, blocks: tuple[str, ...]) -> Iterator[Pass]:
        for rows in (slice(0, 3), slice(3, 4)):
            leaf = values[rows].clone().requires_grad_(True)
            own = None if lengths is None else lengths[rows]
            maps = Maps(leaf, torch.arange(len(leaf)), weights[rows], own)
            known = {} if labels is None else {"kind": labels[rows]}
            read = leaf.mean((2, 3)) if leaf.ndim == 4 else leaf.mean(1)
            yield Pass({"kind": HEAD(read)}, {"b": maps}, known)

    term = find_term("delta")(
        models=("student", "start"),
        streams=("target",),
        outputs=(),
        options={"blocks": ["b"], "attention": "learned"},
    )
    assert isinstance(term, Delta)
    term.prepare(
        StageContext(
            tasks=TASKS,
            heads=lambda model: {"kind": HEAD},
            specs=lambda model: {},
            width=lambda model: 6,
            features=lambda model, stream: (values, {}),
            passes=passes,
        )
    )
    return term


def loss_without(values: Tensor, channel: int | None) -> float:
    maps = values.clone()
    if channel is not None:
        maps[:, channel] = 0
    losses = functional.cross_entropy(HEAD(maps.mean((2, 3))), LABELS, ignore_index=-1, reduction="none")
    return float(losses.detach().sum())


def test_attention_is_that_of_channels_removed_one_by_one() -> None:
    """To first order, so maps are small here: then the rise of each channel is met closely."""
    values = 0.05 * draw(4, 6, 2, 3)
    rises = torch.tensor([loss_without(values, c) - loss_without(values, None) for c in range(6)])
    scaled = (rises - rises.mean()) / rises.std(correction=0)
    expected = 6 * (scaled / 5).softmax(0)
    found = learned(values).attention["b"]
    assert torch.allclose(found, expected, atol=5e-3)
    assert float(found.mean()) == pytest.approx(1.0)
    assert float(found.max() - found.min()) > 0.3


def test_channels_that_say_nothing_count_alike() -> None:
    assert torch.equal(learned(torch.zeros(4, 6, 2, 3)).attention["b"], torch.ones(6))


def test_padding_teaches_no_attention() -> None:
    """Where a network reads what it computes at padding, that is still no activation of the example."""
    values, lengths = draw(4, 5, 6), torch.tensor([2, 5, 3, 1])
    means = values.mean(1).requires_grad_(True)
    (slope,) = torch.autograd.grad(
        functional.cross_entropy(HEAD(means), LABELS, ignore_index=-1, reduction="sum"), means
    )
    inside = torch.stack([one[:n].sum(0) for one, n in zip(values, lengths.tolist(), strict=True)])
    rises = -(inside * slope / 5).sum(0)
    expected = 6 * ((rises - rises.mean()) / rises.std(correction=0) / 5).softmax(0)
    found = learned(values, lengths=lengths).attention["b"]
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, learned(values).attention["b"], atol=1e-2)


def test_attention_weighs_channels() -> None:
    term = learned(draw(4, 6, 2, 3))
    one, other = draw(4, 6, 2, 3), draw(4, 6, 2, 3)
    found = {m: Maps(v, torch.arange(4), torch.ones(4)) for m, v in (("student", one), ("start", other))}
    result = term(step(size=4, maps=lambda model, stream, block: found[model]))
    counts = term.attention["b"]
    expected = sum(float(counts[c]) * float((one - other)[:, c].square().sum()) for c in range(6))
    assert float(result.total) == pytest.approx(expected / (2 * 6 * 4), rel=1e-5)


def test_attention_needs_labels_and_a_solved_head() -> None:
    with pytest.raises(PlanError, match="learns its attention from labels, and the stream 'target' has none"):
        learned(draw(4, 6, 2, 3), labels=None)
    kept = HEAD.weight.detach().clone(), HEAD.bias.detach().clone()
    try:
        for parameter in HEAD.parameters():
            nn.init.zeros_(parameter)
        with pytest.raises(PlanError, match="'start' knows nothing of the output 'kind'"):
            learned(draw(4, 6, 2, 3))
    finally:
        with torch.no_grad():
            HEAD.weight.copy_(kept[0])
            HEAD.bias.copy_(kept[1])
    with pytest.raises(PlanError, match="equal or learned; got 'some'"):
        find_term("delta")(
            models=("student", "start"),
            streams=("target",),
            outputs=(),
            options={"blocks": ["b"], "attention": "some"},
        )
