"""What terms bring to a stage beside their formula: trained parts, what they learn first and remember."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from regraft.core.errors import PlanError
from regraft.core.randomness import torch_randomness
from regraft.engine.passes import passes
from regraft.engine.processes import Lockstep
from regraft.engine.streams import Stream
from regraft.engine.weights import WeightedTerm
from regraft.engine.workspace import Workspace
from regraft.linking.grafted import head_key
from regraft.plans import TrainStage
from regraft.terms import Pass, StageContext
from regraft.terms.term import Labels


def open_parts(
    stage: TrainStage,
    work: Workspace,
    terms: Sequence[WeightedTerm],
    streams: Mapping[str, Stream],
    lockstep: Lockstep,
) -> nn.ModuleDict:
    """Let every term prepare itself; returns the parts that are trained beside the model, by its number.

    All processes train them alike.
    """
    frozen = frozenset(
        name for name, spec in work.plan.models.items() if stage.model not in (name, spec.average_of)
    )

    def check(model: str, stream: str) -> None:
        if model not in frozen or streams[stream].other is not None:
            raise PlanError(
                f"a term of stage {stage.name!r} learns from the features of {model!r} on {stream!r} before "
                "the stage begins: that has to be a model that it does not train, and a stream of the target"
            )

    def features(model: str, stream: str) -> tuple[Tensor, Labels]:
        check(model, stream)
        examples = streams[stream].examples
        labels = {name: values.to(work.device) for name, values in work.labels(examples).items()}
        return work.features(model, examples).to(work.device), labels

    def run(model: str, stream: str, blocks: tuple[str, ...]) -> Iterable[Pass]:
        check(model, stream)
        return passes(work, model, streams[stream], blocks)

    context = StageContext(
        tasks=work.tasks,
        heads=lambda model: {
            name: work.models[model].heads[head_key(name)] for name in work.models[model].outputs
        },
        specs=lambda model: work.starts[model].specs,
        width=lambda model: work.models[model].trunk.width,
        features=features,
        frozen=frozen,
        passes=run,
        examples={name: len(stream.examples) for name, stream in streams.items() if stream.other is None},
    )
    parts = nn.ModuleDict()
    for number, weighted in enumerate(terms):
        with torch_randomness(work.draw.seed, "term", stage.name, number):
            weighted.term.own = weighted.term.make_module(context)
            if weighted.term.own is not None:
                parts[str(number)] = weighted.term.own.to(work.device).train()
            weighted.term.prepare(context)
        state = weighted.term.make_state(context)
        weighted.term.state = {name: value.to(work.device) for name, value in state.items()}
    lockstep.beside = tuple(parts.parameters())
    return parts
