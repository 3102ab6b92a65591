"""Too big: a plan that this machine has not the memory or the time for."""

from __future__ import annotations

from regraft.core.console import duration
from regraft.core.memory import in_bytes
from regraft.engine.memory import SHARE
from regraft.engine.price import Price
from regraft.evidence.shape.finding import Finding

PATIENCE = 3600.0
"""Seconds that a run may take before it is called long, where nobody said how many it may."""
_LESS = "a smaller --size, a smaller --source (regraft sources), or --strategy probe, which trains no layer"


def too_big(price: Price, *, budget: float | None = None) -> tuple[Finding, ...]:
    """Findings about memory and time.

    Parameters
    ----------
    price
        What the plan costs on this machine, see :func:`regraft.engine.price.price`.
    budget
        Seconds that it may take; an hour if nobody said.
    """
    return (*_memory(price), *_time(price, PATIENCE if budget is None else budget))


def _memory(price: Price) -> tuple[Finding, ...]:
    room = SHARE * price.free
    if price.weights > room:
        sentence = (
            f"Too little memory: the weights of the plan's models take {in_bytes(price.weights)}, and "
            f"{in_bytes(int(room))} of the {in_bytes(price.free)} that are free can be planned with."
        )
        return (Finding("too little memory", float(price.weights), room, sentence, f"Take {_LESS}."),)
    name, need = max(price.memory.items(), key=lambda one: one[1], default=("", 0))
    if need <= room:
        return ()
    sentence = (
        f"Too little memory: a step of stage {name!r} takes {in_bytes(need)}, and {in_bytes(int(room))} of "
        f"the {in_bytes(price.free)} that are free can be planned with. It will be computed in "
        f"{-(-need // max(int(room), 1))} slices or more, if one example fits at all."
    )
    return (Finding("too little memory", float(need), room, sentence, f"To avoid it: {_LESS}."),)


def _time(price: Price, budget: float) -> tuple[Finding, ...]:
    if price.total <= budget:
        return ()
    parts = {"the frozen layers": price.features, **{f"stage {k!r}": v for k, v in price.stages.items()}}
    most = max(parts, key=parts.__getitem__)
    sentence = (
        f"Too little time: this takes up to {duration(price.total)} on this machine (reference: "
        f"{duration(budget)}), {duration(parts[most])} of it in {most}."
    )
    advice = f"To be faster: {_LESS}; or fewer labels (--train-size 1000)."
    return (Finding("too little time", price.total, budget, sentence, advice),)
