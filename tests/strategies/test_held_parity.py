"""Strategies that hold the student to its source or to a teacher, beside PyTorch loops written by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from regraft.core.errors import PlanError
from regraft.core.randomness import numpy_generator, torch_randomness
from regraft.sources import read_weights
from regraft.terms.relationship import fit_temperature
from tests.engine.conftest import Bench
from tests.strategies.parity import (
    Group,
    Hand,
    as_whole_epochs,
    assert_parity,
    begin,
    cross_entropy,
    losses_by_hand,
    losses_of_engine,
    within,
)

NETWORK = "trunk.network."
LITE0 = "packaged:efficientnet-lite0"
BLOCK = {"pictures": "stages2", "phrases": "layer.1"}
TOLERANCE = {"pictures": 1e-5, "phrases": 1e-6}
LAST = {"pictures": "stages2", "phrases": "encoder.layer.1"}
BOTH = pytest.mark.parametrize("kind", ["pictures", "phrases"])


def groups(kind: str, decay: float = 0.01) -> list[Group]:
    return [Group(within("heads"), 1e-4), Group(within(NETWORK + LAST[kind]), 3e-4, decay)]


def bench_of(kind: str, request: pytest.FixtureRequest) -> Bench:
    bench: Bench = request.getfixturevalue(kind)
    return bench


def squares(hand: Hand, prefix: str, start: Mapping[str, Tensor] | None = None) -> Tensor:
    """The sum of the squares of trained parameters, or of what they moved."""
    named = [(name, value) for name, value in hand.model.named_parameters() if name.startswith(prefix)]
    assert named
    return torch.stack([(v - (start[n] if start else 0)).square().sum() for n, v in named]).sum()


@BOTH
def test_l2sp(kind: str, request: pytest.FixtureRequest) -> None:
    bench = bench_of(kind, request)

    def loss(hand: Hand) -> Tensor:
        start = dict(hand.start.named_parameters())
        near = squares(hand, NETWORK + LAST[kind], start)
        return cross_entropy(hand) + (0.1 / 2 * near + 0.01 / 2 * squares(hand, "heads"))

    # The solved head's weights are large: losses of a hundred have their last bit at 1e-5.
    assert_parity(bench, bench.plan("l2sp:1"), groups(kind, 0.0), loss=loss, tolerance=TOLERANCE[kind])


@BOTH
def test_bss(kind: str, request: pytest.FixtureRequest) -> None:
    bench = bench_of(kind, request)

    def loss(hand: Hand) -> Tensor:
        return cross_entropy(hand) + 1e-3 * torch.linalg.svdvals(hand.features())[-1].square()

    assert_parity(bench, bench.plan("bss:1"), groups(kind), loss=loss)


def attention_by_hand(hand: Hand, kind: str, cut: int) -> Tensor:
    """Li et al. 2019, section 3.3, to first order: channels without which the solved head's loss rises."""
    trunk, head = hand.start.trunk, hand.start.heads["output_label"]
    maps = trunk.prefix(hand.batch, cut=cut)
    assert maps is not None
    maps = maps.detach().requires_grad_(True)
    given = head(hand.pooled(trunk.suffix(maps, hand.batch, cut=cut)))
    (slope,) = torch.autograd.grad(functional.cross_entropy(given, hand.labels["label"]), maps)
    lost = -(maps * slope).detach()
    if kind == "phrases":
        lost = lost * hand.batch["attention_mask"][:, :, None]
    rises = lost.sum((0, 2, 3)) if kind == "pictures" else lost.sum((0, 1))
    scaled = (rises - rises.mean()) / rises.std(correction=0)
    return len(rises) * (scaled / 5).softmax(0)


