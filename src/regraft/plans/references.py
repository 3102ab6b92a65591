"""What parts of a plan call each other by: every name has to be one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regraft.core.spelling import did_you_mean

if TYPE_CHECKING:
    from regraft.plans.schema import Plan


class Problems(ValueError):
    """What does not hang together in a plan: where, and what of it."""

    def __init__(self, found: list[tuple[tuple[str | int, ...], str]]):
        super().__init__("; ".join(message for _, message in found))
        self.found = found


def dangling(plan: Plan) -> list[tuple[tuple[str | int, ...], str]]:
    """What a plan refers to and does not have: where it says so, and what there is."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    artefacts: set[str] = set()
    stages = {"initial"}

    def check(what: str, names: tuple[str, ...] | str, known: set[str], *path: str | int) -> None:
        places = {path: names} if isinstance(names, str) else {(*path, i): n for i, n in enumerate(names)}
        for place, name in places.items():
            if name not in known:
                there = ", ".join(sorted(known)) or "none"
                message = f"names the {what} {name!r}; there is: {there}{did_you_mean(name, known)}"
                problems.append((place, message))

    models, streams = set(plan.models), set(plan.streams)
    followed = {name for name, model in plan.models.items() if model.average_of is None}
    for name, model in plan.models.items():
        if model.average_of is not None:
            check("model", model.average_of, followed - {name}, "models", name, "average_of")
    for number, stage in enumerate(plan.stages):
        here = ("stages", number)
        if stage.name in stages:
            problems.append(((*here, "name"), f"{stage.name!r} is a name that is taken"))
        check("model", stage.model, models, *here, "model")
        check("artefact", stage.reads, artefacts, *here, "reads")
        if stage.kind == "solve":
            check("stream", stage.streams, streams, *here, "streams")
        elif stage.kind == "average":
            check("stage", stage.of, stages, *here, "of")
        else:
            for i, term in enumerate(stage.terms):
                check("stream", term.streams, streams, *here, "terms", i, "streams")
                check("model", term.models, models, *here, "terms", i, "models")
                check("artefact", term.reads, artefacts, *here, "terms", i, "reads")
            for i, edit in enumerate(stage.edits):
                check("model", edit.model, models, *here, "edits", i, "model")
            if stage.stop.judge:
                check("model", stage.stop.judge, models - followed, *here, "stop", "judge")
        artefacts.update(stage.produces)
        stages.add(stage.name)
    return problems
