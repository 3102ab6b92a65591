"""``rg.features``: what a source's network gives for items, for whoever wants only that."""

from __future__ import annotations

import difflib
import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from regraft.core.errors import DataError, RegraftError, UsageError
from regraft.core.files import write_json
from regraft.core.tensor_file import row_writer
from regraft.engine import Settings
from regraft.inference.stream import Stream
from regraft.sources import Source, Trunk, find, load_native
from regraft.targets import Items, Target, list_items, list_target

_LISTED = 1 << 20  # bytes of names that are kept inside the file; more go into one beside it
_ABOUT = 16 << 10  # bytes for what else the file says of itself


@dataclass(frozen=True, eq=False)
class Features:
    """What a network gave for items.

    Attributes
    ----------
    values
        ``float32``: a row for each example (pooled) or piece (an activation); tokens of all pieces one after
        the other where they have several lengths. None where they were written to a file.
    shape
        Theirs.
    names
        Of the examples, in the order given.
    beside
        ``lengths`` (pieces,): how many tokens each piece has, where they vary. ``examples`` (pieces,): the
        example of each piece, where an example has several.
    unreadable
        Item and reason of what could not be read.
    about
        Source, block, kind of output, backend.
    file
        Where they were written.
    """

    values: np.ndarray | None = field(repr=False)
    shape: tuple[int, ...]
    names: list[str] = field(repr=False)
    beside: dict[str, np.ndarray] = field(repr=False)
    unreadable: list[tuple[str, str]]
    about: dict[str, str]
    file: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, without the values."""
        return {
            **self.about,
            "file": None if self.file is None else str(self.file),
            "shape": list(self.shape),
            "examples": len(self.names),
            "beside": sorted(self.beside),
            "unreadable": [{"item": item, "error": reason} for item, reason in self.unreadable],
        }


def features(
    items: Any,
    source: str | Source,
    *,
    out: str | Path | None = None,
    cut: str | None = None,
    output: str = "pooled",
    column: str | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> Features:
    """What a source's own network gives for items; nothing is trained and no label is read.

    Example::

        found = rg.features("photos/", "packaged:efficientnet-lite0")
        found.values.shape  # (2000, 1280)
        rg.features(target, "timm:resnet18", cut="layer3", out="layer3.safetensors")

    Parameters
    ----------
    items
        Files, folders, globs, tables, texts, arrays, as for ``predict``; or a Target.
    out
        A ``.safetensors`` file that is written while the network runs, so that memory stays flat:
        ``features`` and, where they are needed, ``lengths`` and ``examples``; names and what could not be
        read in its metadata, or in a JSON file beside it where they are many.
    cut
        The block after which the activation is taken.
    output
        ``pooled``, ``map`` or ``tokens``, instead of a block.
    column
        Column of a table that holds the items.
    settings
        Device, threads and backend.
    options
        Those of the source, as in ``size=96``.

    Raises
    ------
    UsageError
        Where there is no such block or output, ``out`` is no ``.safetensors`` file in a folder that is there,
        or source and target do not fit.
    DataError
        Where nothing could be read.
    """
    path = None if out is None else _checked(Path(out))
    opened = find(source, **options)
    settings = settings or Settings()
    device = settings.apply()
    trunk = load_native(opened).to(device)
    place = _cut_of(trunk, cut, output)
    listed: _Parts = (
        list_target(items, opened.preprocessing)
        if isinstance(items, Target)
        else list_items(items, opened.preprocessing, column=column)
    )
    if not len(listed):
        raise UsageError("there are no items; name files, folders, globs, a table or texts")
    stream = Stream(trunk, place, total=len(listed), backend=settings.backend, device=device)
    about = {"source": opened.name, "block": trunk.block_names[place - 1], "output": cut or output}
    made = _Pass(stream, pooled=place == len(trunk.blocks))
    if path is None:
        return _in_memory(made, listed, about)
    return _written(made, listed, about, path)


class _Parts(Protocol):
    """Items that come in parts."""

    def __len__(self) -> int: ...
    def parts(self) -> Iterator[Items]: ...
    @property
    def names(self) -> Any: ...


def _checked(path: Path) -> Path:
    path = path.expanduser()
    if path.suffix != ".safetensors":
        raise UsageError(f"--out {path}: features are safetensors; name it {path.stem}.safetensors")
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file in it: {path / 'features.safetensors'}")
    if not path.parent.is_dir():
        raise UsageError(
            f"--out {path}: there is no folder {path.parent}; make it with: mkdir -p {path.parent}"
        )
    return path


def _cut_of(trunk: Trunk, cut: str | None, output: str) -> int:
    if cut is not None and output != "pooled":
        raise UsageError(f"--cut {cut} and --output {output} name two places; give one of them")
    if cut is not None:
        if cut not in trunk.block_names:
            near = difflib.get_close_matches(cut, trunk.block_names, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise UsageError(
                f"there is no block {cut!r}. {hint}The blocks are {', '.join(trunk.block_names)}"
            )
        return trunk.cut_after(cut)
    if output == "pooled":
        return len(trunk.blocks)
    if output not in trunk.passing:
        raise UsageError(f"--output {output}: this source gives {', '.join(trunk.outputs)}")
    return trunk.cut_after(trunk.passing[output])


class _Pass:
    """One pass over all parts: rows as they come, and what is noted of them on the way."""

    def __init__(self, stream: Stream, *, pooled: bool):
        self.stream, self.pooled = stream, pooled
        self.names: list[str] = []
        self.unreadable: list[tuple[str, str]] = []
        self._lengths: list[np.ndarray] = []
        self._examples: list[np.ndarray] = []

    def rows(self, listed: _Parts) -> Iterator[np.ndarray]:
        """Rows in the order of examples. Raises :class:`DataError` where there is not one."""
        for part in self.stream.read(listed.parts()):
            self.unreadable += [(part.names[index], reason) for index, reason in part.errors.items()]
            if len(part.inputs):
                if self.pooled:
                    yield self.stream.pooled(part.inputs).numpy()
                else:
                    yield from self._activations(part)
            self.names += [part.names[index] for index in part.readable]
        if not self.names:
            item, reason = self.unreadable[0]
            raise DataError(f"none of {len(listed)} items can be read; the first one, {item}: {reason}")

    @property
    def beside(self) -> dict[str, np.ndarray]:
        """Lengths of ragged tokens, and the examples of pieces where there are more pieces than examples."""
        found = {}
        if self._lengths:
            found["lengths"] = np.concatenate(self._lengths).astype(np.int32)
        owners = np.concatenate([np.zeros(0), *self._examples])
        if len(owners) != len(self.names) and not self.pooled:
            found["examples"] = owners.astype(np.int32)
        return found

    def _activations(self, part: Items) -> Iterator[np.ndarray]:
        owners = np.asarray(part.inputs.owners)
        self._examples.append(owners + len(self.names))
        lengths = np.zeros(len(owners), np.int64)
        in_order = len(np.unique(np.asarray(part.inputs.buckets))) == 1
        waiting: dict[int, np.ndarray] = {}
        ragged = False
        for pieces, inputs, values in self.stream.run(part.inputs):
            counts = _token_counts(inputs, values)
            ragged = counts is not None
            if counts is not None:
                lengths[pieces] = counts
                rows = [row[:count] for row, count in zip(values.numpy(), counts.tolist(), strict=True)]
            else:
                rows = list(values.numpy()[:, None])
            if in_order:
                yield np.concatenate(rows)
            else:
                waiting.update(zip(pieces.tolist(), rows, strict=True))
        for piece in sorted(waiting):
            yield waiting.pop(piece)
        if ragged:
            self._lengths.append(lengths)


def _token_counts(inputs: dict[str, torch.Tensor], values: torch.Tensor) -> np.ndarray | None:
    """How many rows of each piece's activation are tokens of its own; None where it has no such rows."""
    mask = inputs.get("attention_mask")
    if mask is None or values.ndim != 3 or values.shape[1] != mask.shape[1]:
        return None
    return mask.sum(1).numpy()


