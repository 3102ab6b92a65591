"""The top of the page, what was asked, what it cost, and how to use the model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from regraft.report._charts import Bar, bars
from regraft.report._contrasts import deciding_contrast
from regraft.report._data import tasks_in_words
from regraft.report._figures import deciding_metric
from regraft.report._folder import RunFolder
from regraft.report._proof import badge
from regraft.report._words import (
    count,
    counted,
    difference,
    is_number,
    moment,
    seconds,
    sentence,
    share,
    shortened,
)

_SECRET = re.compile(r"^--?(?:token|api[-_]?key|password)(=|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Tile:
    """One of the few figures at the top: a name, a figure, and what stands below it."""

    name: str
    figure: str
    note: str
    tone: str = ""


@dataclass(frozen=True)
class Overview:
    """The top of the page."""

    title: str
    subtitle: str
    verdict: str
    tone: str
    symbol: str
    sentence: str
    next_line: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Costs:
    """What the run cost."""

    parts: tuple[Bar, ...]
    facts: tuple[tuple[str, str], ...]


def overview_of(folder: RunFolder) -> Overview:
    """The title, the verdict in a sentence, the line to type next, and the few figures that matter most."""
    word, tone, symbol = badge(folder.evidence)
    told, next_line = _headline(folder)
    return Overview(title_of(folder), _subtitle(folder), word, tone, symbol, told, next_line, _tiles(folder))


def title_of(folder: RunFolder) -> str:
    """What the run is called: its data's own name, else its folder's.

    Data that lived in memory were written into the run's folder, under a name that nobody gave.
    """
    origin = folder.target.get("origin") or {}
    place = str(origin.get("name") or origin.get("path") or "").replace("\\", "/").rstrip("/")
    parts, run = place.split("/"), folder.path.resolve().name
    unnamed = not place or [run, "data"] in (parts[-2:], parts[-3:-1])
    return shortened(run if unnamed else parts[-1], 80)


def _subtitle(folder: RunFolder) -> str:
    source = (folder.run.get("source") or {}).get("name")
    strategy = folder.run.get("strategy")
    told = [
        tasks_in_words(folder.target) if folder.target.get("tasks") else "",
        f"source {source}" if source else "",
        f"strategy {strategy}" if strategy else "",
    ]
    return " · ".join(filter(None, told))


def is_done(folder: RunFolder) -> bool:
    """Whether the run has ended as it should."""
    return folder.run.get("status") == "done"


def _headline(folder: RunFolder) -> tuple[str, str]:
    if folder.evidence.get("sentence"):
        return str(folder.evidence["sentence"]), ""
    if not is_done(folder):
        status = folder.run.get("status") or "unfinished"
        words = {"interrupted": "was interrupted", "failed": "failed", "running": "has not ended yet"}
        told = sentence(folder.run.get("outcome") or "")
        return f"This run {words.get(status, 'is not finished')}. {told}".strip(), folder.command("resume")
    told = sentence(folder.run.get("outcome") or "The run is done")
    return f"{told} Whether the source helped has not been proven yet.", folder.command("prove")


def _tiles(folder: RunFolder) -> tuple[Tile, ...]:
    tiles = []
    name, text, output = deciding_metric(folder)
    if text:
        value, _, rest = text.partition(" (")
        tiles.append(Tile(f"{name} on the test part", value, rest.rstrip(")") or output))
    if tile := _gain(folder.evidence):
        tiles.append(tile)
    run = folder.run
    if is_number(run.get("trained_parameters")):
        whole = run.get("total_parameters")
        of = f"{share(run['trained_parameters'], whole)} of {count(whole)}" if is_number(whole) else ""
        tiles.append(Tile("trained parameters", count(run["trained_parameters"]), of))
    total = (run.get("seconds") or {}).get("total")
    if is_number(total):
        tiles.append(Tile("time of the run", seconds(total), _machine(run)))
    return tuple(tiles)


def _gain(evidence: dict[str, Any]) -> Tile | None:
    contrast = deciding_contrast(evidence)
    if contrast is None:
        return None
    percent = bool((evidence.get("metric") or {}).get("percent"))
    text = difference(contrast.get("mean"), contrast.get("low"), contrast.get("high"), percent=percent)
    value, _, rest = text.partition(" (")
    note = (
        f"{rest.rstrip(')')}, against {contrast.get('against')}" if rest else f"against {contrast['against']}"
    )
    return Tile("effect of the source", value, note, badge(evidence)[1])


def _machine(run: dict[str, Any]) -> str:
    threads = run.get("threads")
    told = [str(run.get("backend") or ""), str(run.get("device") or "")]
    told.append(counted(threads, "thread") if threads else "")
    return ", ".join(filter(None, told))


def asked(folder: RunFolder) -> tuple[tuple[str, str], ...]:
    """Facts on how the run was started."""
    run = folder.run
    facts = [
        ("status", run.get("status")),
        ("started", moment(run["created"]) if run.get("created") else None),
        ("strategy", run.get("strategy")),
        ("seed", run.get("seed")),
        ("ran on", _machine(run)),
        ("regraft", run.get("regraft")),
    ]
    return _known(facts)


def fingerprints(folder: RunFolder) -> tuple[tuple[str, str], ...]:
    """Versions of what took part, and hashes of what went in."""
    run = folder.run
    hashes = [(f"{name} (sha256)", value) for name, value in (run.get("hashes") or {}).items()]
    if (sha256 := (run.get("source") or {}).get("sha256")) not in [value for _, value in hashes]:
        hashes.append(("source (sha256)", sha256))
    return _known([*(run.get("versions") or {}).items(), *hashes])


def _known(facts: Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(name), str(value)) for name, value in facts if value not in (None, ""))


def command_line(folder: RunFolder) -> str:
    """The command as it could be typed again; a secret among its options is not repeated."""
    words = [str(word) for word in folder.run.get("command") or []]
    shown: list[str] = []
    for index, word in enumerate(words):
        hidden = index > 0 and _SECRET.match(words[index - 1]) and "=" not in words[index - 1]
        secret = _SECRET.match(word)
        shown.append(
            "HIDDEN" if hidden else f"{word.split('=')[0]}=HIDDEN" if secret and "=" in word else word
        )
    return shlex.join(shown)


def costs_of(folder: RunFolder) -> Costs:
    """Seconds by part, parameters, and how often the test labels were read."""
    run = folder.run
    spent = run.get("seconds") or {}
    rows = [(name, value) for name, value in spent.items() if name not in ("stages", "total")]
    rows += [(f"stage {name}", value) for name, value in (spent.get("stages") or {}).items()]
    known = [(name, float(value)) for name, value in rows if is_number(value)]
    total = spent.get("total")
    if is_number(total) and total - sum(value for _, value in known) > 0.05 * total:
        known.append(("everything else", total - sum(value for _, value in known)))
    facts = [
        ("total", seconds(total) if is_number(total) else ""),
        ("trained parameters", _trained(run)),
        ("test labels were read", _reads(run.get("test_label_reads"))),
    ]
    return Costs(
        parts=bars([(name, value, seconds(value)) for name, value in known]),
        facts=tuple((name, text) for name, text in facts if text),
    )


def _trained(run: dict[str, Any]) -> str:
    trained, whole = run.get("trained_parameters"), run.get("total_parameters")
    if not is_number(trained):
        return ""
    return (
        f"{count(trained)} of {count(whole)} ({share(trained, whole)})"
        if is_number(whole)
        else count(trained)
    )


def _reads(reads: Any) -> str:
    if not is_number(reads):
        return ""
    return {0: "never", 1: "once", 2: "twice"}.get(int(reads), f"{count(reads)} times")


def predict_lines(folder: RunFolder) -> tuple[str, ...]:
    """What to type to use the model."""
    return (folder.command("predict", "ITEM.."), folder.command("predict", "ITEM..", "--json"))
