"""A reader of pickles that runs nothing: what they would build is noted down, never built.

A pickle is a program for a small stack machine. Here the machine knows plain values, dicts, lists and tuples.
What a program asks to import becomes a :class:`Global`, which is only a name, and a call is handed to
``call``, which knows torch's own ways to put a tensor together. Names from settings that training code leaves
in its checkpoints become :class:`Opaque`; any other name refuses the file.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from regraft.core.errors import UnsafeFileError

# Packages whose objects lie beside the weights, as settings and counters. Nothing of them is run.
_SETTINGS = frozenset(
    [
        "argparse",
        "collections",
        "datetime",
        "lightning",
        "lightning_fabric",
        "ml_collections",
        "mmengine",
        "numpy",
        "omegaconf",
        "pathlib",
        "pytorch_lightning",
        "typing",
        "yacs",
    ]
)
_VALUES = {
    *("builtins.bytearray", "builtins.complex", "builtins.set", "builtins.frozenset", "builtins.dict"),
    *("builtins.list", "builtins.tuple", "builtins.slice", "builtins.range", "builtins.object"),
    *("__builtin__.set", "__builtin__.complex", "__builtin__.dict", "__builtin__.list", "__builtin__.object"),
    *("_codecs.encode", "types.SimpleNamespace", "copy_reg._reconstructor", "copyreg._reconstructor"),
}
_DICTS = ("collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict")
_KEYS = (str, int, float, bytes, type(None))

Call = Callable[[str, tuple[Any, ...]], Any]
"""Told the name of what is called and its arguments; returns a value, or ``Opaque``."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that a pickle would import."""

    name: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """Something that a pickle would build and that is of no interest here."""

    name: str


class _Mark:
    pass


class Bounded(io.RawIOBase):
    """A file that reads no more at once than is left of it, whatever length a pickle claims."""

    def __init__(self, stream: BinaryIO, size: int):
        self._stream, self._size = stream, size

    def read(self, count: int = -1) -> bytes:
        """As a file does."""
        left = max(self._size - self._stream.tell(), 0)
        return self._stream.read(left if count < 0 else min(count, left))

    def readline(self, size: int | None = -1) -> bytes:
        """As a file does, for lines that a pickle's name could have."""
        return self._stream.readline(10_000)

    def tell(self) -> int:
        """As a file does."""
        return self._stream.tell()


def read_pickle(
    stream: Bounded | io.BytesIO, path: Path, call: Call, persistent: Callable[[Any], Any]
) -> Any:
    """What the pickle that starts here describes, up to its end.

    Raises ``UnsafeFileError`` for a name that it should not need, and what parsers raise at damage.
    """
    return _Machine(path, call, persistent).run(stream)


def refusal(path: Path, wanted: str) -> UnsafeFileError:
    """The error for a pickle that would run code."""
    return UnsafeFileError(
        f"{path} is a pickle that asks to run {wanted[:200]}; it is refused. "
        "Save its tensors instead: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
    )


