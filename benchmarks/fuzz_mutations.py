"""Changes to the bytes of a sound checkpoint: damage, and what a hostile writer would try.

Flipped bits, truncation, splices, extreme numbers, edited JSON headers and indices, edited zip directories,
edited pickles. Each is a function of the bytes and a seeded generator.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable
from typing import Any

Change = Callable[[bytes, random.Random], bytes]


def flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncate(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def splice(data: bytes, draw: random.Random) -> bytes:
    """Some bytes copied, moved or doubled to another place."""
    begin, length, to = draw.randrange(len(data)), draw.randrange(1, 64), draw.randrange(len(data))
    piece = data[begin : begin + length]
    return data[:to] + piece + data[to + draw.choice((0, len(piece), length)) :]


def extreme(data: bytes, draw: random.Random) -> bytes:
    """A number of 1 to 8 bytes replaced by one that is hard to bear."""
    width = draw.choice((1, 2, 4, 8))
    number = draw.choice((0, 1, (1 << 8 * width) - 1, 1 << 8 * width - 1, (1 << 8 * width - 1) - 1))
    at = draw.randrange(max(len(data) - width, 1))
    return data[:at] + number.to_bytes(width, "little") + data[at + width :]


def grow(data: bytes, draw: random.Random) -> bytes:
    return data + draw.randbytes(draw.randrange(1, 200))


STRANGE = (
    *(-1, 0, 1, 2, 2**31, 2**63, 2**64, 10**30, 1.5, None, True, "", "x" * 5000, [], {}, [1], [-1, 4]),
    *("F32", "F64", "BF16", "F99", [2**40, 2**40], [0] * 70, [0, 4], [4, 0], ["a"], {"dtype": "F32"}),
    *(
        "../a.safetensors",
        "/etc/passwd",
        "model.safetensors.index.json",
        "a.safetensors",
        ".",
        "\0",
        "nowhere",
    ),
)


def edit_json(value: Any, draw: random.Random) -> Any:
    """A JSON value with one of its parts replaced, removed, renamed or exchanged."""
    if not isinstance(value, dict | list) or not value or draw.random() < 0.15:
        return draw.choice(STRANGE)
    if isinstance(value, list):
        at = draw.randrange(len(value))
        return [*value[:at], edit_json(value[at], draw), *value[at + 1 :]]
    name = draw.choice(list(value))
    change = draw.random()
    if change < 0.1:
        return {key: part for key, part in value.items() if key != name}
    if change < 0.2:
        return {draw.choice(("", "x" * 3000, "\ud800", "a", "__metadata__")): value[name], **value}
    if change < 0.3:
        return {**value, name: value[draw.choice(list(value))]}
    return {**value, name: edit_json(value[name], draw)}


def json_text(value: Any, draw: random.Random) -> bytes:
    text = json.dumps(value)
    if draw.random() < 0.1:  # one name twice
        text = re.sub(r'"[a-z.]+":', draw.choice(re.findall(r'"[a-z.]+":', text) or ['"a":']), text, count=1)
    if draw.random() < 0.02:
        text = "[" * draw.choice((100, 100_000)) + text
    return text.encode("utf-8", "surrogatepass")


def edit_safetensors(data: bytes, draw: random.Random) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json_text(edit_json(json.loads(data[8 : 8 + length]), draw), draw)
    claimed = len(header) if draw.random() < 0.9 else draw.choice((0, 2**63, len(header) - 1, 10**8 + 1))
    return claimed.to_bytes(8, "little") + header + data[8 + length :]


def edit_index(data: bytes, draw: random.Random) -> bytes:
    return json_text(edit_json(json.loads(data), draw), draw)


def edit_directory(data: bytes, draw: random.Random) -> bytes:
    """A field of one of a zip archive's headers replaced."""
    found = [match.start() for match in re.finditer(rb"PK(\x01\x02|\x03\x04|\x05\x06|\x06\x06)", data)]
    at = draw.choice(found or [0]) + draw.randrange(4, 46)
    width = draw.choice((1, 2, 4))
    number = draw.choice((0, 1, 8, 0xFF, (1 << 8 * width) - 1, draw.randrange(1 << 8 * width), len(data)))
    changed = (number & (1 << 8 * width) - 1).to_bytes(width, "little")
    return data[:at] + changed + data[at + width :]


def edit_pickle(data: bytes, draw: random.Random) -> bytes:
    """Bytes of a pickle replaced by instructions, names or numbers."""
    begin = max(data.find(b"\x80\x02}"), data.find(b"\x80\x02ccollections"), 0)
    end = data.find(b".PK", begin)
    at = draw.randrange(begin, end if end > begin else len(data))
    piece = draw.choice(
        (b"cos\nsystem\n", b"(", b"t", b"R", b"b", b"]", b"}", b"Q", b"0", b"2", b"\x85", b".")
    )
    long = (b"\x8a\xff", b"J\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f")
    piece = draw.choice((piece, bytes([draw.randrange(256)]), *long))
    return data[:at] + piece + data[at + draw.choice((0, len(piece))) :]


def mutate(kind: str, data: bytes, draw: random.Random) -> bytes:
    """One to three changes, most of them such that this format's reader has to look at them."""
    general: list[Change] = [flip, flip, truncate, splice, extreme, extreme, grow]
    special: dict[str, list[Change]] = {
        "safetensors": [edit_safetensors],
        "sharded": [edit_index],
        "torch": [edit_directory, edit_pickle, edit_pickle],
        "torch-legacy": [edit_pickle],
        "numpy": [edit_directory],
        "numpy-deflated": [edit_directory],
    }
    own = special.get(kind, [])
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        change = draw.choice(own) if own and draw.random() < 0.5 else draw.choice(general)
        with contextlib.suppress(ValueError, RecursionError):  # edits of what an edit before has broken
            data = change(data, draw) or b""
        if not data:
            break
    return data
