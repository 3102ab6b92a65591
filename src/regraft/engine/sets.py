"""What each stage trains and what it leaves as it is, folded by block, for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from regraft.engine.edits import edited, edits_at
from regraft.engine.freezing import Freeze, decide_freeze
from regraft.engine.patterns import HEAD, block_of
from regraft.linking import Grafted
from regraft.plans import Plan, TrainStage
from regraft.sources.trunk import fold_names


@dataclass(frozen=True)
class TrainedSets:
    """What one train stage trains.

    Attributes
    ----------
    trained, partly, frozen
        Blocks of which all parameters, some and none are trained, stem to head, as
        ``blocks.{9..11}``; ``head`` is the heads. Blocks that hold no parameters are left out.
    parameters, total
        How many numbers are trained, and how many there are.
    computed_once
        The last block of the prefix that is run once for each example; empty where every step runs all.
    """

    stage: str
    trained: tuple[str, ...]
    partly: tuple[str, ...]
    frozen: tuple[str, ...]
    parameters: int
    total: int
    computed_once: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [", ".join(self.trained)] if self.trained else []
        parts += [f"a part of {', '.join(self.partly)}"] if self.partly else []
        said = f"Stage {self.stage!r} trains {'; '.join(parts)}: {self.parameters:,} of {self.total:,} "
        said += f"parameters. Frozen: {', '.join(self.frozen) or 'nothing'}"
        return said + (f", computed once up to {self.computed_once}." if self.computed_once else ".")


def trained_sets(stage: TrainStage, model: Grafted, freeze: Freeze) -> TrainedSets:
    """What a stage trains of its model; the weights themselves are not looked at."""
    counts: dict[str, list[int]] = {name: [0, 0] for name in (*model.trunk.block_names, HEAD)}
    parameters = total = 0
    for name, value in model.named_parameters():
        moves = name in freeze.trainable
        counts[block_of(model, name)][moves] += 1
        parameters += value.numel() * moves
        total += value.numel()

    def folded(kept: bool, moved: bool) -> tuple[str, ...]:
        wanted = (kept, moved)
        return tuple(fold_names([name for name, (k, m) in counts.items() if (k > 0, m > 0) == wanted]))

    return TrainedSets(
        stage.name,
        trained=folded(False, True),
        partly=folded(True, True),
        frozen=folded(True, False),
        parameters=parameters,
        total=total,
        computed_once=stage.frozen_prefix or "",
    )


def planned_sets(plan: Plan, model: Grafted) -> list[TrainedSets]:
    """What the stages of a plan will train of its student; ``model`` may have no weights."""
    found = []
    for stage in plan.stages:
        if isinstance(stage, TrainStage) and stage.model == "student":
            with edited(model, edits_at(plan, stage), stage=stage.name, sketched=True):
                freeze = decide_freeze(model, stage.trainable, stage.frozen_prefix)
                found.append(trained_sets(stage, model, freeze))
    return found
