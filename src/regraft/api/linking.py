"""A link from search to proof to files, as one piece of work: what ``regraft link`` does."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.api.link import link as make_link
from regraft.core.console import progress, say
from regraft.core.errors import LinkError, UsageError
from regraft.core.files import atomic_path
from regraft.core.randomness import torch_generator
from regraft.linking import Link, Proof
from regraft.linking.blueprint import TRUNK, Blueprint
from regraft.linking.network import Given
from regraft.linking.saving import describe_link, save_link

if TYPE_CHECKING:
    from torch import Tensor

_SHAPE = re.compile(r"(ids:)?(\d+(?:x\d+)*)")
_IDS = 100  # made-up token ids are below this: every vocabulary has so many
_MOST_NUMBERS = 1 << 28


@dataclass(frozen=True)
class LinkFiles:
    """Where a link, the target's weights and the page are written; None: nowhere."""

    save: Path | None = None
    weights: Path | None = None
    page: Path | None = None

    def check(self) -> None:
        """Raise ``UsageError`` for a path that cannot be written, before any work is done."""
        for option, path in (("--save", self.save), ("--out", self.weights), ("--html", self.page)):
            if path is None:
                continue
            if path.is_dir():
                raise UsageError(f"{option} {path} is a folder; name a file in it")
            parent = next(folder for folder in path.absolute().parents if folder.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise UsageError(f"{option} {path} cannot be written: {parent} takes no files from you")
        if self.weights is not None and self.weights.suffix != ".safetensors":
            raise UsageError(
                f"--out {self.weights}: weights are written as safetensors; end the name in .safetensors"
            )


@dataclass(frozen=True)
class Linked:
    """What came of it.

    Attributes
    ----------
    proof
        None where nothing was run.
    written
        Files, in the order in which they were written.
    refusal
        Why the work counts as failed; empty where it does not.
    """

    link: Link
    proof: Proof | None
    written: tuple[Path, ...] = ()
    refusal: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """The link as plain JSON with ``coverage``, ``proof`` (null without a run) and ``written``."""
        return {
            **describe_link(self.link),
            "proof": self.proof.to_json() if self.proof else None,
            "written": [str(path) for path in self.written],
        }


def link_and_prove(
    source: Any,
    target: Any,
    *,
    require: float = 0.95,
    verify: bool | None = None,
    fix: bool = False,
    require_proof: bool = False,
    shapes: Sequence[str] = (),
    files: LinkFiles | None = None,
    **options: Any,
) -> Linked:
    """Search, prove, mend and write, as far as each may go; what stands in the way is the ``refusal``.

    ``verify`` None runs both networks where the source's is at hand. Weights are not written where a row is
    unexplained.
    """
    files = files or LinkFiles()
    files.check()
    if fix and verify is False:
        raise UsageError("--fix tries changes by running both networks: leave --no-verify out")
    given = parse_inputs(shapes)
    with progress("Linking", 3, unit="steps") as advance:
        found = make_link(source, target, inputs=given, **options)
        refusal = _refusal(found, require)
        asked = verify or fix or require_proof or (verify is None and found.origin.runs and not refusal)
        advance(note="running both networks" if asked and found.origin.runs else "found")
        proof = None
        if asked and not _blocked(found):
            # What is required is asked for below, with everything listed; here it may not stop the run.
            found, proof = _prove(replace(found, required=0.0), given, fix=fix)
        advance(note="writing")
        found = replace(found, required=require)
        refusal = refusal or (_unproven(found, proof) if require_proof else "")
        written = _write(found, proof, files, refusal)
        advance()
    if files.weights is not None and files.weights not in written and not refusal:
        refusal = _not_written(found, files.weights)
    return Linked(found, proof, written, refusal)


def _refusal(found: Link, require: float) -> str:
    try:
        found.require(require)
    except LinkError as error:
        return str(error)
    return ""


def _blocked(found: Link) -> bool:
    return any(row.conflict for row in found.rows)


def _prove(found: Link, given: Given | None, *, fix: bool) -> tuple[Link, Proof]:
    inputs = () if given is None else (given,)
    proof = found.verify(*inputs)
    if not proof.proven and (fix or any(row.alternatives for row in found.rows)):
        found, proof = _decide(found, proof, inputs)
    if proof.proven or not fix:
        return found, proof
    mended = found.fix(*inputs)
    if mended is found:
        say("No hyper-parameter of the target was found that makes both networks equal.")
        return found, proof
    return mended, mended.verify(*inputs)


def _decide(found: Link, proof: Proof, inputs: Sequence[Given]) -> tuple[Link, Proof]:
    """Where rows could have been others, the comparison decides between them."""
    decided = found.decide(*inputs)
    if decided is found:
        return found, proof
    changed = sum(old != new for old, new in zip(found.rows, decided.rows, strict=True))
    say(f"Running both networks decided otherwise on {changed} rows than names and structure.")
    return decided, decided.verify(*inputs)


def _unproven(found: Link, proof: Proof | None) -> str:
    if proof is not None and proof.proven:
        return ""
    said = proof.sentence if proof else "not proven: rows conflict, so nothing could be run"
    return f"{found.origin.name} -> {found.blueprint.name}: {said}. A proof was required (--require-proof)"


def _not_written(found: Link, path: Path) -> str:
    names = ", ".join(row.target for row in found.uncovered[:12])
    more = ", .." if len(found.uncovered) > 12 else ""
    return (
        f"{path} was not written: nothing reaches {len(found.uncovered)} shared tensors: {names}{more}. Say "
        "where they come from (--map 'REGEX=>TO'), or excuse them, and they start fresh (--waive PATTERN)"
    )


def _write(found: Link, proof: Proof | None, files: LinkFiles, refusal: str) -> tuple[Path, ...]:
    """The link and the page say what is wrong, so they are written in any case; weights are not."""
    written = []
    if files.save is not None:
        written.append(save_link(found, files.save, proof))
    if files.page is not None:
        from regraft.report import write_link_page

        told = proof.to_json() | {"sentence": proof.sentence} if proof else None
        written.append(write_link_page(describe_link(found), told, files.page))
    if files.weights is not None and not refusal and not found.uncovered:
        written.append(write_weights(found, files.weights))
    return tuple(written)


def write_weights(found: Link, path: Path) -> Path:
    """Write the target's state dict with what carries over, whole or not at all.

    The names are those of the target's own network. Tensors that modules share are written under each name.
    """
    from safetensors.torch import save_file

    state = found.load().state_dict()
    bare = isinstance(found.blueprint, Blueprint) and not found.blueprint.tasks
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        tensors[name.removeprefix(TRUNK) if bare else name] = (
            tensor.clone() if place in seen else tensor
        ).contiguous()
        seen.add(place)
    with atomic_path(path) as part:
        save_file(tensors, part, metadata={"format": "pt"})
    for fixed in found.fixes:
        say(
            f"A hyper-parameter is no weight: set {fixed.kind} to {fixed.value} in your network as well, in "
            f"{', '.join(fixed.modules[:4])}{', ..' if len(fixed.modules) > 4 else ''}."
        )
    return path


def parse_inputs(shapes: Sequence[str]) -> Given | None:
    """Noise of the shapes that ``--input`` names, ``2x3x224x224``, or ids, ``ids:2x16``; None without any."""
    import torch

    made = []
    for number, text in enumerate(shapes):
        match = _SHAPE.fullmatch(text.strip())
        lengths = [int(length) for length in match.group(2).split("x")] if match else [0]
        if match is None or min(lengths) < 1 or torch.Size(lengths).numel() > _MOST_NUMBERS:
            raise UsageError(
                f"--input {text}: give a shape such as 2x3x224x224, or ids:2x16 for token ids; once for each "
                "argument of the network"
            )
        generator = torch_generator(0, f"input {number}")
        ids = bool(match.group(1))
        made.append(
            torch.randint(_IDS, lengths, generator=generator)
            if ids
            else torch.randn(lengths, generator=generator)
        )
    return made[0] if len(made) == 1 else tuple(made) or None
