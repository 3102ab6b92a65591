"""What a run's folder says before anything is trained: the data, the links, what could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from regraft.core.console import say
from regraft.core.files import write_csv, write_json
from regraft.engine import Run
from regraft.engine.stream_data import StreamData
from regraft.evidence.shape import Finding
from regraft.linking import Link
from regraft.linking.saving import describe_link
from regraft.targets import Draw, Prepared, Target
from regraft.targets.near_duplicates import COLUMNS, NearDuplicates, near_duplicates


def write_records(
    run: Run, target: Target, draw: Draw, links: dict[str, Link], others: Mapping[str, StreamData]
) -> None:
    """What is known before anything is trained: data, links, what could not be read."""
    summary = target.summary()
    summary["parts"] = {
        "train": len(draw.train),
        "validation": len(draw.validation),
        "test": len(target.test),
    }
    if others:
        summary["streams"] = {
            name: {"fingerprint": data.fingerprint, "examples": len(data.contents)}
            for name, data in others.items()
        }
    write_json(run.folder / "target.json", summary)
    write_json(
        run.folder / "link.json", {"models": {name: describe_link(link) for name, link in links.items()}}
    )
    write_unreadable(run, [(bad.item, bad.reason) for bad in target.unreadable])


def write_unreadable(run: Run, unreadable: Sequence[tuple[str, str]]) -> None:
    """``unreadable.csv``: examples that could not be used, and why."""
    rows = [{"item": item, "reason": reason} for item, reason in unreadable]
    write_csv(run.folder / "unreadable.csv", ("item", "reason"), rows)
    if rows:
        say(f"{len(rows)} examples could not be read; they are named in {run.folder / 'unreadable.csv'}")


def find_doubles(run: Run, prepared: Prepared) -> NearDuplicates:
    """Look for near-duplicates, name them in ``near_duplicates.csv`` where there are some, and say it."""
    found = near_duplicates(prepared.target, prepared.inputs)
    if len(found):
        write_csv(run.folder / "near_duplicates.csv", COLUMNS, found.rows(prepared.target))
    for sentence in found.sentences(prepared.target):
        say(sentence)
    return found


def note_findings(run: Run, findings: Sequence[Finding]) -> None:
    """Say what was found of the shape of the data, and keep it in ``run.json``."""
    for finding in findings:
        say(str(finding))
    run.note(findings=[finding.to_json() for finding in findings])
