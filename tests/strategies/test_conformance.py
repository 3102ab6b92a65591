"""Every strategy, carried out on an image and a text source over every kind of task that it claims.

A strategy that the registry has and :data:`CASES` has not fails here. A case says what may move; everything
else has to be what it was, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np
import pytest
import torch

from regraft.core.errors import PlanError
from regraft.engine import Workspace, execute
from regraft.engine.stream_data import StreamData
from regraft.linking import Grafted
from regraft.linking.grafted import head_key
from regraft.plans import Plan, TrainStage, change_plan, plan_from_yaml, plan_to_yaml
from regraft.strategies import STRATEGIES, find_strategy
from regraft.tasks import make_task
from tests.engine.conftest import Bench

IMAGES, TEXTS = "tiny_images", "tiny_texts"
HEAD = ("heads.*",)
EVERYTHING = ("trunk.*", *HEAD)
NORMS = {IMAGES: ("*norm.*", "*stem.1.*"), TEXTS: ("*.LayerNorm.*",)}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def after(block: str) -> tuple[str, ...]:
    """Patterns of what stands in these blocks, and of the head."""
    return (f"trunk.network.{block}.*", *HEAD)


@dataclass(frozen=True)
class Case:
    """What a strategy may move.

    Attributes
    ----------
    moves
        Patterns over names of parameters, by kind of source.
    statistics
        Whether batch norm goes on collecting them.
    changes
        Settings that make its run short, beside those of every case.
    refuses
        By kind of source that the strategy cannot be planned for, what its PlanError says.
    """

    moves: Mapping[str, tuple[str, ...]]
    statistics: bool = False
    changes: tuple[str, ...] = ()
    refuses: Mapping[str, str] = field(default_factory=dict)


def both(patterns: tuple[str, ...], **options: object) -> Case:
    """A case whose patterns are the same for images and texts."""
    return Case({IMAGES: patterns, TEXTS: patterns}, **options)  # type: ignore[arg-type]


LAST = {IMAGES: after("stages2"), TEXTS: after("encoder.layer.1")}
LAST_THREE = {IMAGES: after("stages?"), TEXTS: EVERYTHING}
NO_HEAD = {TEXTS: "brings no head of its own"}
MIXING = {
    IMAGES: ("*.stem.0.*", "*.out.*", "*.back.*", *HEAD),
    TEXTS: ("*.attention.self.*", "*.attention.output.dense.*", *HEAD),
}
TWICE = ("stop.epochs=2",)  # the first step of a low-rank product moves one of its factors
CASES: dict[str, Case] = {
    "probe": both(HEAD),
    "probe:logistic": both(HEAD),
    "probe:centroid": both(HEAD),
    "probe:knn": both(()),
    "lpft:1": Case(LAST),
    "lpft:all": both(EVERYTHING),
    "partial:1": Case(LAST),
    "partial:0": both(HEAD),
    "gradual:2": both(EVERYTHING),
    "layer-decay": both(EVERYTHING, statistics=True),
    "bitfit": both(("*.bias", *HEAD)),
    "norm-only": Case({kind: (*patterns, *HEAD) for kind, patterns in NORMS.items()}),
    "surgical": both(EVERYTHING),
    "wise-ft:0.5": Case(LAST_THREE),
    "swa": Case(LAST_THREE),
    "soup": Case(LAST_THREE),
    "soup:layers": Case(LAST_THREE),
    "joint:learned": Case(LAST_THREE),
    "joint:uncertainty": Case(LAST_THREE),
    "multitask": Case(LAST_THREE),
    "multitask:pcgrad": Case(LAST_THREE),
    "multitask:gradnorm": Case(LAST_THREE),
    "l2sp:1": Case(LAST),
    "delta:1": Case(LAST),
    "bss:1": Case(LAST),
    "co-tuning:1": Case(LAST, refuses=NO_HEAD),
    "bi-tuning:1": Case(LAST),
    "lwf:1": Case(LAST, refuses=NO_HEAD),
    "distil": Case({IMAGES: after("stages?"), TEXTS: EVERYTHING}),
    "lora:2": Case(MIXING, changes=TWICE),
    "dora:2": Case(MIXING, changes=TWICE),
    "ia3": Case({IMAGES: MIXING[IMAGES], TEXTS: ("*.key.*", "*.value.*", "*[01].output.dense.*", *HEAD)}),
    "adapters:4": Case(
        {
            IMAGES: ("*.adapter.*", *NORMS[IMAGES], *HEAD),
            TEXTS: ("*.adapter.*", *NORMS[TEXTS], *HEAD),
        },
        changes=TWICE,
    ),
    "parallel-adapters": Case(
        {IMAGES: ("*.out.*", *NORMS[IMAGES], *HEAD)}, refuses={TEXTS: "these hold 0 of the 0 weights"}
    ),
    "stochnorm": Case(
        {IMAGES: EVERYTHING}, statistics=True, refuses={TEXTS: "changes batch norms, and .* none"}
    ),
    "full": both(EVERYTHING, statistics=True),
    "scratch": both(EVERYTHING, statistics=True),
}
"""By strategy with its argument. A new strategy adds a line."""
ONLY_CLASSES = ("probe:logistic", "probe:centroid")
SHORT = ("stop.epochs=1", "stop.keep=last")


def test_every_strategy_has_a_case() -> None:
    assert {name.partition(":")[0] for name in CASES} == set(STRATEGIES)


@pytest.mark.parametrize("kind", [IMAGES, TEXTS])
@pytest.mark.parametrize("strategy", CASES)
def test_a_strategy_fits_every_kind_of_task(kind: str, strategy: str, request: pytest.FixtureRequest) -> None:
    bench: Bench = request.getfixturevalue(kind)
    case = CASES[strategy]
    if kind in case.refuses:
        with pytest.raises(PlanError, match=case.refuses[kind]):
            bench.plan(strategy)
        return
    plan = shortened(bench, strategy, case)
    assert plan_from_yaml(plan_to_yaml(plan)) == plan
    work = bench.open(plan, others=other_data(bench, plan))
    model = work.models["student"]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    execute(work)

    assert_learned(work)
    assert_predicts(bench, work)
    assert_moved(model, before, case, case.moves[kind])


def shortened(bench: Bench, strategy: str, case: Case) -> Plan:
    """The strategy's plan for every output that it claims to train for, made short."""
    plan = bench.plan(strategy, whole=True)
    trained = any(isinstance(stage, TrainStage) for stage in plan.stages)
    claimed = find_strategy(strategy).kinds
    names = [spec.name for spec in bench.target.tasks if claims(strategy, claimed, spec.kind)]
    some = () if len(names) == len(bench.target.tasks) else (f"outputs={names}",)
    return change_plan(plan, [*(SHORT if trained else ()), *some, *case.changes])


