"""Doubts: why two networks that agree are not proven to be the same."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from regraft.linking.network import Call, Network
from regraft.linking.proving.bench import Bench
from regraft.linking.proving.cut import difference_of
from regraft.linking.proving.inputs import mask_of


def find_doubt(bench: Bench, unseen: tuple[str, ...] | None) -> str:
    """Why agreement shows nothing; empty where it does."""
    broken = name_not_finite(bench)
    if broken:
        return f"{len(broken)} carried tensors hold values that are not finite: {', '.join(broken[:6])}"
    carried = [name for name, row in bench.rows.items() if row.carried and row.kind == "parameter"]
    idle = set(carried) & set(unseen or ())
    if 2 * len(idle) >= len(carried):
        return f"{len(idle)} of {len(carried)} carried parameters have no part in what was compared"
    moving = find_random(bench)
    if moving:
        return (
            f"the {' and the '.join(moving)} gives other values each time it is run: "
            "dropout or stochastic depth is left on"
        )
    return ""


def name_not_finite(bench: Bench) -> list[str]:
    """Carried tensors of the target that hold infinities or values that are no numbers."""
    state = bench.target.module.state_dict()
    return [
        name
        for name, row in bench.rows.items()
        if row.carried and state[name].is_floating_point() and not bool(state[name].isfinite().all())
    ]


def find_random(bench: Bench) -> list[str]:
    """Which of the two, ``source`` and ``target``, gives other values when it is run again."""
    call = bench.calls[0]
    sides = (("source", bench.source, call.source), ("target", bench.target, call.target))
    return [side for side, network, taken in sides if _is_random(network, taken, bench.tolerance)]


def _is_random(network: Network, call: Call, tolerance: float) -> bool:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        one = [tensor.nan_to_num() for tensor in network.run(call)]
        torch.manual_seed(2)
        two = [tensor.nan_to_num() for tensor in network.run(call)]
    return not difference_of(one, [two], mask_of(network, call)) <= tolerance


def find_notes(bench: Bench, unseen: tuple[str, ...] | None) -> tuple[str, ...]:
    """What a reader of the proof has to know beside the verdict."""
    return tuple(_notes(bench, unseen))


def _notes(bench: Bench, unseen: tuple[str, ...] | None) -> Iterator[str]:
    if bench.mask is not None:
        yield "positions that the mask leaves out are not compared"
    if unseen is None:
        yield "which tensors have a part in the outputs is not known: the target gives no gradients"
    theirs, ours = len(bench.run.outputs), len(bench.target.run(bench.calls[0].target))
    if theirs > ours:
        yield f"the source gives {theirs} outputs, of which the target gives {ours}"
    for path, part in bench.target.module.named_modules():
        row = bench.rows.get(f"{path}.weight")
        if isinstance(part, nn.Embedding) and row is not None and row.carried:
            read = _ids_read(bench, part)
            if read and read < part.num_embeddings:
                yield f"of the {part.num_embeddings} rows of {path}.weight at most {read} were read"


def _ids_read(bench: Bench, part: nn.Embedding) -> int:
    """How many rows the inputs asked for."""
    seen: set[int] = set()

    def hook(module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        seen.update((args[0] if args else named["input"]).unique().tolist())

    handle = part.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        for call in bench.calls:
            bench.target.run(call.target)
    finally:
        handle.remove()
    return len(seen)
