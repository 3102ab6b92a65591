"""What torch puts into its pickles: storages, and the ways in which tensors are put together from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from regraft.sources.checkpoint.pickle_reader import Global, Opaque

_STORAGES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
    # Quantised tensors are refused, but what they lie in takes its place in the file.
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
    "QUInt4x2Storage": torch.uint8,
    "QUInt2x4Storage": torch.uint8,
}
_DTYPES = {
    f"torch.{name}": getattr(torch, name)
    for name in [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "bool",
        "complex32",
        "complex64",
        "complex128",
    ]
}
_ODD = {
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse",
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_wrapper_subclass": "wrapped",
    "torch._utils._rebuild_device_tensor_from_numpy": "foreign",
}
# What is only handed on, as a description of a tensor or of something beside it.
_DESCRIBING = [
    "torch.Size",
    "torch.device",
    "torch.strided",
    "torch.sparse_coo",
    "torch.serialization._get_layout",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.nn.Parameter",
    "torch.nn.parameter.Buffer",
    "torch.per_tensor_affine",
    "torch.per_channel_affine",
    "torch.per_tensor_symmetric",
    "torch.per_channel_symmetric",
    "torch.per_channel_affine_float_qparams",
    "torch.qint8",
    "torch.quint8",
    "torch.qint32",
    "torch.quint4x2",
    "torch.quint2x4",
]


@dataclass(frozen=True, slots=True)
class Storage:
    """A stretch of elements of one type, which lies in the file under a key.

    ``start`` is where it begins in the storage of that key, in elements; views in old files have one.
    """

    key: str
    dtype: torch.dtype
    count: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class TensorRecipe:
    """A tensor before it is read: a storage and where in it the elements lie, counted in elements."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OddTensor:
    """A tensor without plain values, and what it is instead: ``sparse``, ``quantised``, ``meta``, .."""

    kind: str


def is_tensor(value: Any) -> bool:
    """Whether the pickle describes a tensor here."""
    return isinstance(value, TensorRecipe | OddTensor)


def call(name: str, arguments: tuple[Any, ...]) -> Any:
    """What torch would make of a call; without arguments, whether it knows the name (else None)."""
    maker = _MAKERS.get(name)
    if maker is not None:
        return maker(*arguments) if arguments else True
    if name in _ODD:
        return OddTensor(_ODD[name])
    if name == "torch.Size":
        return tuple(arguments[0]) if arguments else ()
    known = name in _DESCRIBING or name in _DTYPES or storage_dtype(name) is not None
    return Opaque(name) if known else None


def storage_dtype(name: str) -> torch.dtype | None:
    """The type of elements in a storage class of this name."""
    module, _, last = name.rpartition(".")
    return _STORAGES.get(last) if module in ("torch", "torch.cuda", "torch.storage") else None


def storage(saved: Any, *, viewed: bool) -> Storage:
    """The storage that a persistent id names; ``viewed`` for old files, where storages may be views."""
    if not isinstance(saved, tuple) or len(saved) != 5 + viewed or saved[0] not in ("storage", b"storage"):
        raise ValueError("it refers to something that is no storage")
    _, kind, key, _, count, *rest = saved
    dtype = storage_dtype(kind.name) if isinstance(kind, Global) else None
    if dtype is None or not isinstance(key, str | int) or not _is_count(count):
        raise TypeError("it describes a storage in a way that torch does not")
    view = rest[0] if rest else None
    if view is None:
        return Storage(str(key), dtype, count)
    if not isinstance(view, tuple) or len(view) != 3 or not all(map(_is_count, view[1:])):
        raise TypeError("it describes a view of a storage in a way that torch does not")
    if view[1] + view[2] > count:
        raise ValueError("it has a view that reaches beyond its storage")
    return Storage(str(key), dtype, view[2], view[1])


def _tensor(held: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Any:
    """``_rebuild_tensor`` and ``_rebuild_tensor_v2``; then come gradients, hooks and metadata."""
    if not isinstance(held, Storage):
        raise TypeError("it makes a tensor of something that is no storage")
    if len(rest) > 2 and rest[2]:
        return OddTensor("lazily conjugated")
    return _recipe(held, held.dtype, offset, shape, strides)


def _tensor_of_bytes(
    held: Any, offset: Any, shape: Any, strides: Any, _gradient: Any, _hooks: Any, dtype: Any, *_: Any
) -> Any:
    """``_rebuild_tensor_v3``, for types that have no storage class of their own."""
    named = _DTYPES.get(dtype.name) if isinstance(dtype, Global) else None
    if not isinstance(held, Storage) or named is None or held.start:
        raise TypeError("it makes a tensor of something that is no storage")
    return _recipe(held, named, offset, shape, strides)


def _recipe(held: Storage, dtype: torch.dtype, offset: Any, shape: Any, strides: Any) -> TensorRecipe:
    plain = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    if not plain or not _is_count(offset) or not all(map(_is_count, strides)):
        raise TypeError("it describes a tensor in a way that torch does not")
    return TensorRecipe(held, dtype, offset, shape, strides)


def _first(value: Any, *_: Any) -> Any:
    """A parameter is its tensor."""
    return value


def _of_type(function: Any, _type: Any, arguments: Any, *_: Any) -> Any:
    """``_rebuild_from_type_v2``: a tensor with attributes, whatever its class."""
    if not isinstance(function, Global) or not isinstance(arguments, tuple) or function.name not in _INNER:
        return OddTensor("subclassed")
    return call(function.name, arguments)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


_INNER = (
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
)
_MAKERS: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _of_type,
}