@BOTH
@pytest.mark.parametrize("attention", ["learned", "equal"])
def test_delta(kind: str, attention: str, request: pytest.FixtureRequest) -> None:
    bench = bench_of(kind, request)
    learned: list[Tensor] = []

    def loss(hand: Hand) -> Tensor:
        cut = hand.model.trunk.cut_after(BLOCK[kind])
        one, other = (m.trunk.prefix(hand.batch, cut=cut) for m in (hand.model, hand.start))
        assert one is not None
        assert other is not None
        if not learned:
            learned.append(attention_by_hand(hand, kind, cut))
            assert learned[0].max() - learned[0].min() > 0.5
        counts = learned[0] if attention == "learned" else torch.ones_like(learned[0])
        squares_of = (one - other).square()
        if kind == "pictures":
            apart = torch.einsum("pchw,c->phw", squares_of, counts).mean((1, 2)) / 2
        else:
            mask = hand.batch["attention_mask"].float()
            apart = (squares_of @ counts * mask).sum(1) / mask.sum(1) / 2
        held = hand.pooled(apart[:, None]).mean()
        return cross_entropy(hand) + 0.5 * held + 0.01 / 2 * squares(hand, "heads")

    changes = ("terms.1.weight=0.5", f"terms.1.options.attention={attention}")
    assert_parity(bench, bench.plan("delta:1", *changes), groups(kind, 0.0), loss=loss)


def own_head(bench: Bench) -> nn.Linear:
    """The source's own head."""
    weights = read_weights(bench.source)
    rows, width = weights["classifier.weight"].shape
    head = nn.Linear(width, rows)
    head.load_state_dict({name: weights[f"classifier.{name}"] for name in ("weight", "bias")})
    return head


def assert_parity_with_own_head(
    bench: Bench, strategy: str, kept: Callable[[Hand, nn.Linear, nn.Linear], Tensor], *changes: str
) -> None:
    """As ``assert_parity``, with a copy of the source's own head that is trained beside the new one."""
    plan = as_whole_epochs(bench.plan(strategy, *changes), "schedule.name=constant", "schedule.warmup=0")
    hand, before = begin(bench, plan, "tune"), own_head(bench).requires_grad_(False)
    old = copy.deepcopy(before).requires_grad_(True)
    hand.model.heads["old"] = old
    losses = losses_by_hand(
        hand, groups("pictures"), loss=lambda one: cross_entropy(one) + kept(one, old, before)
    )
    assert losses_of_engine(bench, plan, "tune") == pytest.approx(losses, abs=1e-6)
    assert losses[0] - losses[-1] > 1e-4


def test_lwf(pictures: Bench) -> None:
    def kept(hand: Hand, old: nn.Linear, before: nn.Linear) -> Tensor:
        wanted = (before(hand.features(hand.start)) / 2).softmax(1)
        return -(wanted * (old(hand.features()) / 2).log_softmax(1)).sum(1).mean()

    assert_parity_with_own_head(pictures, "lwf:1", kept)


@pytest.mark.parametrize("temperature", [1.0, "auto"])
def test_co_tuning(pictures: Bench, temperature: float | str) -> None:
    def kept(hand: Hand, old: nn.Linear, before: nn.Linear) -> Tensor:
        logits, labels = before(hand.features(hand.start)), hand.labels["label"]
        chosen = fit_temperature(logits, labels, 4) if temperature == "auto" else 1.0
        assert (chosen != 1.0) is (temperature == "auto")
        given = (logits / chosen).softmax(1)
        related = torch.stack([given[labels == one].mean(0) for one in labels.unique()])
        return -2.3 * (related[labels] * old(hand.features()).log_softmax(1)).sum(1).mean()

    changes = () if temperature == 1.0 else (f"terms.1.options.temperature={temperature}",)
    assert_parity_with_own_head(pictures, "co-tuning:1", kept, *changes)


class Contrasts:
    """Bi-Tuning by hand: the key encoder, the queue and the projector, step after step."""

    def __init__(self, hand: Hand):
        self.key, self.steps = copy.deepcopy(hand.start), 0
        self.count = len(hand.labels["label"])
        classes, width = hand.model.heads["output_label"].weight.shape
        self.room = min(8 * classes, self.count)
        self.queue, self.theirs = torch.zeros(0, width), torch.zeros(0, dtype=torch.int64)
        with torch_randomness(hand.work.draw.seed, "term", "tune", 1):
            hand.model.heads["projector"] = nn.Linear(width, 128)

    def follow(self, hand: Hand) -> None:
        """The moving average after a step."""
        if self.steps:
            share = 1 - min(0.999, self.steps / (9 + self.steps))
            theirs = dict(hand.model.named_parameters())
            for name, mine in self.key.named_parameters():
                mine.data.lerp_(theirs[name].data, share)
        self.steps += 1

    def __call__(self, hand: Hand) -> Tensor:
        self.follow(hand)
        features, labels = hand.features(), hand.labels["label"]
        keys = hand.features(self.key).detach()
        head, projector = hand.model.heads["output_label"], hand.model.heads["projector"]
        rows = torch.cat([head.weight, head.bias[:, None]], 1)
        total = torch.zeros(())
        for i in range(self.count):
            same = [True, *(one == labels[i] for one in self.theirs.tolist())]
            of_class = torch.stack([with_one(h) for h in (features[i], *self.queue)]) @ unit(rows[labels[i]])
            theirs = torch.stack([unit(projector(h)).detach() for h in (keys[i], *self.queue)])
            for near in (of_class, theirs @ unit(projector(features[i]))):
                total = total - (near / 0.07).log_softmax(0)[torch.tensor(same)].mean()
        order = numpy_generator(hand.work.draw.seed, "order", "target", self.steps - 1).permutation(
            self.count
        )
        self.queue = torch.cat([self.queue, keys[order]])[-self.room :]
        self.theirs = torch.cat([self.theirs, labels[order]])[-self.room :]
        return total / self.count


