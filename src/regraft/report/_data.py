"""The data section: counts per class, previews, notes, and what could not be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from regraft.report._charts import Bar, bars
from regraft.report._folder import RunFolder
from regraft.report._media import Example, Gallery, label_text
from regraft.report._words import MISSING, class_name, count, counted, figure, is_number, joined, share

_SHOWN_CLASSES = 15
_MOST_CLASSES = 400
_MOST_PREVIEWS = 16
_MOST_UNREADABLE = 100

KIND_WORDS = {
    "binary": "two classes",
    "multiclass": "one of several classes",
    "multilabel": "any number of classes",
    "regression": "a number",
}


@dataclass(frozen=True)
class Counts:
    """One output's labels: bars per class (the first ones and the ``rest``), or facts about its values."""

    name: str
    kind: str
    first: tuple[Bar, ...] = ()
    rest: tuple[Bar, ...] = ()
    untold: int = 0
    facts: tuple[tuple[str, str], ...] = ()


_TONES = {"train": "copied", "train and validation": "copied", "validation": "adapted", "test": "fresh"}
_TONES |= {"not drawn": "idle"}


@dataclass(frozen=True)
class Part:
    """A part of the examples; ``length`` is its share in percent."""

    name: str
    text: str
    length: float
    tone: str


@dataclass(frozen=True)
class Data:
    """What the data section shows."""

    known: bool
    summary: str
    parts: tuple[Part, ...]
    outputs: tuple[Counts, ...]
    previews: tuple[Example, ...]
    notes: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    unreadable_count: int
    reasons: tuple[tuple[str, int], ...]


def data_section(folder: RunFolder, gallery: Gallery) -> Data:
    """What is known about the target."""
    target = folder.target
    total = folder.target.get("unreadable")
    unreadable = max(len(folder.unreadable), int(total) if is_number(total) else 0)
    return Data(
        known=bool(target),
        summary=_summary(target, unreadable),
        parts=_parts(target),
        outputs=tuple(_counts(task, target) for task in target.get("tasks") or []),
        previews=tuple(_preview(entry, gallery) for entry in (target.get("preview") or [])[:_MOST_PREVIEWS]),
        notes=tuple(str(note) for note in target.get("notes") or []),
        unreadable=folder.unreadable[:_MOST_UNREADABLE],
        unreadable_count=unreadable,
        reasons=tuple(Counter(reason for _, reason in folder.unreadable).most_common(5)),
    )


def _summary(target: dict[str, Any], unreadable: int) -> str:
    examples = target.get("count")
    if not is_number(examples):
        return ""
    noun = f"{target.get('modality') or ''} example".strip()
    words = [f"{counted(int(examples), noun)} in all"]
    if unreadable:
        words.append(f"{count(unreadable)} more could not be read")
    return ", ".join(words) + "."


def _parts(target: dict[str, Any]) -> tuple[Part, ...]:
    parts = {name: int(n) for name, n in (target.get("parts") or {}).items() if is_number(n)}
    if "train" in parts:
        shown = [(name, parts.get(name, 0)) for name in ("train", "validation", "test")]
        examples = target.get("count")
        left = int(examples) - sum(n for _, n in shown) if is_number(examples) else 0
        shown += [("not drawn", left)] if left > 0 else []
    else:
        shown = [("train and validation", parts.get("pool", 0)), ("test", parts.get("test", 0))]
    whole = sum(n for _, n in shown) or 1
    return tuple(
        Part(name, f"{count(n)} ({share(n, whole)})", round(100 * n / whole, 2), _TONES[name])
        for name, n in shown
    )


def _counts(task: dict[str, Any], target: dict[str, Any]) -> Counts:
    name, kind = str(task.get("name", "")), str(task.get("kind", ""))
    counts = (target.get("counts") or {}).get(name) or {}
    words = KIND_WORDS.get(kind, kind)
    if kind == "regression":
        told = {"mean": "mean", "std": "standard deviation", "min": "smallest", "max": "largest"}
        return Counts(name, words, facts=tuple((told[key], figure(counts.get(key))) for key in told))
    rows = [(class_name(label), float(n)) for label, n in counts.items() if is_number(n)]
    if len(rows) > _SHOWN_CLASSES:
        rows.sort(key=lambda row: -row[1])
    drawn = bars([(label, n, count(n)) for label, n in rows[:_MOST_CLASSES]])
    # One or two classes behind a fold would cost more room than they save.
    cut = len(drawn) if len(drawn) <= _SHOWN_CLASSES + 3 else _SHOWN_CLASSES
    return Counts(name, words, drawn[:cut], drawn[cut:], untold=len(rows) - len(drawn))


def _preview(entry: dict[str, Any], gallery: Gallery) -> Example:
    return gallery.example(entry, title=label_text(entry.get("label")))


def tasks_in_words(target: dict[str, Any]) -> str:
    """The outputs and their kinds in one phrase: ``defect (two classes)``."""
    tasks = target.get("tasks") or []
    phrases = []
    for task in tasks[:4]:
        kind = str(task.get("kind", ""))
        classes = len(task.get("classes") or [])
        words = f"one of {classes} classes" if kind == "multiclass" else KIND_WORDS.get(kind, kind)
        phrases.append(f"{task.get('name', '')} ({words})")
    if len(tasks) > 4:
        phrases.append(f"{len(tasks) - 4} more outputs")
    return joined(phrases) or MISSING