def other_data(bench: Bench, plan: Plan) -> dict[str, StreamData]:
    """For streams with heads of their own: the target's examples, labelled anew."""
    target, found = bench.target, {}
    for name in (name for name, spec in plan.streams.items() if spec.heads == "own"):
        labels = {f"{name}.{output}": values for output, values in target.labels(target.pool).items()}
        labels = {output: whole(values, target.pool, len(target)) for output, values in labels.items()}
        specs = [replace(spec, name=f"{name}.{spec.name}") for spec in target.tasks]
        tasks = {spec.name: make_task(spec) for spec in specs}
        hashes = target.examples.hashes
        found[name] = StreamData(name, bench.prepared.inputs, hashes, labels, "hash", target.pool, tasks)
    return found


def whole(values: np.ndarray, examples: np.ndarray, count: int) -> np.ndarray:
    """Labels of all ``count`` examples, of which some are known; nobody reads the others."""
    found = np.zeros((count, *values.shape[1:]), values.dtype)
    found[examples] = values
    return found


def claims(strategy: str, kinds: tuple[str, ...], kind: str) -> bool:
    """Whether the strategy, with this argument, trains for a kind of task."""
    return kind in kinds and not (strategy in ONLY_CLASSES and kind == "regression")


def assert_learned(work: Workspace) -> None:
    """Every stage left a line, and every figure in it is a number."""
    lines = [line for line in work.history.lines if line["kind"] in ("train", "solve")]
    certain = {
        stage.name
        for stage in work.plan.stages
        if stage.kind == "train" or (stage.kind == "solve" and stage.when == "always")
    }
    assert certain <= {line["stage"] for line in lines}
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    scores = [score for line in lines if line["kind"] == "solve" for score in line.get("scores", [])]
    assert all(math.isfinite(value) for value in [*losses, *scores])


def assert_predicts(bench: Bench, work: Workspace) -> None:
    """The model gives a decodable answer for every output of every test example."""
    logits = work.logits(bench.target.test)
    for spec in bench.target.tasks:
        outputs = 1 if spec.kind == "regression" else len(spec.classes)
        assert logits[spec.name].shape == (len(bench.target.test), outputs)
        assert np.isfinite(logits[spec.name]).all()
        decoded = work.tasks[spec.name].decode(work.tasks[spec.name].scores(logits[spec.name]))
        assert len(decoded) == len(bench.target.test)


def assert_moved(
    model: Grafted, before: dict[str, torch.Tensor], case: Case, patterns: tuple[str, ...]
) -> None:
    """What the case names moved in every block, and nothing else did."""
    # A head of kept examples stands where the linear one was: there is nothing to compare.
    own = tuple(f"heads.{head_key(output)}." for output in model.own_heads())
    after = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(own)}
    before = {name: tensor for name, tensor in before.items() if not name.startswith(own)}
    added = {n for n in after if model.trunk.added_by(n.removeprefix("trunk.network."))}
    assert after.keys() - added == before.keys()
    changed = added | {n for n in before if not torch.equal(after[n], before[n])}
    meant = {name for name in after if any(fnmatchcase(name, one) for one in patterns)}
    statistics = {name for name in after if name.endswith(STATISTICS)}
    parameters = meant - statistics - {name for name, _ in model.named_buffers()}
    assert changed - statistics <= parameters
    assert blocks(model, changed - statistics) == blocks(model, parameters)
    assert bool(changed & statistics) == (case.statistics and bool(statistics))


def blocks(model: Grafted, names: set[str]) -> set[str]:
    """The blocks that hold these, and ``head``."""
    network = "trunk.network."
    return {
        model.trunk.block_of(name.removeprefix(network)) if name.startswith(network) else "head"
        for name in names
    }
