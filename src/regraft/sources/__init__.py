"""Sources: pretrained models as found, and their networks as chains that can be cut."""

from regraft.sources.catalogue import Entry, catalogue
from regraft.sources.checkpoint import Checkpoint, open_checkpoint, open_tensors
from regraft.sources.defaults import default_source, small_like
from regraft.sources.module import from_module
from regraft.sources.native import example_batch, load_native
from regraft.sources.registry import build_trunk, find, open_weights, read_weights
from regraft.sources.source import BuilderSpec, NativeHead, Source, Weights
from regraft.sources.trunk import Block, Trunk

__all__ = [
    "Block",
    "BuilderSpec",
    "Checkpoint",
    "Entry",
    "NativeHead",
    "Source",
    "Trunk",
    "Weights",
    "build_trunk",
    "catalogue",
    "default_source",
    "example_batch",
    "find",
    "from_module",
    "load_native",
    "open_checkpoint",
    "open_tensors",
    "open_weights",
    "read_weights",
    "small_like",
]
