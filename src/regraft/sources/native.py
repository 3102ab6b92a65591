"""The source's own network with its own weights, and made-up inputs to run it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regraft.core.errors import SourceError
from regraft.core.inputs import Batch
from regraft.sources.example import example_of
from regraft.sources.registry import build_trunk, builder_module, read_weights
from regraft.sources.source import Source

if TYPE_CHECKING:
    from regraft.sources.trunk import Trunk


def load_native(source: Source) -> Trunk:
    """The source as its own library loads it, in ``eval`` mode: what a linked model is compared with.

    Adapters whose library has a loader of its own use that; elsewhere the network's ``load_state_dict`` is
    handed the checkpoint. Raises ``SourceError`` where the checkpoint does not name every tensor of the
    network.
    """
    own = not source.builder.added  # what a run added is known to no library
    loader = getattr(builder_module(source), "load_native", None) if own else None
    native: Trunk | None = loader(source) if loader else None
    if native is not None:
        return native.reading(source.preprocessing).eval()
    trunk = build_trunk(source)
    missing = trunk.network.load_state_dict(read_weights(source), strict=False).missing_keys
    if missing:
        listed = ", ".join(missing[:10]) + (", .." if len(missing) > 10 else "")
        raise SourceError(
            f"{source.name}: its weights lack {len(missing)} tensors of its own network: {listed}"
        )
    return trunk.eval()


def example_batch(source: Source, *, count: int = 2, seed: int = 0) -> Batch:
    """Made-up inputs of the form that the source reads: noise of unit variance, or ids with a padded tail."""
    return example_of(source.preprocessing, count=count, seed=seed)
