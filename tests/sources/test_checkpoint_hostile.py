"""Files that are no checkpoint, are damaged, or are made to do harm: each is refused with a sentence."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

from regraft.core.errors import SourceError, UnsafeFileError
from regraft.sources import open_checkpoint
from regraft.sources.checkpoint import hdf5_file, limits


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch exploded",)


@pytest.fixture(autouse=True)
def nothing_explodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("exploded").exists()


def header(told: Any, *, length: int | None = None, data: bytes = b"") -> bytes:
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def f32(*shape: Any, start: int = 0, end: int = 0, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


SAFETENSORS = {
    "header longer than the file": (header({}, length=10**6), "its header would have 1,000,000 bytes"),
    "enormous header": (header({}, length=2**63), "its header would have 9,223,372,036,854,775,808 bytes"),
    "not an object": (header(b"[{}]"), "its header is not a JSON object"),
    "not JSON": (header(b"{'a': 1}"), "is damaged or not a safetensors file"),
    "not UTF-8": (header(b'{"\xff": 1}'), "is damaged or not a safetensors file: 'utf-8' codec"),
    "nested": (header(b'{"a": ' + b"[" * 100_000), "maximum recursion depth exceeded"),
    "twice": (
        header(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'),
        "the name 'a' stands there twice",
    ),
    "overlap": (header({"a": f32(2, end=8), "b": f32(2, start=4, end=12)}, data=bytes(12)), "overlaps 'a'"),
    "gap": (header({"a": f32(1, end=4), "b": f32(1, start=8, end=12)}, data=bytes(12)), "leaves a gap"),
    "too short": (header({"a": f32(2, end=8)}, data=bytes(4)), "it ends too early: its tensors take 8 bytes"),
    "too long": (header({"a": f32(1, end=4)}, data=bytes(8)), "goes on after its last tensor"),
    "negative length": (header({"a": f32(-1, end=4)}, data=bytes(4)), "a negative length in its shape: -1"),
    "enormous": (header({"a": f32(2**62, 2**62, end=4)}, data=bytes(4)), "a shape that no memory can hold"),
    "no elements, enormous": (header({"a": f32(0, 2**62)}), "a shape that no memory can hold"),
    "many dimensions": (header({"a": f32(*[1] * 100, end=4)}, data=bytes(4)), "has 100 dimensions"),
    "fractions": (header({"a": f32(1.5, end=4)}, data=bytes(4)), "has no shape of whole numbers"),
    "strange type": (header({"a": f32(1, end=4, dtype="F99")}, data=bytes(4)), "has the dtype 'F99'; those"),
    "type of no kind": (header({"a": f32(1, end=4, dtype=["F32"])}, data=bytes(4)), "has the dtype"),
    "size of another shape": (header({"a": f32(3, end=4)}, data=bytes(4)), "and 4 bytes; it should have 12"),
    "no offsets": (header({"a": {"dtype": "F32", "shape": [1]}}), "tensor 'a' has no data_offsets"),
    "turned offsets": (header({"a": f32(1, start=4)}, data=bytes(4)), r"has the data_offsets \[4, 0\]"),
    "long name": (header({"n" * 3000: f32(1, end=4)}, data=bytes(4)), "whose name has 3,000 characters"),
    "no tensors": (header({"__metadata__": {}}), "holds no tensors"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(case: str) -> None:
    data, words = SAFETENSORS[case]
    Path("w.safetensors").write_bytes(data)
    with pytest.raises(SourceError, match=words):
        open_checkpoint(Path("w.safetensors"))


def test_long_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regraft.sources.checkpoint.safetensors_file.MAX_HEADER", 10)
    Path("w.safetensors").write_bytes(header({"a": f32(1, end=4)}, data=bytes(4)))
    with pytest.raises(SourceError, match="its header has 61 bytes; at most 10 are read"):
        open_checkpoint("w.safetensors")


def test_too_many_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("safetensors_file", "checkpoint", "wrappers"):
        monkeypatch.setattr(f"regraft.sources.checkpoint.{module}.MAX_TENSORS", 3)
    state = {f"t{i}": torch.ones(1) for i in range(9)}
    save_file(state, "w.safetensors")
    torch.save(state, "w.pt")
    with pytest.raises(SourceError, match="holds 9 tensors; at most 3 are read"):
        open_checkpoint("w.safetensors")
    with pytest.raises(SourceError, match="nests its dicts without end"):
        open_checkpoint("w.pt")
    assert limits.MAX_TENSORS == 1_000_000


NO_CHECKPOINTS = {
    "empty": (b"", "it is empty"),
    "text": (b"this is a sentence and nothing else\n", "it is text that starts with 'this is"),
    "page": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is a web page"),
    "another page": (b"\n  <html lang='en'>...", "is a web page"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n",
        "is a Git LFS pointer: the weights were not downloaded",
    ),
    "noise": (bytes(range(128, 256)) * 8, "is damaged or not"),
}


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "bin", "npz", "onnx", "h5"])
@pytest.mark.parametrize("case", NO_CHECKPOINTS)
def test_no_checkpoint(case: str, suffix: str) -> None:
    data, words = NO_CHECKPOINTS[case]
    path = Path(f"model.{suffix}")
    path.write_bytes(data)
    with pytest.raises(SourceError, match=words):
        open_checkpoint(path)


def test_no_file() -> None:
    Path("folder.pt").mkdir()
    with pytest.raises(SourceError, match=r"folder\.pt is a folder without weights; expected one of model"):
        open_checkpoint("folder.pt")
    with pytest.raises(SourceError, match="is a folder; name the weight file in it"):
        open_checkpoint([Path("folder.pt"), Path("folder.pt")])
    for name in ("a.pt", "b.npz"):
        Path("folder.pt", name).write_bytes(b"x")
    with pytest.raises(SourceError, match=r"several weight files; name one of them: a\.pt, b\.npz"):
        open_checkpoint("folder.pt")
    with pytest.raises(SourceError, match=r"there is no weight file nowhere\.pt"):
        open_checkpoint("nowhere.pt")
    os.mkfifo("pipe.pt")
    with pytest.raises(SourceError, match=r"there is no weight file pipe\.pt"):
        open_checkpoint("pipe.pt")
    for long in ("n" * 5000, "n\0"):
        with pytest.raises(SourceError, match="there is no weight file n"):
            open_checkpoint(long)
    with pytest.raises(SourceError, match="no file was named"):
        open_checkpoint([])


def test_a_file_that_changes_meanwhile() -> None:
    save_file({"a": torch.ones(100)}, "w.safetensors")
    checkpoint = open_checkpoint("w.safetensors")
    os.truncate("w.safetensors", 300)
    with pytest.raises(SourceError, match="ends too early"):
        checkpoint.read("a")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_that_want_code(protocol: int) -> None:
    Path("w.pkl").write_bytes(pickle.dumps({"a": Bomb()}, protocol=protocol))
    words = r"asks to run (posix|os)\.system; it is refused"
    with pytest.raises(SourceError, match=words if protocol > 1 else "damaged|asks to run"):
        open_checkpoint("w.pkl")
    if protocol < 2:
        return
    for zipped in (True, False):
        content = {"model": {"w": torch.ones(2)}, "extra": Bomb()}
        torch.save(content, "w.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UnsafeFileError, match=words):
            open_checkpoint("w.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_modules_are_refused(zipped: bool) -> None:
    torch.save(nn.Linear(2, 2), "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError, match=r"asks to run torch\.nn\.modules\.linear\.Linear"):
        open_checkpoint("w.pt")


def with_pickle(program: bytes) -> Path:
    """A torch file whose pickle is this program; it has one storage of four floats."""
    with zipfile.ZipFile("w.pt", "w") as archive:
        archive.writestr("w/data.pkl", program)
        archive.writestr("w/data/0", np.ones(4, "f4").tobytes())
    return Path("w.pt")


def tensor_program(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], count: int = 4) -> bytes:
    def number(value: int) -> bytes:
        data = value.to_bytes(9, "little", signed=True)
        return b"\x8a\x09" + data

    numbers = [b"(" + b"".join(map(number, values)) + b"t" for values in (shape, strides)]
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + number(count) + b"tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + b"".join(numbers) + b"\x89NtR"
    return b"\x80\x02}X\x01\0\0\0w" + call + b"s."


def test_tensors_that_reach_too_far() -> None:
    assert open_checkpoint(with_pickle(tensor_program(0, (2, 2), (2, 1)))).read("w").tolist() == [
        [1, 1],
        [1, 1],
    ]
    for offset, shape, strides, count in (
        (0, (5,), (1,), 4),
        (0, (5,), (1,), 2**40),
        (1, (4,), (1,), 4),
        (2**50, (1,), (1,), 2**60),
        (0, (2, 2), (2, 2**40), 4),
    ):
        with pytest.raises(SourceError, match="reaches beyond its storage: 16 bytes are there"):
            open_checkpoint(with_pickle(tensor_program(offset, shape, strides, count)))
    for shape, strides, words in (
        ((2**40, 2**40), (0, 0), "a shape that no memory can hold"),
        ((-1,), (1,), "a negative length in its shape"),
        ((10_000, 10_000), (0, 0), "claims tensors of 400,000,000 bytes in all"),
        ((2, 2), (-1, 1), "describes a tensor in a way that torch does not"),
        ((2, 2), (1,), "describes a tensor in a way that torch does not"),
    ):
        with pytest.raises(SourceError, match=words):
            open_checkpoint(with_pickle(tensor_program(0, shape, strides)))


def test_names_that_are_no_text() -> None:
    torch.save({"a\ud800": torch.ones(1)}, "w.pt")
    with pytest.raises(SourceError, match=r"whose name is no valid text: 'a\\ud800'"):
        open_checkpoint("w.pt")
    torch.save({"größe": torch.ones(1)}, "w.pt")
    assert open_checkpoint("w.pt").names() == ("größe",)


def test_pickles_that_go_wrong() -> None:
    laughs = b"\x80\x02}q\0X\x01\0\0\0wK\x01s0" + b"".join(
        b"}q%c(X\x01\0\0\0ah%cX\x01\0\0\0bh%cu0" % (i, i - 1, i - 1) for i in range(1, 100)
    )
    for program, words in (
        (b"\x80\x02.", "IndexError|pop from empty list"),
        (b"\x80\x02(((", "pickle exhausted|ends too early"),
        (b"\x80\x02]\x94h\x05.", "damaged"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "expected 2147483647 bytes"),
        (b"\x80\x02\x8b\xff\xff\xff\x7fabc.", "damaged"),
        (b"\x80\x02K\x01K\x02R.", "calls something that cannot be called"),
        (b"\x80\x02K\x01Q.", "refers to something that is no storage"),
        (b"\x80\x02P0\n.", "instruction PERSID, which no checkpoint needs"),
        (b"\x80\x02\x82\x01.", "instruction EXT1, which no checkpoint needs"),
        (b"\x80\x02}(" + b"(" * 50_000 + b"t" * 50_000 + b"K\x01u.", "holds no tensors"),
        (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", "holds a list"),
        (b"\x80\x02}q\0X\x01\0\0\0ah\0s.", "holds no tensors|nests its dicts without end"),
        (laughs + b"hc.", "nests its dicts without end"),
    ):
        with pytest.raises(SourceError, match=words):
            open_checkpoint(with_pickle(program))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_without_plain_values(zipped: bool) -> None:
    odd = {
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.ones(2, device="meta"),
        "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    }
    for kind, tensor in odd.items():
        torch.save({"a": torch.ones(1), "odd": tensor}, "w.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(SourceError, match=rf"tensor 'odd' of w\.pt is a {kind} tensor"):
            open_checkpoint("w.pt")
        torch.save({"model": {"a": torch.ones(1)}, "more": tensor}, "w.pt")
        assert open_checkpoint("w.pt").names() == ("a",)


def rezip(path: str, change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        held = [(item, archive.read(item)) for item in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for item, data in held:
            change(archive, item, data)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_archives_made_to_deceive() -> None:
    torch.save({"a": torch.zeros(100)}, "w.pt")
    rezip("w.pt", lambda archive, item, data: archive.writestr(item.filename, data, zipfile.ZIP_DEFLATED))
    with pytest.raises(SourceError, match="is a compressed torch file"):
        open_checkpoint("w.pt")
    torch.save({"a": torch.zeros(100)}, "w.pt")
    rezip(
        "w.pt",
        lambda archive, item, data: archive.writestr(
            item.filename, b"big" if "byteo" in item.filename else data
        ),
    )
    with pytest.raises(SourceError, match="big-endian machine"):
        open_checkpoint("w.pt")
    with zipfile.ZipFile("w.pt", "w") as archive:
        archive.writestr("w/data.pkl", b"x")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("w/data.pkl", b"y")
    with pytest.raises(UnsafeFileError, match="two members of one name"):
        open_checkpoint("w.pt")
    with zipfile.ZipFile("w.pt", "w") as archive:
        archive.writestr("hello.txt", b"x")
    with pytest.raises(SourceError, match=r"0 members called data\.pkl"):
        open_checkpoint("w.pt")
    with zipfile.ZipFile("w.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"x")
    with pytest.raises(SourceError, match=r"is a Keras archive; unzip it and name the model\.weights\.h5"):
        open_checkpoint("w.keras")
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), "w.pt")
    with pytest.raises(SourceError, match="is a TorchScript archive, a program"):
        open_checkpoint("w.pt")


def test_zip_bombs() -> None:
    with zipfile.ZipFile("w.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array(member, np.zeros(20_000_000))
    assert Path("w.npz").stat().st_size < 200_000
    with pytest.raises(UnsafeFileError, match=r"is a zip bomb: .* bytes that unpack to 160,000,128"):
        open_checkpoint("w.npz")
    data = bytearray(Path("w.npz").read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 1000)  # it says that it is small
    Path("w.npz").write_bytes(data)
    with pytest.raises(SourceError, match="has 872 bytes and should have 160,000,000"):
        open_checkpoint("w.npz")


def test_members_that_lie_over_each_other() -> None:
    np.savez("w.npz", a=np.ones(100), b=np.ones(100))
    data = bytearray(Path("w.npz").read_bytes())
    first, second = (i for i in range(len(data)) if data[i : i + 4] == b"PK\x01\x02")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    Path("w.npz").write_bytes(data)
    with pytest.raises(UnsafeFileError, match=r"member '.\.npy' lies over the next"):
        open_checkpoint("w.npz")


def test_numpy_arrays() -> None:
    with zipfile.ZipFile("w.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': __bad}")
    with pytest.raises(SourceError, match=r"the header of 'a\.npy' is not NumPy's"):
        open_checkpoint("w.npz")
    for array, words in (
        (np.array([Bomb()], dtype=object), "array 'a' holds Python objects, a pickle that may run code"),
        (np.zeros(2, dtype=[("x", "f4"), ("y", "i4")]), "array 'a' has several fields"),
        (np.zeros(2, dtype="f16"), "has the type '<f16', which torch does not know"),
    ):
        np.savez("w.npz", a=array)
        with pytest.raises(SourceError, match=words):
            open_checkpoint("w.npz")
    np.savez("w.npz", a=np.arange(1000.0))
    data = bytearray(Path("w.npz").read_bytes())
    data[2000] ^= 1
    Path("w.npz").write_bytes(data)
    with pytest.raises(SourceError, match="does not have the checksum"):
        open_checkpoint("w.npz").read("a")


def write_index(names: Any, name: str = "model.safetensors.index.json") -> Path:
    Path(name).write_text(names if isinstance(names, str) else json.dumps({"weight_map": names}))
    return Path(name)


def test_indices() -> None:
    save_file({"a": torch.ones(1)}, "a.safetensors")
    Path("elsewhere").mkdir()
    save_file({"b": torch.ones(1)}, "elsewhere/b.safetensors")
    Path("link.safetensors").symlink_to("elsewhere/b.safetensors")
    loop = Path("loop.safetensors")
    loop.symlink_to(loop)
    for names, words in (
        ({"a": "model.safetensors.index.json"}, "names an index as its shard, model.safetensors.index.json"),
        ({"a": "other.index.json"}, "names an index as its shard"),
        ({"a": "gone.safetensors"}, "names shards that are not there: gone.safetensors"),
        ({"a": "loop.safetensors"}, "names shards that are not there|leads nowhere"),
        ({"a": "a.safetensors", "b": "a.safetensors"}, "'b' is not in a.safetensors"),
        ({"a": "x" * 5000}, "names shards that are not there: x|leads nowhere"),
        ({"a": 3}, "names something that is no file"),
        ({}, "has no weight_map"),
        ("[]", "has no weight_map"),
        ("{", "is no valid JSON"),
        ("[" * 100_000, "is damaged or not the index"),
        ('{"weight_map": {"a": "x", "a": "y"}}', "the name 'a' stands there twice"),
    ):
        with pytest.raises(SourceError, match=words):
            open_checkpoint(write_index(names))
    for shard in (
        "../a.safetensors",
        "elsewhere/b.safetensors",
        "link.safetensors",
        "/etc/passwd",
        "a\0",
        "..",
    ):
        with pytest.raises(
            UnsafeFileError, match=r"names a shard (outside its own folder|that leads nowhere)"
        ):
            open_checkpoint(write_index({"a": shard}))
    data = Path("a.safetensors").read_bytes()
    Path("a.safetensors").write_bytes(data[:-2])
    with pytest.raises(SourceError, match=r"a\.safetensors is damaged: it ends too early"):
        open_checkpoint(write_index({"a": "a.safetensors"}))


def onnx_file(**changes: Any) -> Path:
    told = helper.make_tensor("w", TensorProto.FLOAT, [2], np.ones(2, "f4").tobytes(), raw=True)
    for name, value in changes.items():
        if name == "external":
            told.ClearField("raw_data")
            told.data_location = TensorProto.EXTERNAL
            for key, text in value.items():
                told.external_data.add(key=key, value=text)
        elif name == "dims":
            del told.dims[:]
            told.dims.extend(value)
        else:
            setattr(told, name, value)
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], initializer=[told])), "w.onnx")
    return Path("w.onnx")


def test_onnx() -> None:
    Path("inside").mkdir()
    Path("short.data").write_bytes(bytes(4))
    os.mkfifo("pipe")
    for changes, words in (
        ({"external": {"location": "gone.data"}}, "keeps its tensors in 'gone.data', which is not there"),
        ({"external": {"location": "pipe"}}, "which is not there"),
        ({"external": {"location": "short.data"}}, "should have 8 bytes from 0 on in 'short.data'"),
        ({"external": {"location": "short.data", "offset": "-4"}}, "should have 8 bytes from -4"),
        ({"external": {"location": "short.data", "length": "x"}}, "invalid literal"),
        ({"raw_data": b"123"}, "has 3 bytes and should have 8"),
        ({"data_type": 99}, "has the type number 99"),
        ({"dims": [-1]}, "a negative length"),
        ({"dims": [2**60, 2**60]}, "a shape that no memory can hold"),
        ({"name": "n" * 9000}, "takes 9,000 bytes"),
    ):
        with pytest.raises(SourceError, match=words):
            open_checkpoint(onnx_file(**changes))
    for place in ("../w.data", "/etc/passwd", "inside/w.data", "", ".."):
        with pytest.raises(UnsafeFileError, match="names external data outside its own folder"):
            open_checkpoint(onnx_file(external={"location": place}))
    whole = onnx_file().read_bytes()
    Path("w.onnx").write_bytes(whole[:-3])
    with pytest.raises(SourceError, match="ends too early"):
        open_checkpoint("w.onnx")


def test_hdf5() -> None:
    def links(file: h5py.File) -> None:
        file["away"] = h5py.ExternalLink("other.h5", "/a")

    def soft(file: h5py.File) -> None:
        file["soft"] = h5py.SoftLink("/soft")

    def cycle(file: h5py.File) -> None:
        file.create_group("a/b")
        file["a/b/c"] = file["a"]

    def outside(file: h5py.File) -> None:
        file.create_dataset("d", (4,), "f4", external=[("/etc/passwd", 0, 16)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "d", (4,))
        file.create_virtual_dataset("d", layout)

    def claimed(file: h5py.File) -> None:
        file.create_dataset("d", (2**40,), "f4")

    def sparse(file: h5py.File) -> None:
        file.create_dataset("d", (2**40,), "f4", chunks=(1024,))

    def bomb(file: h5py.File) -> None:
        file.create_dataset("d", data=np.zeros(20_000_000), chunks=(2_000_000,), compression=9)

    def packed(file: h5py.File) -> None:
        file.create_dataset("d", data=np.ones(9000), compression="lzf")

    def fields(file: h5py.File) -> None:
        file["d"] = np.zeros(2, dtype=[("x", "f4"), ("y", "i4")])

    for make, unsafe, words in (
        (links, True, "'away' is a link into another file, 'other.h5'"),
        (soft, False, "'soft' is a soft link, to '/soft'"),
        (cycle, False, "group 'a/b/c' stands in two places or holds itself"),
        (outside, True, "dataset 'd' keeps its values in other files"),
        (virtual, True, "dataset 'd' keeps its values in other files"),
        (claimed, False, "dataset 'd' was made and never filled"),
        (sparse, False, "has 0 of its 1,073,741,824 chunks"),
        (bomb, True, "is a bomb"),
        (packed, False, "is compressed with HDF5 filter 32000"),
        (fields, False, "dataset 'd' has several fields"),
    ):
        with h5py.File("w.h5", "w") as file:
            make(file)
        with pytest.raises(UnsafeFileError if unsafe else SourceError, match=words):
            open_checkpoint("w.h5")


def test_the_hdf5_library_may_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with h5py.File("w.h5", "w") as file:
        file["d"] = np.ones(2)
    crashing = tmp_path / "crashing.py"
    crashing.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(hdf5_file.hdf5_listing, "__file__", str(crashing))
    with pytest.raises(SourceError, match=r"the HDF5 library crashed over it \(status -11\)"):
        open_checkpoint("w.h5")
    crashing.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(hdf5_file, "_PATIENCE", 0.5)
    with pytest.raises(SourceError, match="did not come to an end with it"):
        open_checkpoint("w.h5")
