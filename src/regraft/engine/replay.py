"""A step whose loss was not finite, kept so that it can be looked at and run again.

Kept are the batch as the network read it, the labels, the names of the examples, the weights at that moment
and the place of the step: ``replay/`` in the run's folder, safetensors and JSON.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from regraft.core.console import say
from regraft.core.disk import is_full_disk
from regraft.core.errors import BundleError, NonFiniteLossError
from regraft.core.files import read_json, write_json
from regraft.core.randomness import torch_randomness
from regraft.engine.patterns import HEAD, block_of
from regraft.engine.prefetch import Wanted
from regraft.engine.slices import Slice
from regraft.terms import StepContext, Term, TermValue

if TYPE_CHECKING:
    from regraft.engine.train_stage import TrainStageRun

FOLDER = "replay"
_FACTS = "replay.json"


def keep_step(run: TrainStageRun, error: NonFiniteLossError) -> None:
    """Write what :func:`replay_step` reads, and say the line that replays it.

    Where it cannot be written, that is said with the reason and nothing is left of it: ``error`` is the one
    to raise.
    """
    folder = run.work.folder
    if folder is None or not run.work.processes.leads or run.lockstep.sharded:
        return  # divided weights cannot be put together any more: another process may be gone
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    try:
        place.mkdir(parents=True)
        _write(run, error, place)
    except (OSError, SafetensorError) as problem:
        shutil.rmtree(place, ignore_errors=True)
        reason = "the disk is full" if is_full_disk(problem) else str(problem)
        say(f"The batch and the weights of that step could not be kept in {place}: {reason}.")
    else:
        say(f"The batch and the weights of that step are kept; look at them with: regraft replay {folder}")


def _write(run: TrainStageRun, error: NonFiniteLossError, place: Path) -> None:
    """A step that accumulates over several batches is kept whole."""
    accumulate = run.stage.optimiser.accumulate
    first = run.standing.step * accumulate
    batches: list[dict[str, Any]] = []
    inputs: dict[str, Tensor] = {}
    world = run.work.processes.world
    for number in range(first, first + accumulate):
        # The step failed in one process; what all of them read is kept.
        for piece in (one for rank in range(world) for one in run.guard.pieces(number, Slice(rank, world))):
            if not run.objective.reads(number, piece):
                continue
            read = _read(run, number, piece)
            inputs.update({f"{len(batches)}.{name}": value for name, value in read.items()})
            batches.append({"number": number, "slice": list(astuple(piece)), **_names(run, number, piece)})
    save_file(inputs, place / "inputs.safetensors")
    state = {name: value.detach().cpu() for name, value in run.model.state_dict().items()}
    save_file(
        {name: value.clone().contiguous() for name, value in state.items()}, place / "model.safetensors"
    )
    facts = {
        "stage": run.stage.name,
        "step": run.standing.step,
        "seed": run.work.draw.seed,
        "done": run.done_share(),
        "combining": {name: value.tolist() for name, value in run.combining.tensors().items()},
        "message": str(error),
        "batches": batches,
    }
    write_json(place / _FACTS, facts)


def _read(run: TrainStageRun, number: int, piece: Slice) -> dict[str, Tensor]:
    """The tensors of a slice, by stream and name, as its network reads them."""
    found: dict[str, Tensor] = {}
    for name, stream in run.objective.streams.items():
        examples = stream.portion(number, piece).examples
        forward = run.objective.others.get(name, run.forward)
        for key, value in run.reader(Wanted(name, number, piece)).items():
            found[f"{name}.{key}"] = value.detach().cpu().clone().contiguous()
        if forward.frozen is not None:
            view = stream.view(number)
            found[f"{name}|activation"] = forward.frozen.activations(examples, view=view).clone().contiguous()
    return found


def _names(run: TrainStageRun, number: int, piece: Slice) -> dict[str, Any]:
    """Names and labels of a slice's examples, by stream."""
    names, labels = {}, {}
    for name, stream in run.objective.streams.items():
        examples = piece.take(stream.at(number))
        inputs = stream.other.inputs if stream.other else run.work.inputs
        names[name] = [inputs.names[int(example)] for example in examples]
        found = run.objective._labels(name, examples)
        labels[name] = {output: _plain(value) for output, value in found.items()}
    return {"examples": names, "labels": labels}


def _plain(values: Tensor) -> list[Any]:
    """Labels as JSON: a missing one, not a number, is null."""
    found = values.cpu().tolist()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in found]


@dataclass(frozen=True)
class Replay:
    """What running a kept step again showed.

    Attributes
    ----------
    stage, step
        Which step it was.
    message
        The error that stopped the run.
    block
        The first block (``head`` for the heads) whose output is not finite; of a gradient that is not
        finite, the block nearest to the head; None where everything is finite now.
    where
        ``inputs``, ``forward``, ``loss``, ``gradient`` or ``nowhere``.
    losses
        By example of the batch, what it added to the loss: pairs of name and value, in order.
    same_batch
        Whether the data still give the batch that was kept.
    """

    stage: str
    step: int
    message: str
    block: str | None
    where: str
    losses: tuple[tuple[str, float], ...]
    same_batch: bool

    @property
    def culprits(self) -> tuple[str, ...]:
        """Examples whose own loss is not finite."""
        return tuple(name for name, loss in self.losses if not math.isfinite(loss))

    def __str__(self) -> str:
        places = {
            "inputs": "the inputs hold values that are not finite",
            "forward": f"the first block with an output that is not finite is {self.block}",
            "loss": "every block's output is finite, the loss is not",
            "gradient": f"the loss is finite; seen from the head, {self.block} is the first block with a "
            "gradient that is not",
            "nowhere": "everything is finite this time",
        }
        lines = [f"Stage {self.stage!r}, step {self.step}: {places[self.where]}."]
        if not self.same_batch:
            lines.append("The data give another batch by now; what was kept was used.")
        lines += [f"  {loss:12.6g}  {name}" for name, loss in self.losses]
        return "\n".join(lines)


