from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from regraft.core.errors import SourceError, UnsafeFileError, UsageError
from regraft.core.preprocessing import ImagePreprocessing
from regraft.sources import Source, example_batch, find, load_native, read_weights
from regraft.sources.checkpoint import read_files


def build() -> nn.Module:
    """A network of the user's own."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch exploded",)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build().state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
    ],
    ids=["bare", "state_dict", "model+module", "module+_orig_mod"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrappers_are_stripped(tmp_path: Path, tensors: dict, wrap, zipped: bool) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "weights.pth"
    torch.save(wrap(tensors), path, _use_new_zipfile_serialization=zipped)
    read = read_files([path])
    assert list(read) == list(tensors)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_file_source(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(tensors, path)
    steps = ImagePreprocessing(size=(16, 16))
    source = find(f"file:{path}", builder=build, preprocessing=steps, head="4", classes=("cat", "dog"))
    trunk, batch = load_native(source), example_batch(source)
    native = build()
    native.load_state_dict(tensors)
    with torch.no_grad():
        assert torch.equal(trunk(batch), native[:4](batch["pixels"]))
    assert source.classes == ("cat", "dog")
    assert trunk.block_names == ("0", "1", "2", "3", "4", "pool")
    assert source.builder.to_json() == {"name": "user", "options": {"head": "4", "width": 4}}


def test_builder_by_name(tmp_path: Path, tensors: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_network.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    pool = nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    torch.save(tensors, "weights.pt")
    source = find("file:weights.pt", builder="my_own_network:build", size=16)
    assert source.parameters == 122
    for wrong, words in [
        ("nowhere:build", "no module 'nowhere'"),
        ("my_own_network:no", "no"),
        ("x", "is written"),
    ]:
        with pytest.raises(UsageError, match=words):
            find("file:weights.pt", builder=wrong, size=16)
    with pytest.raises(UsageError, match="say what builds it with builder='module:function'"):
        find("file:weights.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_wants_code_is_refused(
    tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.ones(2), "extra": Bomb()}, "bomb.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeFileError, match=r"asks to run (posix|os)\.system; it is refused"):
        read_files([Path("bomb.pth")])
    Path("plain.pkl").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UnsafeFileError, match=r"asks to run posix\.system"):
        read_files([Path("plain.pkl")])
    assert not Path("exploded").exists()


def test_damaged_files(tmp_path: Path, tensors: dict[str, torch.Tensor], lite0: Source) -> None:
    torch.save(tensors, tmp_path / "zip.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / "new.safetensors")
    for name in ("zip.pth", "old.pth", "new.safetensors"):
        whole = (tmp_path / name).read_bytes()
        for length in (0, 1, 20, len(whole) // 2, len(whole) - 9):
            (tmp_path / name).write_bytes(whole[:length])
            with pytest.raises(SourceError, match=r"is damaged"):
                read_files([tmp_path / name])
    (tmp_path / "text.pth").write_text("this is not a checkpoint")
    with pytest.raises(SourceError, match="is damaged or not a torch checkpoint"):
        read_files([tmp_path / "text.pth"])
    with pytest.raises(SourceError, match="there is no weight file"):
        read_files([tmp_path / "nowhere.pth"])


def test_files_that_hold_no_tensors(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(SourceError, match="holds a list, not named tensors"):
        read_files([tmp_path / "list.pth"])
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    with pytest.raises(SourceError, match="holds no tensors; it holds epoch"):
        read_files([tmp_path / "numbers.pth"])


def test_checkpoint_of_another_network(tmp_path: Path) -> None:
    torch.save({"encoder.kernel": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(SourceError, match=r"no name is shared.*holds encoder\.kernel"):
        find(f"file:{tmp_path / 'other.pth'}", builder=build, size=16)


def test_shard_outside_its_folder(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../elsewhere.safetensors"}}')
    with pytest.raises(UnsafeFileError, match="names a shard outside its own folder"):
        find(f"file:{index}", builder=build)


def test_scratch_source_has_no_weights() -> None:
    with pytest.raises(SourceError, match="was never pretrained"):
        read_weights(find("small:image"))