def _in_memory(made: _Pass, listed: _Parts, about: dict[str, str]) -> Features:
    values = np.concatenate(list(_of_one_shape(made.rows(listed), made, about)))
    about = {**about, "backend": made.stream.backend_name}
    return Features(values, values.shape, made.names, made.beside, made.unreadable, about)


def _written(made: _Pass, listed: _Parts, about: dict[str, str], path: Path) -> Features:
    room = len(json.dumps([_as_text(name) for name in listed.names], ensure_ascii=False).encode()) * 2
    many = room > _LISTED
    beside_it = path.with_suffix(".json")
    try:
        with row_writer(path, "features", room=(0 if many else room) + _ABOUT) as out:
            for rows in _of_one_shape(made.rows(listed), made, about):
                out.add(rows)
            about = {**about, "backend": made.stream.backend_name}
            lists = {
                "names": [_as_text(name) for name in made.names],
                "unreadable": [[_as_text(item), _as_text(reason)] for item, reason in made.unreadable],
            }
            many = many or len(json.dumps(lists["unreadable"]).encode()) > _ABOUT // 2
            metadata = {**about, "format": "pt"}
            if many:
                write_json(beside_it, {**about, **lists})
                metadata["lists"] = beside_it.name
            else:
                metadata |= {key: json.dumps(value, ensure_ascii=False) for key, value in lists.items()}
            out.finish(made.beside, metadata)
            shape = out.shape
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RegraftError(f"--out {path}: the disk is full; nothing was written there") from error
        raise RegraftError(f"--out {path} cannot be written: {error.strerror or error}") from error
    return Features(None, shape, made.names, made.beside, made.unreadable, about, path)


def _as_text(name: str) -> str:
    """A file's name, which may hold bytes that are no UTF-8, as text that can be written."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _of_one_shape(parts: Iterator[np.ndarray], made: _Pass, about: dict[str, str]) -> Iterator[np.ndarray]:
    """The parts as they are. Raises :class:`UsageError` where one's rows have another shape."""
    first: tuple[int, ...] | None = None
    rows = 0
    for part in parts:
        first = first or part.shape
        if part.shape[1:] != first[1:]:
            raise UsageError(
                f"all rows in one tensor need one shape, and after the block {about['block']} of "
                f"{about['source']} the first row is {_sized(first)} and row {rows} is {_sized(part.shape)}: "
                "it depends on the length of the input. Leave out --cut and --output for pooled rows, or "
                f"name another block: --cut {_others(made, about['block'])}"
            )
        rows += len(part)
        yield part


def _sized(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[1:])) or "a number"


def _others(made: _Pass, block: str) -> str:
    return " or ".join(name for name in made.stream.trunk.block_names if name != block)
