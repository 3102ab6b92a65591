"""Every format gives the tensors that its own library wrote, one at a time, in memory of their own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from regraft.core.errors import MissingPackageError, SourceError
from regraft.sources import Checkpoint, find, open_checkpoint, open_tensors, open_weights, read_weights
from regraft.sources.checkpoint import keras_file, read_files

ONE_BYTE = (
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
)
DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint64,
        torch.uint32,
        torch.uint16,
        torch.uint8,
    ),
    *ONE_BYTE,
)


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    named = {str(dtype): torch.randint(0, 2, (3, 4)).to(dtype) for dtype in DTYPES}
    return {**named, "scalar": torch.tensor(2.5), "none": torch.zeros(0, 3), "vector": torch.randn(1000)}


def same(one: Tensor, other: Tensor) -> bool:
    """Equal type, shape and bytes."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    first, second = (side.contiguous().reshape(-1).view(torch.uint8) for side in (one, other))
    return torch.equal(first, second)


def check(checkpoint: Checkpoint, expected: dict[str, Tensor]) -> None:
    """The checkpoint holds just these tensors; what it tells without reading is true of what it reads."""
    assert set(checkpoint) == set(expected)
    assert len(checkpoint) == len(expected)
    for name, tensor in expected.items():
        read = checkpoint.read(name)
        assert same(read, tensor), name
        assert (checkpoint.shape(name), checkpoint.dtype(name)) == (tuple(read.shape), read.dtype)
        assert read.untyped_storage().nbytes() == read.numel() * read.itemsize
        assert read.is_contiguous()


def test_the_check_can_fail() -> None:
    with pytest.raises(AssertionError):
        check(open_tensors({"a": torch.ones(2)}), {"a": torch.tensor([1.0, 2.0])})
    assert not same(torch.ones(2), torch.ones(2).double())


def test_safetensors(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, tmp_path / "weights.safetensors", metadata={"format": "pt"})
    checkpoint = open_checkpoint(tmp_path / "weights.safetensors")
    check(checkpoint, load_file(tmp_path / "weights.safetensors"))
    assert checkpoint.layout == "torch"
    assert checkpoint.notes == ()
    renamed = tmp_path / "weights.bin"
    renamed.write_bytes((tmp_path / "weights.safetensors").read_bytes())
    check(open_checkpoint(renamed), tensors)  # what a file holds says more than its name


@pytest.mark.parametrize("zipped", [True, False])
def test_torch(tmp_path: Path, tensors: dict[str, Tensor], zipped: bool) -> None:
    base = torch.randn(6, 5)
    views = {
        "turned": base.t(),
        "row": base[2],
        "column": base[:, 1],
        "steps": base[::2, 1:4],
        "expanded": torch.ones(1, 3).expand(5, 3),
        "parameter": nn.Parameter(torch.ones(3)).detach(),
        "shared": tensors["vector"],
    }
    torch.save(nn.ParameterDict({"p": nn.Parameter(torch.ones(2))}).state_dict(), tmp_path / "dict.pt")
    check(open_checkpoint(tmp_path / "dict.pt"), {"p": torch.ones(2)})
    path = tmp_path / "weights.pt"
    torch.save({**tensors, **views}, path, _use_new_zipfile_serialization=zipped)
    check(open_checkpoint(path), {**tensors, **views})
    assert open_checkpoint(path).names() == (*tensors, *views)
    if not zipped:
        return  # torch writes one-byte floats into such a file and cannot read them back
    loaded = torch.load(path, weights_only=True)
    assert all(same(open_checkpoint(path).read(name), tensor) for name, tensor in loaded.items())


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards(tmp_path: Path, tensors: dict[str, Tensor], kind: str) -> None:
    names = [*tensors]
    shards = {f"model-{i}.{kind}": names[i::3] for i in range(3)}
    for shard, held in shards.items():
        part = {f"module.{name}": tensors[name] for name in held}
        save_file(part, tmp_path / shard) if kind == "safetensors" else torch.save(part, tmp_path / shard)
    held_in = {f"module.{name}": shard for shard, held in shards.items() for name in held}
    stem = "model" if kind == "safetensors" else "pytorch_model"
    index = tmp_path / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": held_in}))
    for path in (index, tmp_path):
        checkpoint = open_checkpoint(path)
        check(checkpoint, tensors)
        assert checkpoint.notes == ("stripped 'module.' from every name",)
    check(open_checkpoint([tmp_path / shard for shard in shards]), tensors)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpy(tmp_path: Path, save: object) -> None:
    arrays = {
        "params/Dense_0/kernel": np.random.default_rng(0).normal(size=(300, 400)).astype("f4"),
        "turned": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        "big-endian": np.arange(5, dtype=">i4"),
        "scalar": np.array(3.5),
        "none": np.zeros((0, 2)),
        "complex": np.array([1 + 2j], dtype=">c8"),
        "unsigned": np.arange(3, dtype="u2"),
        "mask": np.array([True, False]),
    }
    save(tmp_path / "weights.npz", **arrays, text=np.array(["x"]))  # type: ignore[operator]
    checkpoint = open_checkpoint(tmp_path)
    native = {name: torch.from_numpy(a.astype(a.dtype.newbyteorder("="))) for name, a in arrays.items()}
    check(checkpoint, native)
    assert checkpoint.layout == "numpy"
    assert checkpoint.notes == ("passed over text: text, no numbers",)
    assert checkpoint.names() == tuple(arrays)


