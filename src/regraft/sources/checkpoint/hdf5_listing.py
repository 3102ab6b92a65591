"""What an HDF5 file holds, as JSON: a program of its own, as HDF5's library may crash over a damaged file.

It opens the file with h5py, writes down where the bytes of each dataset lie, and reads none of them. It is
started by ``hdf5_file.py``, needs nothing of regraft, and may crash or run out of memory on its own.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

MEMORY = 4 << 30  # bytes of address space
SECONDS = 60  # of processor time
MOST_OBJECTS = 1_000_100
MOST_CHUNKS = 1_000_000
_DEEPEST = 100
_COMPACT = 1 << 16
_BFLOAT16 = (15, 7, 8, 0, 7)  # where sign, exponent and mantissa lie, and how long the latter are


class Refused(Exception):
    """The file is sound and still not read: it reaches for other files, or is made in unknown ways."""

    def __init__(self, message: str, unsafe: bool = False):
        super().__init__(message)
        self.unsafe = unsafe


def listing(path: str) -> dict[str, Any]:
    """Datasets in the order of the file, names of layers, and the order of weights in Keras 2."""
    import h5py

    found: dict[str, Any] = {"datasets": [], "passed": [], "titles": {}, "order": []}
    with h5py.File(path, "r") as file:
        for name, item in _walk(h5py, file):
            if isinstance(item, h5py.Dataset):
                told = _dataset(h5py, name, item)
                found["passed" if told is None else "datasets"].append(told or name)
            else:
                _attributes(name, item, found)
    return found


def _walk(h5py: Any, file: Any) -> Iterator[tuple[str, Any]]:
    """Every object below the file, with its path; groups that hold themselves are refused."""
    seen = {h5py.h5o.get_info(file.id).addr}
    stack = [("", file, iter(list(file)))]
    count = 0
    yield "", file
    while stack:
        prefix, group, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            continue
        count += 1
        if count > MOST_OBJECTS or len(stack) > _DEEPEST:
            raise Refused(f"it nests {len(stack)} deep and has more than {count:,} objects")
        _check_link(h5py, group, name, prefix + name)
        item = group[name]
        yield prefix + name, item
        if isinstance(item, h5py.Group):
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise Refused(f"its group {(prefix + name)[:80]!r} stands in two places or holds itself")
            seen.add(address)
            stack.append((f"{prefix}{name}/", item, iter(list(item))))


def _check_link(h5py: Any, group: Any, name: str, path: str) -> None:
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise Refused(f"{path[:80]!r} is a link into another file, {link.filename[:80]!r}", unsafe=True)
    if not isinstance(link, h5py.HardLink):
        raise Refused(f"{path[:80]!r} is a soft link, to {getattr(link, 'path', '?')[:80]!r}")


def _dataset(h5py: Any, name: str, item: Any) -> dict[str, Any] | None:
    """Where a dataset's bytes lie; None for what holds no numbers."""
    if item.shape is None or item.dtype.kind in "OSU" or h5py.check_ref_dtype(item.dtype):
        return None
    plist = item.id.get_create_plist()
    told = {"name": name, "shape": list(item.shape), "dtype": _dtype(h5py, name, item)}
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL or plist.get_external_count():
        raise Refused(f"dataset {name[:80]!r} keeps its values in other files", unsafe=True)
    if layout == h5py.h5d.COMPACT:
        if item.nbytes > _COMPACT:
            raise Refused(f"dataset {name[:80]!r} is compact and claims {item.nbytes:,} bytes")
        return {**told, "inline": base64.b64encode(item[()].tobytes()).decode()}
    if layout == h5py.h5d.CHUNKED:
        return {**told, **_chunks(item, plist)}
    return {**told, "offset": item.id.get_offset()}


def _dtype(h5py: Any, name: str, item: Any) -> str:
    """NumPy's name for the type, if the bytes of the file are just what NumPy would have."""
    stored = item.id.get_type()
    if stored.get_class() == h5py.h5t.FLOAT and stored.get_size() == 2 and stored.get_fields() == _BFLOAT16:
        return ("<" if stored.get_order() == h5py.h5t.ORDER_LE else ">") + "V2"
    if item.dtype.kind == "V":
        if item.dtype.names or item.dtype.subdtype:
            raise Refused(f"dataset {name[:80]!r} has several fields; only plain arrays are read")
        return "<V2" if str(item.attrs.get("dtype", "bfloat16")) == "bfloat16" else str(item.dtype.str)
    if item.dtype.kind != "c" and not stored.equal(h5py.h5t.py_create(item.dtype, logical=True)):
        raise Refused(f"dataset {name[:80]!r} has numbers of an unusual make, near {item.dtype}")
    return str(item.dtype.str)


def _chunks(item: Any, plist: Any) -> dict[str, Any]:
    """Where each chunk lies and the filters that it went through, in the order in which they were applied."""
    filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    places: list[tuple[list[int], int, int, int]] = []

    def note(info: Any) -> None:
        if len(places) >= MOST_CHUNKS:
            raise Refused(f"it has more than {MOST_CHUNKS:,} chunks")
        places.append((list(info.chunk_offset), info.filter_mask, info.byte_offset, info.size))

    item.id.chunk_iter(note)
    return {"chunk": list(plist.get_chunk()), "filters": filters, "places": places}


def _attributes(name: str, group: Any, found: dict[str, Any]) -> None:
    """What Keras notes at its groups: 3 a layer's name at ``vars``, 2 the order of layers and weights."""
    if name.endswith("/vars") and isinstance(title := group.attrs.get("name"), str):
        found["titles"][name] = title
    prefix = f"{name}/" if name else ""
    for layer in _texts(group, "layer_names"):
        if layer in group:
            found["order"] += [f"{prefix}{layer}/{weight}" for weight in _texts(group[layer], "weight_names")]


def _texts(group: Any, name: str) -> list[str]:
    """An attribute that is a list of texts; long ones are split over ``name0``, ``name1``, .."""
    parts = [name] if name in group.attrs else []
    while not parts or parts[-1] != name:
        part = f"{name}{len(parts)}"
        if part not in group.attrs:
            break
        parts.append(part)
    values = [value for part in parts for value in list(group.attrs[part])]
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]


def limited() -> None:
    """Bound this process's memory and time, and leave no core behind, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    bounds = ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0))
    for kind, bound in bounds:
        hard = resource.getrlimit(kind)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        with suppress(OSError, ValueError):  # some systems know the limit and do not take it
            resource.setrlimit(kind, (bound, bound))


def answer(path: str) -> dict[str, Any]:
    """The listing, or why there is none."""
    try:
        return listing(path)
    except Refused as error:
        return {"refused": str(error), "unsafe": error.unsafe}
    except Exception as error:  # noqa: BLE001 - h5py raises nearly anything, and this process ends here
        return {"damaged": f"{type(error).__name__}: {error}"[:300]}


if __name__ == "__main__":
    limited()
    json.dump(answer(sys.argv[1]), sys.stdout)