def unit(row: Tensor) -> Tensor:
    return row / row.norm()


def with_one(row: Tensor) -> Tensor:
    return unit(torch.cat([row, torch.ones(1)]))


@BOTH
def test_bi_tuning(kind: str, request: pytest.FixtureRequest) -> None:
    bench = bench_of(kind, request)
    plan = as_whole_epochs(bench.plan("bi-tuning:1"), "schedule.name=constant", "schedule.warmup=0")
    hand = begin(bench, plan, "tune")
    contrasts = Contrasts(hand)
    losses = losses_by_hand(hand, groups(kind), loss=lambda one: cross_entropy(one) + contrasts(one))
    assert len(contrasts.queue) == contrasts.room < contrasts.count
    assert losses_of_engine(bench, plan, "tune") == pytest.approx(losses, abs=1e-6, rel=1e-6)
    assert losses[1] > losses[0] + 1  # the queue was empty
    assert max(abs(a - b) for a, b in pairwise(losses[1:])) > 1e-3


def test_distil(pictures: Bench) -> None:
    """The teacher is the source with the head that the student begins with as well."""

    def loss(hand: Hand) -> Tensor:
        with torch.no_grad():
            teacher = hand.work.models["teacher"]
            wanted = (teacher.heads["output_label"](hand.features(teacher)) / 2).softmax(1)
        return cross_entropy(hand) + 4 * apart(hand, wanted)

    assert_parity(pictures, pictures.plan("distil"), tuned_blocks(), loss=loss, tolerance=2e-6)


def test_distil_from_an_ensemble(pictures: Bench) -> None:
    """The second teacher has another network and reads pictures of another size."""
    plan = pictures.plan(f"distil:tiny-0+{LITE0}")
    assert [stage.model for stage in plan.stages] == ["student", "teacher-1", "teacher-2", "student"]
    small = plan.models["teacher-2"].model_copy(update={"options": {"size": 32}})
    plan = plan.model_copy(update={"models": {**plan.models, "teacher-2": small}})

    def loss(hand: Hand) -> Tensor:
        found = []
        for name in ("teacher-1", "teacher-2"):
            logits = torch.from_numpy(
                hand.work.seen_by(name).logits(hand.work.draw.train, model=name)["label"]
            )
            found.append((logits / 2).softmax(1))
        return cross_entropy(hand) + 4 * apart(hand, (found[0] + found[1]) / 2)

    assert_parity(pictures, plan, tuned_blocks(), loss=loss, tolerance=2e-6)


def test_a_teacher_that_is_named_twice_is_refused(pictures: Bench) -> None:
    with pytest.raises(PlanError, match=f"names the teacher {LITE0} twice"):
        pictures.plan(f"distil:{LITE0}+{LITE0}")


def apart(hand: Hand, wanted: Tensor) -> Tensor:
    """The divergence of the student's softened probabilities from those that are wanted."""
    found = (hand.logits() / 2).log_softmax(1)
    return functional.kl_div(found, wanted, reduction="batchmean")


def tuned_blocks() -> list[Group]:
    blocks = {"stages0": 1.69e-4, "stages1": 2.25e-4, "stages2": 3e-4}
    tuned = [Group(within(NETWORK + name), rate, 0.01) for name, rate in blocks.items()]
    return [Group(within("heads"), 1e-4), *tuned]
