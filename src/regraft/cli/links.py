"""The command about links: what carries over from a source to a model, and whether that is proven."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regraft.cli import given, options as o

if TYPE_CHECKING:
    from regraft.linking import Link, Proof


def link(
    source: Annotated[
        str,
        typer.Argument(
            help="Where weights come from: a source's name (`regraft sources`), a checkpoint, a run's "
            "folder, or MODULE:FUNCTION that gives a network with its weights."
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            help="What they go to: a network by name (timm:NAME, torchvision:NAME, hf:FOLDER), "
            "MODULE:FUNCTION that builds yours, or data, as for `regraft fit`: then it is the source's "
            "network with new heads."
        ),
    ],
    require: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Least share of shared parameters."),
    ] = 0.95,
    maps: o.Maps = None,
    waive: Annotated[
        list[str] | None,
        typer.Option(help="Excuse target tensors, out loud: blocks.1*."),
    ] = None,
    saved: Annotated[
        Path | None,
        typer.Option(help="Apply this saved link; nothing is searched."),
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Run both networks on the same inputs. Default: where the source's network is at hand.",
        ),
    ] = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Set the target's epsilon, padding, .. where that makes both equal, and prove it again.",
        ),
    ] = False,
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="Shape of what both networks read: 2x3x224x224, or ids:2x16 for token ids; once for each "
            "argument.",
        ),
    ] = None,
    require_proof: Annotated[
        bool, typer.Option("--require-proof", help="Exit with status 1 unless it is proven.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Write the link as JSON.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the target's weights as safetensors."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page with both networks side by side."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="A line for every tensor.")] = False,
    label: o.Label = None,
    image: o.Image = None,
    text: o.Text = None,
    task: o.TaskKind = None,
    size: o.Size = None,
    builder: o.BuilderOption = None,
    json: o.AsJson = False,
) -> None:
    r"""Show what carries over from SOURCE to TARGET, tensor by tensor, and prove it by running both.

    `regraft link resnet50.pth timm:resnet50 --out timm-resnet50.safetensors`
    renames a checkpoint of another library's for timm;

    `regraft link torchvision:vit_b_16 timm:vit_base_patch16_224 --fix --require-proof`
    proves that both compute the same, or names the block where they part;

    `regraft link old.safetensors mymodels:build --map 'backbone\.(.*)=>encoder.\1' --waive 'head.*'`
    says where the rest comes from, and what may start fresh.

    Exit status 1: less than --require carries over, shapes conflict, or --require-proof and it is not proven.
    """
    from regraft.api.linking import LinkFiles, link_and_prove
    from regraft.core.errors import LinkError

    files = LinkFiles(save=save, weights=out, page=html)
    done = link_and_prove(
        source,
        _target(target, label=label, image=image, text=text, task=task),
        require=require,
        verify=verify,
        fix=fix,
        require_proof=require_proof,
        shapes=shapes or (),
        files=files,
        maps=maps or (),
        waivers=waive or (),
        saved=saved,
        **given.source_options(size, builder),
    )
    if json:
        given.print_json(done.to_json())
    else:
        from regraft.linking.showing.summary import summarise

        width = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80
        print(summarise(done.link, width=width, folded=not full))
        print()
        for line in _verdict(done.link, done.proof, fix):
            print(line)
        for path in done.written:
            print(f"written: {path}")
    if done.refusal:
        raise LinkError(done.refusal)


def _target(
    name: str, *, label: list[str] | None, image: str | None, text: str | None, task: list[str] | None
) -> Any:
    """Data are opened here, with the options that describe them; a network is named."""
    from regraft.api.sides import is_data
    from regraft.core.errors import UsageError

    if is_data(name):
        return given.open_target(Path(name).expanduser(), label=label, image=image, text=text, task=task)
    if label or image or text or task:
        raise UsageError(
            f"--label, --image, --text and --task describe data, and {name!r} is no file or folder"
        )
    return name


def _verdict(link: Link, proof: Proof | None, fixed: bool) -> list[str]:
    """The proof's sentence with its causes, and the line to type next."""
    from regraft.linking.showing.summary import next_steps

    if proof is None:
        lines = ["NOT VERIFIED: nothing was run."]
    else:
        first, *more = proof.sentence.split("; ")
        lines = ["PROVEN" + first.removeprefix("proven") if proof.proven else _loud(first)]
        lines += [f"  {said}" for said in (*more, *proof.notes, *proof.statistics)]
    command = shlex.join(["regraft", *sys.argv[1:]])
    return lines + [f"next: {step.format(command=command)}" for step in next_steps(link, proof, fixed=fixed)]


def _loud(sentence: str) -> str:
    return sentence.replace("not proven", "NOT PROVEN", 1)
