"""Finding a group's rate by trying: a range test, group by group, that leaves nothing behind.

The rate of one group rises by a constant factor from step to step while all other groups stand still. Losses
are those of training batches alone; each is compared with what its batch had before any step, smoothed, and
followed until it has clearly risen above its lowest. Source: Smith (2017), "Cyclical learning rates for
training neural networks" (the range test); its exponential form with a smoothed loss, and the rule "a tenth
of the rate with the lowest loss", are those of Howard and Gugger (2020), "fastai: a layered API for deep
learning".
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from regraft.core.console import progress
from regraft.core.errors import NonFiniteLossError
from regraft.engine.optimiser import set_peaks
from regraft.engine.relative_gradient import scaled_rates
from regraft.engine.snapshot import Snapshot

if TYPE_CHECKING:
    from regraft.engine.train_stage import TrainStageRun

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 40
"""Steps for each group: the rate grows by 1.42 from one to the next."""
BATCHES = 10
"""So many training batches take turns; where an epoch has fewer, all of them."""
SMOOTHING = 0.8
"""What is kept of the smoothed loss at each step; the start's bias is divided out, as in Adam."""
RISEN = 1.0
"""The test ends where the smoothed loss is above its lowest by this share of what a batch had at first."""
RULE = "a tenth of the rate at which the smoothed loss was lowest"


def find_rates(run: TrainStageRun) -> dict[str, float]:
    """The rates of the groups that find or scale theirs, by the number of the group as a string.

    Model, optimiser, buffers and randomness are left as they were, to the bit. The curves go into the
    history.
    """
    scaled = scaled_rates(run)
    wanted = [number for number, group in enumerate(run.stage.groups) if group.rate == "auto"]
    if not wanted:
        return scaled
    start = time.monotonic()
    moving = [p for group in run.optimiser.param_groups for p in group["params"]]
    precision = run.precision.facts()
    before = Snapshot(moving, buffers_of=run.model)
    run.freeze.set_modes(run.model)
    batches = min(BATCHES, run.steps_per_epoch)
    found = {}
    label = f"Finding rates of stage {run.stage.name!r}"
    with progress(label, batches + STEPS * len(wanted), unit="steps") as advance:
        base = []
        for step in range(batches):
            base.append(run.gradients(step))
            _step(run, -1, 0.0)
            advance()
        before.restore()
        run.optimiser.state.clear()
        for number in wanted:
            losses = _sweep(run, number, base)
            advance(STEPS)
            before.restore()
            run.optimiser.state.clear()
            run.precision.restore(precision)
            found[str(number)] = _report(run, number, losses)
    run.optimiser.zero_grad(set_to_none=True)
    run.work.spend("rates", time.monotonic() - start)
    return {**scaled, **found}


def tried_rates() -> list[float]:
    """The rates of the range test, lowest first."""
    return [LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(STEPS)]


def _sweep(run: TrainStageRun, number: int, base: Sequence[float]) -> list[float]:
    """Smoothed losses at rising rates of one group, until they have risen or are no numbers."""
    level = sum(base) / len(base)
    mean, lowest = 0.0, math.inf
    losses: list[float] = []
    for step, rate in enumerate(tried_rates()):
        batch = step % len(base)
        try:
            loss = run.gradients(batch) - base[batch] + level
        except NonFiniteLossError:
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        losses.append(mean / (1 - SMOOTHING ** (step + 1)))
        lowest = min(lowest, losses[-1])
        if losses[-1] > lowest + RISEN * abs(level):
            break
        _step(run, number, rate)
    return losses


def _step(run: TrainStageRun, number: int, rate: float) -> None:
    """A step of one group; the others stand still."""
    for group in run.optimiser.param_groups:
        group["lr"] = rate if group["number"] == number else 0.0
    run.precision.step(run.optimiser)


def choose_rate(losses: Sequence[float]) -> float:
    """The rate for a curve of smoothed losses: a tenth of the one that led to the lowest."""
    if not losses:
        return LOWEST
    lowest = min(range(len(losses)), key=losses.__getitem__)
    # The loss at a step is that after the step before, so that its rate is the one to thank.
    return tried_rates()[max(lowest - 1, 0)] / 10


def _report(run: TrainStageRun, number: int, losses: list[float]) -> float:
    rate = float(f"{choose_rate(losses):.3g}")
    match = ", ".join(run.stage.groups[number].match)
    note = f"The rate of group {number} ({match}) in stage {run.stage.name!r} was found: {rate:g}, {RULE}"
    if len(losses) < 2 or min(losses[1:]) >= losses[0]:
        note += "; no rate lowered the loss, so it hardly moves"
    rates = [float(f"{rate:.3g}") for rate in tried_rates()[: len(losses)]]
    run.work.tell(
        run.stage.name,
        0,
        "rates",
        f"{note}.",
        group=number,
        match=list(run.stage.groups[number].match),
        chosen=rate,
        rates=rates,
        losses=losses,
    )
    return rate


def use_rates(run: TrainStageRun, found: dict[str, float]) -> None:
    """Give the optimiser's groups the rates that were found, now or before a checkpoint."""
    set_peaks(run.optimiser, {int(number): rate for number, rate in found.items()})