def test_bfloat16_as_jax_saves_it(tmp_path: Path) -> None:
    expected = torch.tensor([1.0, -2.5, 3e38]).bfloat16()
    np.savez(tmp_path / "weights.npz", w=expected.view(torch.int16).numpy().view("V2"))
    check(open_checkpoint(tmp_path / "weights.npz"), {"w": expected})


def onnx_model() -> tuple[onnx.ModelProto, dict[str, Tensor]]:
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(30, 40)).astype("f4"), "i": np.arange(5), "h": np.ones(3, "f2")}
    initialisers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    initialisers += [
        helper.make_tensor("floats", TensorProto.FLOAT, [2], [0.5, -1.5]),
        helper.make_tensor("longs", TensorProto.INT64, [3], [1, -2, 1 << 40]),
        helper.make_tensor("bytes", TensorProto.INT8, [3], [1, -2, 3]),
        helper.make_tensor("halves", TensorProto.FLOAT16, [2], [1.0, -2.0]),
        helper.make_tensor("doubles", TensorProto.DOUBLE, [1, 1], [4.5]),
        helper.make_tensor("none", TensorProto.FLOAT, [0, 2], []),
    ]
    text = helper.make_tensor("text", TensorProto.STRING, [1], [b"x"])
    graph = helper.make_graph([], "graph", [], [], initializer=[*initialisers, text])
    expected = {told.name: torch.from_numpy(numpy_helper.to_array(told).copy()) for told in initialisers}
    return helper.make_model(graph), expected


def test_onnx(tmp_path: Path) -> None:
    model, expected = onnx_model()
    onnx.save(model, tmp_path / "model.onnx")
    checkpoint = open_checkpoint(tmp_path / "model.onnx")
    check(checkpoint, expected)
    assert (checkpoint.layout, checkpoint.notes) == ("onnx", ("passed over text (text)",))
    assert checkpoint.names() == tuple(expected)


def test_onnx_with_its_data_beside_it(tmp_path: Path) -> None:
    model, expected = onnx_model()
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0, location="w.data")
    assert (tmp_path / "w.data").stat().st_size > 4000
    check(open_checkpoint(tmp_path / "model.onnx"), expected)


