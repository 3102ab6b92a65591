"""A network of the user's own without weights: what a target model may be built as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from regraft.core.errors import PlanError, UsageError
from regraft.core.preprocessing import ImagePreprocessing, Preprocessing, preprocessing_from_json
from regraft.sources.module import from_handed, make_network
from regraft.sources.skeleton import weightless
from regraft.sources.source import Source

if TYPE_CHECKING:
    from torch import nn

    Builder = str | Callable[[], nn.Module]

USER = "user"
"""What a plan calls a network of the user's own; which code builds it is never written down."""

_OPTIONS = ("head", "preprocessing", "size")


def from_builder(
    builder: Builder,
    preprocessing: Preprocessing,
    *,
    name: str = USER,
    head: str | None = None,
) -> Source:
    """The network that ``builder`` builds, as a source without weights.

    ``builder`` is a function without arguments or ``module:function``; what its module takes and gives, and
    what ``head`` is, is said in :func:`regraft.sources.from_module`.
    """
    return from_handed(name, builder, preprocessing, None, head=head)


def own_network(
    builder: Builder, like: Source, *, size: int | None = None, head: str | None = None
) -> Source:
    """The network that ``builder`` builds, reading what ``like`` reads.

    Images come at ``size`` pixels where it is given, and in as many channels as the network's first
    convolution takes. A module with an attribute ``preprocessing`` says all that itself.
    """
    with weightless():
        module = make_network(builder, USER)
    stated = getattr(module, "preprocessing", None)
    if isinstance(stated, Preprocessing):
        if size is not None:
            raise UsageError(f"the network of {builder} states its own preprocessing; leave size={size} out")
        return from_builder(builder, stated, head=head)
    return from_builder(builder, _adapted(like.preprocessing, module, size), head=head)


def _adapted(steps: Preprocessing, module: nn.Module, size: int | None) -> Preprocessing:
    from torch import nn

    if not isinstance(steps, ImagePreprocessing):
        if size is not None:
            raise UsageError(
                f"size={size} is for images, and the source reads {steps.modality}s; leave it out"
            )
        return steps
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    steps = steps.resized(size) if size else steps
    return steps.with_channels(first.in_channels) if first else steps


def is_own(network: Source) -> bool:
    """Whether a network is the user's own and no name finds it again, so that a plan calls it ``user``."""
    from regraft.sources.registry import ADAPTERS

    return network.builder.name == USER and network.name.partition(":")[0] not in ADAPTERS


def own_options(network: Source) -> dict[str, Any]:
    """How a plan describes a network of the user's own, but for the code that builds it."""
    return {"head": network.builder.options["head"], "preprocessing": network.preprocessing.to_json()}


def reopen_own(builder: Builder, options: Mapping[str, Any], like: Source) -> Source:
    """The network that a plan describes with :func:`own_options`; ``like`` lends its tokenizer.

    Without a ``preprocessing`` it is :func:`own_network`.
    """
    strange = sorted(set(options) - set(_OPTIONS))
    if strange:
        raise PlanError(
            f"network_options of a network of your own has no {', '.join(strange)}; it may have "
            f"{', '.join(_OPTIONS)}"
        )
    head = options.get("head") or None
    if "preprocessing" not in options:
        return own_network(builder, like, size=options.get("size"), head=head)
    files = {"tokenizer.json": getattr(like.preprocessing, "tokenizer", b"")}
    try:
        steps = preprocessing_from_json(options["preprocessing"], files)
    except (KeyError, TypeError, ValueError) as error:
        raise PlanError(f"the preprocessing in the plan's network_options does not hold: {error}") from error
    return from_builder(builder, steps, head=head)
