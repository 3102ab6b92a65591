"""What about the data makes a result doubtful: findings from before training, and near-duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from regraft.report._figures import metric_text
from regraft.report._folder import RunFolder
from regraft.report._words import counted, ending, is_number, shortened

_MOST_PAIRS = 40
_LONGEST = 42


@dataclass(frozen=True)
class FindingView:
    """A finding, and what would change it."""

    kind: str
    sentence: str
    advice: str


@dataclass(frozen=True)
class NearView:
    """Near-duplicates: sentences, the first pairs, and the figures without those that stand on both sides.

    A row of ``without``: output and metric, the figure with all test examples, the one without.
    """

    sentences: tuple[str, ...]
    pairs: tuple[tuple[str, str, str, str, str, str], ...]
    count: int
    without: tuple[tuple[str, str, str], ...]


def findings_of(folder: RunFolder) -> tuple[FindingView, ...]:
    """What was found before training."""
    rows = [one for one in folder.run.get("findings") or [] if isinstance(one, dict) and one.get("sentence")]
    return tuple(
        FindingView(str(one.get("kind") or ""), str(one["sentence"]), str(one.get("advice") or ""))
        for one in rows
    )


def near_view(folder: RunFolder) -> NearView | None:
    """The near-duplicates; None where there are none."""
    rows = folder.near_duplicates
    if not rows:
        return None
    return NearView(
        sentences=_sentences(rows, folder),
        pairs=tuple(_pair(row) for row in sorted(rows, key=_harmless)[:_MOST_PAIRS]),
        count=len(rows),
        without=_without(folder),
    )


def _sentences(rows: tuple[Mapping[str, str], ...], folder: RunFolder) -> tuple[str, ...]:
    torn = sum(map(_torn, rows))
    apart = sum(row.get("same_label") == "no" for row in rows)
    have = "has" if len(rows) == 1 else "have"
    told = [f"{counted(len(rows), 'pair')} of examples {have} nearly the same content."]
    if torn:
        stand = "stands" if torn == 1 else "stand"
        told.append(
            f"{counted(torn, 'pair')} of them {stand} on both sides of the test part: the figures may "
            "flatter; a column that --group names keeps what belongs together on one side."
        )
    if apart:
        have = "has" if apart == 1 else "have"
        told.append(
            f"{counted(apart, 'pair')} outside the test part {have} different labels: one of each is likely "
            "wrong."
        )
    return tuple(told)


def _torn(row: Mapping[str, str]) -> bool:
    """Whether a pair stands on both sides of the test part."""
    return (row.get("part") == "test") != (row.get("part_of_twin") == "test")


def _harmless(row: Mapping[str, str]) -> bool:
    """Whether nothing is wrong with a pair but that it is one; these are shown last."""
    return not _torn(row) and row.get("same_label") != "no"


def _pair(row: Mapping[str, str]) -> tuple[str, str, str, str, str, str]:
    names = [ending(row.get(key) or "", _LONGEST) for key in ("item", "twin")]
    parts = [shortened(row.get(key) or "", 20) for key in ("part", "part_of_twin")]
    likeness = shortened(row.get("likeness") or "", 10)
    agree = {"yes": "same", "no": "different"}.get(row.get("same_label") or "", "sealed")
    return names[0], parts[0], names[1], parts[1], likeness, agree


def _without(folder: RunFolder) -> tuple[tuple[str, str, str], ...]:
    """The deciding figures with and without test examples that have a twin among what can be trained on."""
    rows = []
    for name, output in (folder.metrics.get("outputs") or {}).items():
        alone = output.get("without_near_duplicates") or {}
        deciding = str(output.get("deciding") or "")
        one = (alone.get("metrics") or {}).get(deciding)
        whole = (output.get("metrics") or {}).get(deciding)
        if isinstance(one, dict) and isinstance(whole, dict) and is_number(alone.get("left_out")):
            left = f"without {counted(int(alone['left_out']), 'example')}"
            rows.append(
                (f"{deciding} of {shortened(name, 60)}, {left}", metric_text(whole), metric_text(one))
            )
    return tuple(rows)
