"""Opening a checkpoint: its format by what the file begins with, then by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from regraft.core.errors import SourceError
from regraft.sources.checkpoint.checkpoint import Checkpoint, Entry, Layout
from regraft.sources.checkpoint.formats import Kind, kind_of
from regraft.sources.checkpoint.limits import is_file, is_folder
from regraft.sources.checkpoint.sharded import read_index
from regraft.sources.checkpoint.wrappers import strip

USUAL = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors",
    "open_clip_model.safetensors",
    "adapter_model.safetensors",
    "model.weights.h5",
    "weights.npz",
    "model.onnx",
)
"""What weights are called in a folder, in the order in which they are looked for."""
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".onnx", ".h5", ".hdf5")
_LAYOUTS: dict[Kind, Layout] = {"numpy": "numpy", "onnx": "onnx", "keras": "keras"}


def open_checkpoint(path: Path | str | Sequence[Path], *, prefer: str | None = None) -> Checkpoint:
    """The checkpoint in a file, in a folder, or in several files that belong together; nothing is read yet.

    Read are safetensors, torch files, indices of either in shards, NumPy archives, ONNX and Keras HDF5. What
    a training checkpoint wraps around its tensors is stripped and said in the notes; ``prefer`` names the
    container to take, as in ``"model"`` beside ``"model_ema"``.

    Raises ``SourceError`` for what is no checkpoint or is damaged, ``UnsafeFileError`` for what could run
    code or reaches for other files, ``MissingPackageError`` where the format needs a package.
    """
    paths = [Path(path)] if isinstance(path, Path | str) else [Path(part) for part in path]
    if not paths:
        raise SourceError("no file was named; hand over a checkpoint's path")
    place = _in_folder(paths[0]) if len(paths) == 1 else paths[0]
    if len(paths) == 1 and place.name.endswith(".json"):
        return _open_index(place, prefer)
    return _open_files([place, *paths[1:]], prefer, origin=str(place))


def _in_folder(path: Path) -> Path:
    """The path itself, or the weights in the folder that it is."""
    if not is_folder(path):
        return path
    found = next((path / name for name in USUAL if (path / name).is_file()), None)
    if found is not None:
        return found
    others = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(file.name for file in others[:8])
        raise SourceError(f"{path} is a folder of several weight files; name one of them: {names}")
    raise SourceError(f"{path} is a folder without weights; expected one of {', '.join(USUAL)}")


def _open_index(path: Path, prefer: str | None) -> Checkpoint:
    if not is_file(path):
        raise SourceError(f"there is no weight file {path}")
    named = read_index(path)
    entries, layout, notes = _gather(list(dict.fromkeys(named.values())), prefer, named)
    missing = [name for name in named if name not in entries]
    if missing:
        name = missing[0]
        raise SourceError(
            f"{path} names tensors that are not in their shards: {name[:80]!r} is not in {named[name].name}"
            + (f", and {len(missing) - 1} more are missing" if len(missing) > 1 else "")
        )
    return Checkpoint(strip(entries, notes), layout=layout, notes=notes, origin=str(path))


def _open_files(paths: Sequence[Path], prefer: str | None, origin: str) -> Checkpoint:
    entries, layout, notes = _gather(paths, prefer, {})
    return Checkpoint(strip(entries, notes), layout=layout, notes=notes, origin=origin)


def _gather(
    paths: Sequence[Path], prefer: str | None, named: dict[str, Path]
) -> tuple[dict[str, Entry], Layout, list[str]]:
    """The entries of all files; of two with one name that in the file which the index names, or the last."""
    entries: dict[str, Entry] = {}
    kinds: list[Kind] = []
    notes: list[str] = []
    for path in paths:
        kind, found, told = _read(path, prefer, sharded=len(paths) > 1 or bool(named))
        entries.update({name: entry for name, entry in found.items() if named.get(name, path) == path})
        kinds.append(kind)
        notes += [note for note in told if note not in notes]
    return entries, _LAYOUTS.get(kinds[0], "torch"), notes


def _read(path: Path, prefer: str | None, *, sharded: bool) -> tuple[Kind, dict[str, Entry], list[str]]:
    """The entries of one file as its format's reader finds them."""
    kind = kind_of(path)
    notes: list[str] = []
    if prefer is not None and kind != "torch":
        raise SourceError(f"{path} is no torch file and has no containers to choose from (prefer={prefer!r})")
    if kind == "safetensors":
        from regraft.sources.checkpoint.safetensors_file import read_entries as read_safetensors

        entries = read_safetensors(path)
    elif kind == "torch":
        from regraft.sources.checkpoint.torch_file import read_entries as read_torch

        entries, notes = read_torch(path, prefer, strips=not sharded)
    elif kind == "numpy":
        from regraft.sources.checkpoint.numpy_file import read_entries as read_numpy

        entries, notes = read_numpy(path)
    elif kind == "onnx":
        from regraft.sources.checkpoint.onnx_file import read_entries as read_onnx

        entries, notes = read_onnx(path)
    else:
        from regraft.sources.checkpoint.keras_file import read_entries as read_keras

        entries, notes = read_keras(path)
    if not entries:
        raise SourceError(f"{path} holds no tensors")
    return kind, entries, notes
