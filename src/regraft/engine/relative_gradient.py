"""Rates by relative gradient: groups whose weights the target's loss pulls at most learn fastest.

For group ``i`` with weights ``w_i`` and, on batch ``b``, the gradient ``g_i(b)`` that a step would take,

    RGN_i = mean over b of |g_i(b)| / |w_i|,      rate_i = rate * RGN_i / max over j of RGN_j.

Source: Lee et al. (2023), "Surgical fine-tuning improves adaptation to distribution shifts", Auto-RGN. Theirs
is measured anew in every epoch, tensor by tensor; here once, when the stage begins, over the groups of the
plan, so that a resumed run need not repeat it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from regraft.engine.processes.sharding import whole
from regraft.engine.snapshot import Snapshot

if TYPE_CHECKING:
    from regraft.engine.train_stage import TrainStageRun

BATCHES = 5
"""So many training batches are looked at, as in the paper; where an epoch has fewer, all of them."""
RULE = "relative-gradient"


def scaled_rates(run: TrainStageRun) -> dict[str, float]:
    """The rates of the groups that scale theirs, by the number of the group as a string.

    Weights, buffers and randomness are left as they were, to the bit. The norms go into the history.
    """
    wanted = [number for number, group in enumerate(run.stage.groups) if group.scale == RULE]
    if not wanted:
        return {}
    start = time.monotonic()
    norms = _relative_norms(run, wanted)
    largest = max(norms.values())
    shares = {number: norm / largest if largest > 0 else 0.0 for number, norm in norms.items()}
    rates = {}
    for number in wanted:
        rate = run.stage.groups[number].rate
        assert not isinstance(rate, str)  # the schema refuses to scale a rate that is to be found
        rates[str(number)] = rate * shares[number]
    _tell(run, norms, shares)
    run.work.spend("rates", time.monotonic() - start)
    return rates


def _relative_norms(run: TrainStageRun, wanted: list[int]) -> dict[int, float]:
    """RGN by number of the group."""
    before = Snapshot(buffers_of=run.model)
    run.freeze.set_modes(run.model)
    members = {number: _members(run, number) for number in wanted}
    sizes = {number: _norm([p.detach() for p in parameters]) for number, parameters in members.items()}
    sums = dict.fromkeys(wanted, 0.0)
    batches = min(BATCHES, run.steps_per_epoch)
    for step in range(batches):
        run.gradients(step)
        for number, parameters in members.items():
            pulled = [p.grad for p in parameters if p.grad is not None]
            sums[number] += _norm(pulled) / sizes[number] if sizes[number] > 0 else 0.0
        before.restore()
    run.optimiser.zero_grad(set_to_none=True)
    return {number: total / batches for number, total in sums.items()}


def _members(run: TrainStageRun, number: int) -> list[Tensor]:
    return [p for group in run.optimiser.param_groups if group["number"] == number for p in group["params"]]


def _norm(tensors: list[Tensor]) -> float:
    return float(whole(torch.nn.utils.get_total_norm(tensors))) if tensors else 0.0


def _tell(run: TrainStageRun, norms: dict[int, float], shares: dict[int, float]) -> None:
    names = {number: ", ".join(run.stage.groups[number].match) for number in norms}
    most = sorted(shares, key=lambda number: -shares[number])[:3]
    said = ", ".join(f"{names[number]} {shares[number]:.2f}" for number in most)
    run.work.tell(
        run.stage.name,
        0,
        "scales",
        f"Stage {run.stage.name!r} scales rates by relative gradient; the largest shares: {said}.",
        norms={names[number]: norm for number, norm in norms.items()},
        shares={names[number]: share for number, share in shares.items()},
    )
