"""Writing ``README.md``: the model card of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from regraft.core.files import write_text
from regraft.report._data import tasks_in_words
from regraft.report._figures import metric_text
from regraft.report._folder import RunFolder, read_folder
from regraft.report._overview import asked, command_line, costs_of, is_done, overview_of, predict_lines
from regraft.report._page import TEMPLATES
from regraft.report._proof import proof_of
from regraft.report._transfer import plan_view, source_facts
from regraft.report._words import count, counted, is_number, shortened

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!])")
_LINE_START = re.compile(r"^(|\d+)([-+=.)])(?=[-=\s]|$)")
_MOST_CLASSES = 60
_FEW_TEST_EXAMPLES = 200


def write_card(folder: str | Path) -> Path:
    """Write the model card ``README.md`` into a run's folder and return its path.

    What it is, data, source and licence, figures with intervals, verdict, how to predict, limits. Raises
    :class:`BundleError` where the folder holds no run.
    """
    found = read_folder(folder)
    # The card travels with the folder: its commands name the folder, not the place where it was made.
    run = replace(found, path=Path(found.path.resolve().name))
    text = (
        environment()
        .get_template("card.md.j2")
        .render(
            overview=overview_of(run),
            task=tasks_in_words(run.target),
            modality=str(run.target.get("modality", "")),
            created=dict(asked(run)).get("started", ""),
            command=command_line(run),
            data=_data(run),
            classes=_classes(run),
            source=source_facts(run),
            plan=plan_view(run),
            figures=_figures(run),
            proof=proof_of(run),
            costs=costs_of(run).facts,
            done=is_done(run),
            predict="\n".join(predict_lines(run)),
            resume=run.command("resume"),
            prove=run.command("prove"),
            limits=limits(run),
        )
    )
    place = found.path / "README.md"
    write_text(place, re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")
    return place


def escape(value: Any) -> Markup:
    """Foreign text that Markdown shows as it stands: no markup, no HTML, no line of its own."""
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A bare address would become a link.
    text = _SPECIAL.sub(r"\\\1", text).replace("://", "&#58;//").replace("www.", "www&#46;")
    return Markup(_LINE_START.sub(r"\1\\\2", text))


def block(value: Any, language: str = "") -> Markup:
    """A fenced block of code, whose fence is longer than any inside it."""
    text = str(value)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{text}\n{fence}")


@cache
def environment() -> jinja2.Environment:
    """The card's templates: whatever they print is escaped for Markdown, unless it was made here."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,
        finalize=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["block"] = block
    return environment


def _data(run: RunFolder) -> tuple[tuple[str, str], ...]:
    target = run.target
    parts = target.get("parts") or {}
    names = ("train", "validation", "test") if is_number(parts.get("train")) else ("pool", "test")
    facts = [
        ("examples", count(target["count"]) if is_number(target.get("count")) else ""),
        *((name, count(parts[name])) for name in names if is_number(parts.get(name))),
        ("unreadable", count(target.get("unreadable")) if target.get("unreadable") else ""),
        ("fingerprint", str(target.get("fingerprint") or "")),
    ]
    return tuple((name, text) for name, text in facts if text)


def _classes(run: RunFolder) -> tuple[tuple[str, tuple[str, ...], int], ...]:
    told = []
    for task in run.target.get("tasks") or []:
        names = [shortened(name, 60) for name in task.get("classes") or []]
        if names:
            shown = tuple(names[:_MOST_CLASSES])
            told.append((str(task.get("name", "")), shown, len(names) - len(shown)))
    return tuple(told)


def _figures(run: RunFolder) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (str(output), str(name), metric_text(entry))
        for output, figures in (run.metrics.get("outputs") or {}).items()
        for name, entry in (figures.get("metrics") or {}).items()
    )


def limits(run: RunFolder) -> tuple[str, ...]:
    """What the figures do not say, as far as the run's own files show it."""
    told = [str(note) for note in run.target.get("notes") or []]
    told += [str(one.get("sentence")) for one in run.run.get("findings") or [] if one.get("sentence")]
    test = (run.target.get("parts") or {}).get("test")
    if is_number(test) and test < _FEW_TEST_EXAMPLES:
        told.append(f"There are only {counted(int(test), 'test example')}: mind the width of the intervals.")
    if not run.evidence:
        told.append("It is not proven that the source helped.")
    if run.evidence.get("verdict") == "HARMED":
        told.append(f"A model without the source does better: {run.evidence.get('reference')}.")
    reads = run.run.get("test_label_reads")
    if is_number(reads) and reads > 3:
        told.append(
            f"The test labels were read {count(reads)} times: figures chosen on them flatter the model."
        )
    told.append("The figures hold for data like the test part; other data were not looked at.")
    return tuple(told)