class _Machine:
    """The stack machine. Values on the stack are plain, ``Global``, ``Opaque``, or what ``call`` returned."""

    def __init__(self, path: Path, call: Call, persistent: Callable[[Any], Any]):
        self.path, self.call, self.persistent = path, call, persistent
        self.stack: list[Any] = []
        self.memo: dict[Any, Any] = {}

    def run(self, stream: Bounded | io.BytesIO) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            handler = _HANDLERS.get(name)
            if handler is not None:
                handler(self, argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _PLAIN:
                self.stack.append(argument)
            elif name not in _NOTHING:
                raise ValueError(f"it has the pickle instruction {name}, which no checkpoint needs")
        raise EOFError("it ends too early")

    def marked(self) -> list[Any]:
        """What lies on the stack above the last mark."""
        items: list[Any] = []
        while (item := self.stack.pop()) is not _Mark:
            items.append(item)
        items.reverse()
        return items

    def named(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        inside = full.startswith("torch.") and self.call(full, ()) is not None
        if not (inside or full in _VALUES or module.split(".")[0] in _SETTINGS):
            raise refusal(self.path, full)
        self.stack.append(Global(full))

    def imported(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.named(module, name)

    def imported_from_stack(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise TypeError("it imports something that has no name")
        self.named(module, name)

    def reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.made(function, arguments))

    def reduce_with_keywords(self, _: Any) -> None:
        self.stack.pop()
        self.reduce(None)

    def reduce_marked(self, argument: Any) -> None:
        items = self.marked()
        if isinstance(argument, str):  # INST names what it calls
            self.imported(argument)
            items.insert(0, self.stack.pop())
        self.stack.append(self.made(items[0], tuple(items[1:])))

    def made(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Opaque):
            return function
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise TypeError("it calls something that cannot be called")
        if function.name in _DICTS:
            return _plain_dict(arguments)
        if function.name.startswith("torch."):
            return self.call(function.name, arguments)
        return Opaque(function.name)

    def get(self, key: Any) -> None:
        self.stack.append(self.memo[int(key)])

    def put(self, key: Any) -> None:
        self.memo[int(key)] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def push_mark(self, _: Any) -> None:
        self.stack.append(_Mark)

    def pop(self, _: Any) -> None:
        self.stack.pop()

    def pop_mark(self, _: Any) -> None:
        self.marked()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def build(self, _: Any) -> None:
        self.stack.pop()  # the state of a dict's or tensor's attributes

    def append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def extend(self, _: Any) -> None:
        self._extend(self.marked())

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        self._update(self.marked())

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update(_pairs(items[0::2], items[1::2]))

    def empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def empty_list(self, _: Any) -> None:
        self.stack.append([])

    def dict_of_marked(self, _: Any) -> None:
        items = self.marked()
        self.stack.append(_pairs(items[0::2], items[1::2]))

    def list_of_marked(self, _: Any) -> None:
        self.stack.append(self.marked())

    def tuple_of_marked(self, _: Any) -> None:
        self.stack.append(tuple(self.marked()))

    def tuple_of(self, count: int) -> None:
        items = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def opaque_of_marked(self, _: Any) -> None:
        self.marked()
        self.stack.append(Opaque("set"))

    def stored(self, _: Any) -> None:
        self.stack.append(self.persistent(self.stack.pop()))


def _pairs(keys: list[Any], values: list[Any]) -> dict[Any, Any]:
    """A dict of the plain keys alone: hashing a tuple that is nested deep enough overflows the C stack."""
    return {key: value for key, value in zip(keys, values, strict=True) if isinstance(key, _KEYS)}


def _plain_dict(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """An ordered dict, made of nothing or of a list of pairs."""
    pairs = arguments[0] if arguments and isinstance(arguments[0], list | tuple) else []
    pairs = [pair for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2]
    return _pairs([key for key, _ in pairs], [value for _, value in pairs])


Handler = Callable[[_Machine, Any], None]
_HANDLERS: dict[str, Handler] = {
    "MARK": _Machine.push_mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.duplicate,
    "GLOBAL": _Machine.imported,
    "STACK_GLOBAL": _Machine.imported_from_stack,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.reduce_with_keywords,
    "INST": _Machine.reduce_marked,
    "OBJ": _Machine.reduce_marked,
    "BUILD": _Machine.build,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.pop_mark,
    "EMPTY_DICT": _Machine.empty_dict,
    "EMPTY_LIST": _Machine.empty_list,
    "DICT": _Machine.dict_of_marked,
    "LIST": _Machine.list_of_marked,
    "TUPLE": _Machine.tuple_of_marked,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "FROZENSET": _Machine.opaque_of_marked,
    "BINPERSID": _Machine.stored,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": _Machine.memoize,
}
_CONSTANTS: dict[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "EMPTY_SET": Opaque("set"),
}
_PLAIN = frozenset(
    [
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    ]
)
_NOTHING = frozenset(("PROTO", "FRAME"))
