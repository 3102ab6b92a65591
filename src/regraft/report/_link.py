"""What carried over: a link's figures, its folded rows, and the words around its picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regraft.core.files import write_text
from regraft.report._blocks import Picture, picture_of
from regraft.report._charts import Bar, bars
from regraft.report._folder import RunFolder
from regraft.report._words import count, counted, figure, is_number, joined, share, shortened

_INDEX = re.compile(r"(?<![^.])\d+(?![^.])")
_MOST_ROWS = 150
_MOST_UNUSED = 40
_MOST_NOTES = 20
ACTIONS = ("copied", "adapted", "fresh")

Json = dict[str, Any]


@dataclass(frozen=True)
class FoldedRow:
    """Rows of a link that differ only in the numbers inside their names."""

    target: str
    source: str
    tensors: int
    action: str
    role: str
    rule: str
    transform: str
    shape: str
    confidence: str
    conflict: bool = False
    alternatives: str = ""


@dataclass(frozen=True)
class LinkView:
    """One model's link; ``picture`` is None for a link that was written without the blocks of both sides."""

    name: str
    source: str
    target: str
    coverage: tuple[Bar, ...]
    actions: tuple[tuple[str, int, float], ...]
    rows: tuple[FoldedRow, ...]
    untold: int
    unused: tuple[str, ...]
    unused_count: int
    picture: Picture | None = None
    sentence: str = ""
    notes: tuple[str, ...] = ()


def link_views(folder: RunFolder) -> tuple[LinkView, ...]:
    """The link of each model."""
    models = folder.link.get("models") or {}
    return tuple(view_of(model, str(name)) for name, model in models.items() if isinstance(model, dict))


def view_of(model: Json, name: str = "") -> LinkView:
    """One link, from its JSON."""
    rows = [row for row in model.get("rows") or [] if isinstance(row, dict)]
    unused = [shortened(key, 120) for key in model.get("unused") or []]
    folded = fold(rows)
    numbers = {action: sum(row.get("action") == action for row in rows) for action in ACTIONS}
    whole = sum(numbers.values()) or 1
    return LinkView(
        name=name,
        source=str(model.get("source", "")),
        target=str(model.get("target", "")),
        coverage=_coverage(model),
        actions=tuple((action, n, round(100 * n / whole, 2)) for action, n in numbers.items()),
        rows=folded[:_MOST_ROWS],
        untold=max(0, len(folded) - _MOST_ROWS),
        unused=tuple(unused[:_MOST_UNUSED]),
        unused_count=len(unused),
        picture=picture_of(model),
        sentence=_sentence(rows, model, numbers),
        notes=_notes(model),
    )


def _coverage(model: Json) -> tuple[Bar, ...]:
    coverage = model.get("coverage") or {}
    words = {"tensors": "shared tensors", "parameters": "shared parameters", "depth": "depth"}
    known = [(words[key], coverage[key]) for key in words if is_number(coverage.get(key))]
    return bars([(label, value, share(value, 1)) for label, value in known], whole=1.0)


def _sentence(rows: Sequence[Json], model: Json, numbers: dict[str, int]) -> str:
    """The whole in two sentences: what the picture shows, for who does not see it."""
    if not rows:
        return ""
    shared = sum(row.get("role") == "shared" for row in rows)
    told = joined([f"{number:,} {action}" for action, number in numbers.items() if number])
    text = f"{counted(len(rows), 'tensor')}: {told}; {shared:,} shared with the source, "
    text += f"{len(rows) - shared:,} specific to the target."
    mass = model.get("source_mass") or {}
    if is_number(mass.get("unused")) and is_number(mass.get("parameters")) and mass["parameters"]:
        left = share(mass["unused"], mass["parameters"]) if mass["unused"] else "none"
        text += f" Of the source's {count(mass['parameters'])} numbers {left} are left unused."
    return text


def _notes(model: Json) -> tuple[str, ...]:
    """What was decided on the way: maps, waivers, hyper-parameters that were set, what is known besides."""
    told = [f"Map: {one}" for one in model.get("maps") or []]
    told += [f"Waived, so that it may start fresh: {one}" for one in model.get("waivers") or []]
    for fix in model.get("fixes") or []:
        if isinstance(fix, dict):
            where = counted(len(fix.get("modules") or []), "module")
            was = "" if fix.get("was") is None else f" (it was {fix['was']})"
            told.append(f"Set: {fix.get('kind')} of {where} to {fix.get('value')}{was}")
    told += [str(note) for note in model.get("notes") or []]
    return tuple(shortened(note, 300) for note in told[:_MOST_NOTES])


