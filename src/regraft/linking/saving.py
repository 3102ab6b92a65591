"""A link as a file: written with what its report draws, and applied again without searching."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.core.errors import LinkError, UsageError
from regraft.core.files import write_json
from regraft.linking.blueprint import Blueprint
from regraft.linking.coverage import measure_source
from regraft.linking.link import Link
from regraft.linking.origin import Origin
from regraft.linking.showing.drawing import outline_of
from regraft.linking.whole import WholeBlueprint
from regraft.sources import Source

if TYPE_CHECKING:
    from regraft.linking.proving.proof import Proof

_MOST = 12  # what is wrong is named up to this many times


def describe_link(link: Link, proof: Proof | None = None) -> dict[str, Any]:
    """The link as plain JSON with what its report shows: the source's mass, the blocks of both sides.

    The source's tensors are looked up for their sizes, not read.
    """
    described = link.to_json()
    described["source_mass"] = measure_source(link).to_json()
    described["outline"] = outline_of(link)
    return described if proof is None else {**described, "proof": proof.to_json()}


def save_link(link: Link, path: str | Path, proof: Proof | None = None) -> Path:
    """Write a link to a JSON file, whole or not at all, for :func:`load_link_file`."""
    place = Path(path)
    write_json(place, describe_link(link, proof))
    return place


def load_link_file(path: str | Path, source: Source | Origin, blueprint: Blueprint | WholeBlueprint) -> Link:
    """The link in a file, applied to this source and this target; nothing is searched.

    Raises ``UsageError`` where the file holds no link, and ``LinkError``, which lists what does not fit,
    where it is a link between others.
    """
    data = _one_model(Path(path), _read(Path(path)))
    try:
        link = Link.from_json(data, source, blueprint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is no link that this version can read: {error}") from error
    wrong = _differences(link)
    if wrong:
        listed = "\n".join(wrong[:_MOST])
        more = f"\n  and {len(wrong) - _MOST} more" if len(wrong) > _MOST else ""
        raise LinkError(
            f"{path} is a link from {data.get('source')} to {data.get('target')}; it does not fit "
            f"{link.origin.name} and {blueprint.name}:\n{listed}{more}\n"
            "Search anew: leave saved= (--saved) out"
        )
    return link


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"there is no saved link {path}; --save writes one") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a saved link: {error}") from error


def _one_model(path: Path, data: Any) -> dict[str, Any]:
    """A link by itself, or the one link in the ``link.json`` of a run."""
    models = data.get("models") if isinstance(data, dict) else None
    if isinstance(models, dict) and len(models) == 1:
        data = next(iter(models.values()))
    if not isinstance(data, dict) or "rows" not in data:
        raise UsageError(f"{path} holds no link: it has no rows")
    return dict(data)


def _differences(link: Link) -> list[str]:
    """What the link says that is not so, as the places and tensors stand now."""
    slots = {slot.name: slot.shape for slot in link.blueprint.slots()}
    rows = {row.target: row for row in link.rows}
    wrong = [f"  the target has no {name}" for name in rows if name not in slots]
    wrong += [f"  the link says nothing about {name}" for name in slots if name not in rows]
    wrong += [
        f"  {name} is {_shape(slots[name])} and not {_shape(row.target_shape)}"
        for name, row in rows.items()
        if name in slots and slots[name] != row.target_shape
    ]
    weights = link.origin.weights()
    for row in link.rows:
        wrong += [f"  the source has no {name}" for name in row.sources if name not in weights]
        first = row.source if row.carried else None
        if first is not None and first in weights and weights.shape(first) != row.source_shape:
            wrong.append(f"  {first} is {_shape(weights.shape(first))} and not {_shape(row.source_shape)}")
    return wrong


def _shape(shape: tuple[int, ...] | None) -> str:
    return "x".join(map(str, shape or ())) or "scalar"
