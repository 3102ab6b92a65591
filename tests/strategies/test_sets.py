"""What strategies say that they train, on a convolutional network, a transformer and a stacked LSTM.

The sentences are those that ``regraft plan`` and ``regraft fit`` print; the conformance suite runs the plans
and sees that what is said to be frozen is.
"""

from __future__ import annotations

import pytest

from regraft.core.errors import PlanError
from regraft.engine.edits import edited, edits_at
from regraft.engine.freezing import decide_freeze
from regraft.engine.patterns import HEAD, block_of
from regraft.engine.sets import planned_sets
from regraft.linking import Blueprint, Link, find_link
from regraft.plans import TrainStage
from regraft.sources import Source
from regraft.strategies import STRATEGIES, plan_for
from regraft.tasks import make_task
from tests.strategies import tiny
from tests.strategies.conftest import two_classes

ALL = {
    "convolutional": "stem, stages{0..2}, head",
    "transformer": "embeddings, layer.{0..1}, head",
    "recurrent": "embeddings, lstm.layer.{0..2}, linear, head",
}
SAID = {
    (
        "convolutional",
        "lpft:2",
    ): "trains stages{1..2}, head: 2,978 of 4,802 parameters. Frozen: stem, stages0, "
    "computed once up to stages0.",
    (
        "transformer",
        "lpft:1",
    ): "trains layer.1, head: 1,994 of 4,610 parameters. Frozen: embeddings, layer.0, "
    "computed once up to layer.0.",
    ("recurrent", "partial:2"): "trains lstm.layer.2, linear, head: 666 of 1,858 parameters. Frozen: "
    "embeddings, lstm.layer.{0..1}, computed once up to lstm.layer.1.",
    (
        "convolutional",
        "bitfit",
    ): "trains head; a part of stem, stages{0..2}: 110 of 4,802 parameters. Frozen: nothing.",
    ("transformer", "bitfit"): "trains head; a part of embeddings, layer.{0..1}: 322 of 4,610 parameters. "
    "Frozen: nothing.",
    ("recurrent", "bitfit"): "trains head; a part of lstm.layer.{0..2}, linear: 218 of 1,858 parameters. "
    "Frozen: embeddings, computed once up to embeddings.",
    (
        "convolutional",
        "lora",
    ): "trains head; a part of stem, stages{0..2}: 3,794 of 8,570 parameters. Frozen: nothing.",
    (
        "transformer",
        "lora",
    ): "trains head; a part of layer.{0..1}: 2,082 of 6,658 parameters. Frozen: embeddings.",
    ("convolutional", "norm-only"): "trains head; a part of stem, stages{0..2}: 122 of 4,802 parameters. "
    "Frozen: nothing.",
    ("transformer", "norm-only"): "trains head; a part of embeddings, layer.{0..1}: 194 of 4,610 parameters. "
    "Frozen: nothing.",
}
OWN_HEAD = "needs what the source itself tells apart"
REFUSED = {
    ("transformer", "co-tuning"): OWN_HEAD,
    ("transformer", "lwf"): OWN_HEAD,
    ("recurrent", "co-tuning"): OWN_HEAD,
    ("recurrent", "lwf"): OWN_HEAD,
    ("recurrent", "stochnorm"): "stochnorm changes batch norms, and the network of recurrent-0 has none",
    ("transformer", "stochnorm"): "stochnorm changes batch norms, and the network of .* has none",
    ("transformer", "parallel-adapters"): "these hold 0 of the 0 weights",
    ("recurrent", "parallel-adapters"): "these hold 0 of the 0 weights",
    (
        "recurrent",
        "norm-only",
    ): "norm-only trains each scale of the network, and that of recurrent-0 has none",
}
WHOLE = ("full", "scratch", "layer-decay", "surgical", "lpft:all", "gradual")


@pytest.fixture(scope="module")
def links(bert: Source) -> dict[str, Link]:
    """By kind of network."""
    sources = {
        "convolutional": tiny.convolutional(),
        "transformer": bert,
        "recurrent": tiny.recurrent(bert),
    }
    tasks = (make_task(two_classes()),)
    return {kind: find_link(source, Blueprint(source, tasks)) for kind, source in sources.items()}


@pytest.mark.parametrize(("kind", "strategy"), SAID)
def test_what_is_trained_is_said_block_by_block(links: dict[str, Link], kind: str, strategy: str) -> None:
    link = links[kind]
    (sets,) = planned_sets(plan_for(link, strategy), link.graft.skeleton())
    assert without_counts(str(sets)) == without_counts(f"Stage 'tune' {SAID[kind, strategy]}")


def without_counts(sentence: str) -> str:
    """The sentence without the transformer's numbers, which are those of a vocabulary."""
    return " ".join(word for word in sentence.split() if "," not in word.rstrip(",") or not word[0].isdigit())


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("strategy", WHOLE)
def test_the_last_stage_of_others_trains_everything(links: dict[str, Link], kind: str, strategy: str) -> None:
    link = links[kind]
    sets = planned_sets(plan_for(link, strategy), link.graft.skeleton())[-1]
    assert ", ".join(sets.trained) == ALL[kind]
    assert (sets.partly, sets.frozen, sets.parameters) == ((), (), sets.total)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_parameter_is_in_one_set(links: dict[str, Link], kind: str, strategy: str) -> None:
    link = links[kind]
    if (kind, strategy) in REFUSED:
        with pytest.raises(PlanError, match=REFUSED[kind, strategy]):
            plan_for(link, strategy)
        return
    plan = plan_for(link, strategy)
    model = link.graft.skeleton()
    stages = [one for one in plan.stages if isinstance(one, TrainStage)]
    for stage, sets in zip(stages, planned_sets(plan, model), strict=True):
        with edited(model, edits_at(plan, stage)):
            freeze = decide_freeze(model, stage.trainable, stage.frozen_prefix)
            sizes = {name: value.numel() for name, value in model.named_parameters()}
            assert sets.parameters == sum(sizes[name] for name in freeze.trainable)
            assert sets.total == sum(sizes.values())
            cut = set(model.trunk.block_names[: freeze.cut])
            assert not cut & {block_of(model, name) for name in freeze.trainable}
            assert HEAD in (*sets.trained, *sets.partly)
