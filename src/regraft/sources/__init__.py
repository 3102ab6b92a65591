"""Sources: pretrained models as found, and their networks as chains that can be cut."""

from regraft.sources.native import example_batch, load_native
from regraft.sources.registry import build_trunk, find, read_weights
from regraft.sources.source import BuilderSpec, NativeHead, Source, Weights
from regraft.sources.trunk import Block, Trunk

__all__ = [
    "Block",
    "BuilderSpec",
    "NativeHead",
    "Source",
    "Trunk",
    "Weights",
    "build_trunk",
    "example_batch",
    "find",
    "load_native",
    "read_weights",
]