def save_keras_3(path: Path) -> dict[str, np.ndarray]:
    """What ``model.save_weights`` of Keras 3 writes: variables by number below their layer's class."""
    rng = np.random.default_rng(0)
    layers = {
        "conv2d_10": ("last", [(3, 3, 2, 4), (4,)]),
        "conv2d_9": ("first", [(3, 3, 2, 4)]),
        "batch_normalization": ("bn", [(4,)] * 4),
        "dense": ("head", [(3, 4), (4,)]),
        "my_own_layer": ("own", [(4,)]),
    }
    expected = {}
    with h5py.File(path, "w") as file:
        for layer, (title, shapes) in layers.items():
            held = file.create_group(f"layers/{layer}").create_group("vars")
            held.attrs["name"] = title
            for number, shape in enumerate(shapes):
                expected[f"{layer}/{number}"] = held[str(number)] = rng.normal(size=shape).astype("f4")
        file.create_group("optimizer/vars")["0"] = np.array(3)
    return {name: np.asarray(h5py.File(path)[f"layers/{name.replace('/', '/vars/')}"]) for name in expected}


def test_keras_3(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    stored = save_keras_3(path)
    names = {
        "bn/gamma": "batch_normalization/0",
        "bn/beta": "batch_normalization/1",
        "bn/moving_mean": "batch_normalization/2",
        "bn/moving_variance": "batch_normalization/3",
        "first/kernel": "conv2d_9/0",
        "last/kernel": "conv2d_10/0",
        "last/bias": "conv2d_10/1",
        "head/kernel": "dense/0",
        "head/bias": "dense/1",
        "layers/my_own_layer/vars/0": "my_own_layer/0",
    }
    checkpoint = open_checkpoint(path)
    check(checkpoint, {name: torch.from_numpy(stored[held]) for name, held in names.items()})
    assert checkpoint.names() == tuple(names)
    assert checkpoint.layout == "keras"
    assert checkpoint.notes == ("passed over the optimiser's 1 tensors",)


def test_layers_of_one_name_keep_their_paths() -> None:
    entry = open_tensors({"a": torch.ones(1)}).entries()["a"]
    entries = dict.fromkeys(("layers/a/layers/dense/vars/0", "layers/b/layers/dense/vars/0"), entry)
    named, _ = keras_file.named(entries, {"passed": [], "order": [], "titles": {}})
    assert list(named) == ["layers/a/layers/dense/kernel", "layers/b/layers/dense/kernel"]


def test_keras_2(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.h5", "w") as file:
        model = file.create_group("model_weights")
        model.attrs["layer_names"] = [b"stem", b"act", b"head"]
        for layer, weights in (
            ("stem", ["stem/kernel:0", "stem/bias:0"]),
            ("act", []),
            ("head", ["head/w:0"]),
        ):
            group = model.create_group(layer)
            group.attrs["weight_names"] = [weight.encode() for weight in weights] or np.zeros(0)
            for number, weight in enumerate(weights):
                group[weight] = np.full((2, 2), float(number))
        file.create_group("optimizer_weights")["iterations"] = np.array(1)
    checkpoint = open_checkpoint(tmp_path / "model.h5")
    ones, zeros = torch.ones(2, 2).double(), torch.zeros(2, 2).double()
    check(checkpoint, {"stem/kernel": zeros, "stem/bias": ones, "head/w": zeros})
    assert checkpoint.names() == ("stem/kernel", "stem/bias", "head/w")
    assert checkpoint.notes == ("passed over 1 tensors that belong to no layer",)


def test_hdf5_in_chunks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"plain": rng.normal(size=(50, 30)), "half": np.arange(3, dtype=">f2"), "mask": np.array([True])}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["half"], file["mask"] = arrays["half"], arrays["mask"]
        options = {"chunks": (20, 7), "compression": "gzip", "shuffle": True, "fletcher32": True}
        file.create_dataset("plain", data=arrays["plain"], **options)
        file.create_dataset("text", data="hello")
    checkpoint = open_checkpoint(tmp_path / "w.h5")
    check(checkpoint, {n: torch.from_numpy(a.astype(a.dtype.newbyteorder("="))) for n, a in arrays.items()})
    assert checkpoint.notes == ("passed over text: no numbers",)


def test_hdf5_needs_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_keras_3(tmp_path / "model.weights.h5")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'regraft\[keras\]'"):
        open_checkpoint(tmp_path / "model.weights.h5")


def test_tensors_in_memory() -> None:
    state = {
        "a": torch.randn(3, 4).t(),
        "b": torch.ones(2, requires_grad=True),
        "c": torch.ones(1, 3).expand(2, 3),
    }
    checkpoint = open_tensors(state)
    check(checkpoint, {name: tensor.detach() for name, tensor in state.items()})
    checkpoint.read("a").zero_()
    assert state["a"].abs().sum() > 0
    for odd, word in (
        (torch.ones(2, device="meta"), "meta"),
        (torch.ones(2, 2).to_sparse(), "sparse"),
    ):
        with pytest.raises(SourceError, match=f"x is a {word} tensor"):
            open_tensors({"x": odd})


def test_weights_of_a_source(lite0) -> None:  # type: ignore[no-untyped-def]
    check(open_weights(lite0), read_weights(lite0))
    module = nn.Linear(2, 2)
    with pytest.raises(SourceError, match="was never pretrained"):
        open_weights(find("small:image"))
    check(open_tensors(module.state_dict()), module.state_dict())


def test_names_that_are_not_there(tmp_path: Path) -> None:
    save_file({"stem.weight": torch.ones(2)}, tmp_path / "w.safetensors")
    checkpoint = open_checkpoint(tmp_path / "w.safetensors")
    assert "stem.weight" in checkpoint
    assert "nothing" not in checkpoint
    with pytest.raises(SourceError, match=r"no tensor 'stem\.weigth'; near it: stem\.weight"):
        checkpoint.read("stem.weigth")
    assert repr(checkpoint).endswith("w.safetensors, 1 tensors, torch)")


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    state = {
        "sound": torch.ones(3),
        "nan": torch.tensor([1.0, float("nan")]),
        "inf": torch.tensor([float("-inf")]).half(),
        "byte": torch.tensor([float("nan")]).to(torch.float8_e4m3fn),
        "whole": torch.tensor([1, 2]),
        "complex": torch.tensor([complex(1, float("inf"))]),
    }
    save_file(state, tmp_path / "w.safetensors")
    checkpoint = open_checkpoint(tmp_path / "w.safetensors")
    assert {name for name in checkpoint if checkpoint.not_finite(name)} == {"nan", "inf", "byte", "complex"}
    assert checkpoint.read("nan").isnan().any()


def test_nothing_stays_mapped_or_open(tmp_path: Path) -> None:
    """Reading needs the tensor's own memory and little else; the process is a new one, for a clean peak."""
    save_file({f"t{i}": torch.ones(4_000_000) for i in range(8)}, tmp_path / "w.safetensors")
    code = (
        "import resource, sys, torch\n"
        "from regraft.sources import open_checkpoint\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "checkpoint = open_checkpoint(sys.argv[1]); checkpoint.not_finite('t0'); before = peak()\n"
        "for name in checkpoint: checkpoint.read(name)\n"
        "print(peak() - before, sum('w.safetensors' in line for line in open('/proc/self/maps')))\n"
    )
    if not Path("/proc/self/maps").exists() or resource.getpagesize() != 4096:
        pytest.skip("needs Linux's /proc")
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "w.safetensors"], capture_output=True, text=True, check=True
    )
    risen, mapped = map(int, done.stdout.split())
    assert mapped == 0
    assert risen < 20_000  # kilobytes; all eight would be 128,000


def test_reading_all_at_once(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save({"state_dict": tensors}, tmp_path / "w.pt")
    read = read_files([tmp_path / "w.pt"])
    assert list(read) == list(tensors)
    assert all(same(read[name], tensor) for name, tensor in tensors.items())
