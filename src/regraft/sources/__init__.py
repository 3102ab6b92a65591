"""Sources: pretrained models as found, and their networks as chains that can be cut."""

from regraft.sources.added import AddedLayers
from regraft.sources.catalogue import Entry, catalogue
from regraft.sources.checkpoint import Checkpoint, open_checkpoint, open_tensors
from regraft.sources.defaults import default_source, small_like
from regraft.sources.module import from_module
from regraft.sources.native import example_batch, load_native
from regraft.sources.own import USER, from_builder, is_own, own_network, own_options, reopen_own
from regraft.sources.registry import (
    build_trunk,
    find,
    find_network,
    find_weights,
    is_source_name,
    open_weights,
    read_weights,
    takes_option,
)
from regraft.sources.source import BuilderSpec, NativeHead, Source, Weights
from regraft.sources.trunk import Block, Trunk

__all__ = [
    "USER",
    "AddedLayers",
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
    "find_network",
    "find_weights",
    "from_builder",
    "from_module",
    "is_own",
    "is_source_name",
    "load_native",
    "open_checkpoint",
    "open_tensors",
    "open_weights",
    "own_network",
    "own_options",
    "read_weights",
    "reopen_own",
    "small_like",
    "takes_option",
]