def replay_step(run: TrainStageRun, folder: Path) -> Replay:
    """Run the kept step again, in a stage that was opened from the same plan.

    Raises :class:`BundleError` where ``folder`` holds none.
    """
    facts = read_facts(folder)
    kept = load_file(folder / FOLDER / "inputs.safetensors")
    run.model.load_state_dict(load_file(folder / FOLDER / "model.safetensors"))
    learned = {
        name: torch.tensor(value, dtype=torch.float64) for name, value in facts.get("combining", {}).items()
    }
    run.combining.restore(learned)
    run.guard.take()
    run.freeze.set_modes(run.model)
    found: tuple[str | None, str] = (None, "nowhere")
    losses: list[tuple[str, float]] = []
    same, block = True, None
    for index, batch in enumerate(facts["batches"]):
        piece = Slice(*batch["slice"])
        tensors = {k.partition(".")[2]: v for k, v in kept.items() if k.startswith(f"{index}.")}
        same = same and _equal(_read(run, batch["number"], piece), tensors)
        run.guard.undo()
        with torch_randomness(facts["seed"], "step", batch["number"], *piece.key):
            found = found if found[1] != "nowhere" else _look_forward(run, tensors, batch)
        run.guard.undo()
        losses += _losses(run, batch, piece, facts)
        block = block or _gradient_block(run)
    if found[1] == "nowhere" and any(not math.isfinite(loss) for _, loss in losses):
        found = (None, "loss")
    if found[1] == "nowhere" and block:
        found = (block, "gradient")
    return Replay(facts["stage"], facts["step"], facts["message"], *found, tuple(losses), same)


def read_facts(folder: Path) -> dict[str, Any]:
    """What is said about the kept step of a run."""
    path = folder / FOLDER / _FACTS
    if not path.is_file():
        raise BundleError(
            f"{folder} keeps no step for replay: one is kept where a loss or a gradient was not finite."
        )
    facts: dict[str, Any] = read_json(path)
    return facts


def _equal(found: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> bool:
    """Whether two batches are equal to the bit; values that are no numbers equal themselves."""
    return found.keys() == kept.keys() and all(
        value.shape == kept[name].shape and torch.equal(_bits(value), _bits(kept[name]))
        for name, value in found.items()
    )


def _bits(values: Tensor) -> Tensor:
    return values.contiguous().view(torch.uint8) if values.ndim else values


def _look_forward(
    run: TrainStageRun, tensors: Mapping[str, Tensor], batch: Mapping[str, Any]
) -> tuple[str | None, str]:
    """Run block by block; the first that gives what is not finite, and where that is."""
    trunk = run.model.trunk
    for stream in batch["examples"]:
        own = {k.removeprefix(f"{stream}."): v for k, v in tensors.items() if k.startswith(f"{stream}.")}
        own = {name: value.to(run.work.device) for name, value in own.items()}
        activation = tensors.get(f"{stream}|activation")
        cut = run.freeze.cut if activation is not None else 0
        if activation is not None and not _finite(activation):
            return trunk.block_names[cut - 1], "forward"
        if activation is None and not all(_finite(value) for value in own.values()):
            return None, "inputs"
        with torch.no_grad():
            value = None if activation is None else activation.to(run.work.device)
            for block in trunk.blocks[cut:]:
                value = block.run(trunk.network, value, own)
                if not _finite(value):
                    return block.name, "forward"
            assert value is not None
            if not all(_finite(output) for output in run.model.head_outputs(value).values()):
                return "head", "forward"
    return None, "nowhere"


def _finite(values: Tensor) -> bool:
    return not values.is_floating_point() or bool(torch.isfinite(values).all())


class _Watched(Term):
    """A term, and what each example added to it the last time."""

    reads_models: ClassVar[tuple[int, int]] = (0, 100)

    def __init__(self, term: Term):
        super().__init__(models=term.models, streams=term.streams, outputs=term.outputs, options=term.options)
        self.term = term
        self.seen: Tensor | None = None

    def __call__(self, context: StepContext) -> TermValue:
        """See :class:`Term`."""
        value = self.term(context)
        self.seen = value.per_example.detach().cpu()
        return value


def _losses(
    run: TrainStageRun, batch: Mapping[str, Any], piece: Slice, facts: Mapping[str, Any]
) -> Iterator[tuple[str, float]]:
    """The objective itself on the batch, with gradients: each example's weighted part, over all terms."""
    watched = [_Watched(weighted.term) for weighted in run.objective.terms]
    terms = tuple(
        replace(weighted, term=term) for weighted, term in zip(run.objective.terms, watched, strict=True)
    )
    randomness = torch_randomness(facts["seed"], "step", batch["number"], *piece.key)
    with randomness, suppress(NonFiniteLossError):
        replace(run.objective, terms=terms)(batch["number"], facts["done"], piece).backward()
    for stream, names in batch["examples"].items():
        own = [
            term.seen * weighted.weight_at(facts["done"])
            for term, weighted in zip(watched, run.objective.terms, strict=True)
            if term.seen is not None and term.streams[0] == stream
        ]
        if own:
            yield from zip(names, torch.stack(own).sum(0).tolist(), strict=False)


def _gradient_block(run: TrainStageRun) -> str | None:
    """The block nearest to the head with a gradient that is not finite."""
    order = [*run.model.trunk.block_names, HEAD]
    bad = {
        block_of(run.model, name)
        for name, parameter in run.model.named_parameters()
        if parameter.grad is not None and not _finite(parameter.grad)
    }
    return max(bad, key=order.index, default=None)