def fold(rows: Sequence[Json]) -> tuple[FoldedRow, ...]:
    """Rows in one where name pattern, action, role, rule and transform are equal, in their order."""
    groups: dict[tuple[str, ...], list[Json]] = {}
    for row in rows:
        sides = [_INDEX.sub("#", str(row.get(side) or "")) for side in ("target", "source")]
        others = [str(row.get(field) or "") for field in ("action", "role", "rule", "transform", "conflict")]
        groups.setdefault((*sides, *others), []).append(row)
    return tuple(_folded(key, group) for key, group in groups.items())


def _folded(key: tuple[str, ...], group: list[Json]) -> FoldedRow:
    _, _, action, role, rule, transform, conflict = key
    shapes = {_shape(row.get("target_shape")) for row in group}
    known = [row["confidence"] for row in group if is_number(row.get("confidence"))]
    sure = action != "fresh" and known and min(known) < 1
    others = [str(name) for name in group[0].get("alternatives") or []]
    return FoldedRow(
        target=name_range([str(row.get("target") or "") for row in group]),
        source=_sources(group),
        tensors=len(group),
        action=action,
        role=role,
        rule=rule,
        transform="" if transform == "identity" else transform,
        shape=shapes.pop() if len(shapes) == 1 else f"{len(shapes)} shapes",
        confidence=figure(min(known), decimals=2) if sure else "",
        conflict=bool(conflict),
        alternatives=shortened(joined(others[:3], "or"), 200),
    )


def _sources(group: list[Json]) -> str:
    """The first tensor that the rows take, and how many more each takes."""
    recipe = group[0].get("recipe")
    more = len(recipe.get("sources") or []) - 1 if isinstance(recipe, dict) else 0
    return name_range([str(row.get("source") or "") for row in group]) + (
        f" + {more} more" if more > 0 else ""
    )


def _shape(shape: Any) -> str:
    return (
        " \N{MULTIPLICATION SIGN} ".join(str(size) for size in shape) or "scalar"
        if isinstance(shape, list)
        else ""
    )


def name_range(names: list[str]) -> str:
    """Names that differ in their numbers as one: ``blocks.{0…15}.weight``."""
    pattern = _INDEX.split(names[0])
    numbers = zip(*([int(found) for found in _INDEX.findall(name)] for name in names), strict=True)
    text = pattern[0]
    for values, rest in zip(numbers, pattern[1:], strict=True):
        low, high = min(values), max(values)
        text += (str(low) if low == high else f"{{{low}…{high}}}") + rest
    return text


def write_link_page(link: Json, proof: Json | None, path: str | Path) -> Path:
    """Write a page about one link, from its JSON and that of its proof; returns its path.

    One file that opens offline, runs no script and fetches nothing. ``proof`` has the proof's ``sentence``;
    None says that nothing was run.
    """
    from regraft.report._page import environment

    page = (
        environment()
        .get_template("link.html.j2")
        .render(link=view_of(link), verdict=_verdict(proof), doubts=_doubts(proof))
    )
    place = Path(path)
    write_text(place, page)
    return place


def _verdict(proof: Json | None) -> tuple[str, str, str, str]:
    """Word, tone, symbol and sentence."""
    if proof is None:
        return (
            "NOT VERIFIED",
            "unknown",
            "?",
            "Nothing was run, so nothing is known of what the linked model computes.",
        )
    said = shortened(str(proof.get("sentence") or "").removeprefix("not ").removeprefix("proven: "), 600)
    said = said[:1].upper() + said[1:]
    if proof.get("proven") and str(proof.get("compared") or "").startswith("what enters"):
        return "PROVEN IN PART", "open", "✓", said
    if proof.get("proven"):
        return "PROVEN", "helped", "✓", said
    return "NOT PROVEN", "harmed", "✗", said


def _doubts(proof: Json | None) -> tuple[str, ...]:
    if proof is None:
        return ()
    told = [*(proof.get("notes") or []), *(proof.get("statistics") or [])]
    return tuple(shortened(one, 300) for one in told[:_MOST_NOTES])
