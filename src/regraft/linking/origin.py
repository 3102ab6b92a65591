"""Origin: where a link's weights come from: a source, a module in memory, or a checkpoint alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from regraft.core.errors import LinkError
from regraft.linking.finding.names import match_names
from regraft.linking.network import Call, Given, Network, Whole, tensors_in
from regraft.linking.outline import block_of_name
from regraft.sources import (
    Checkpoint,
    NativeHead,
    Source,
    Trunk,
    build_trunk,
    example_batch,
    load_native,
    open_checkpoint,
    open_tensors,
    open_weights,
)
from regraft.sources.skeleton import copy_module, weightless


@dataclass(frozen=True)
class Origin:
    """Where a link's weights come from. One of ``source``, ``module`` and ``file`` is given.

    Attributes
    ----------
    name
        What a person calls it.
    source
        A pretrained model as found: weights and network.
    module
        A network in memory with its weights.
    file
        A checkpoint. Without ``builder`` what it computes is not known.
    builder
        Builds the network of ``file``.
    given
        Inputs that ``module`` can read; guessed from its first layer where None.
    """

    name: str
    source: Source | None = None
    module: nn.Module | None = field(default=None, repr=False)
    file: Path | None = None
    builder: Callable[[], nn.Module] | None = field(default=None, repr=False)
    given: Given | None = field(default=None, repr=False, compare=False)

    @property
    def runs(self) -> bool:
        """Whether the network is at hand, so that it can be run beside the target."""
        trained = self.source is not None and self.source.weights is not None and self.source.buildable
        return trained or self.module is not None or self.builder is not None

    @property
    def heads(self) -> tuple[NativeHead, ...]:
        """The heads that come with it, as far as they are known."""
        return self.source.heads if self.source is not None else ()

    def weights(self) -> Checkpoint:
        """The tensors, read one at a time."""
        if self.source is not None:
            return open_weights(self.source) if self.source.weights else open_tensors({})
        if self.module is not None:
            return open_tensors(tensors_in(self.module))
        assert self.file is not None
        return open_checkpoint(self.file)

    def skeleton(self, *, head: bool) -> Network | None:
        """The network without memory for its parameters; None for a checkpoint alone.

        ``head`` asks for the source's own head as well, where it has one.
        """
        if self.source is not None and not self.source.buildable:
            return None
        if self.source is not None:
            with weightless():
                return self._of_trunk(build_trunk(self.source), head=head)
        if self.module is not None:
            with weightless():
                return self._of_module(copy_module(self.module))
        if self.builder is not None:
            with weightless():
                return self._of_file(self.builder())
        return None

    def native(self, *, head: bool) -> Network:
        """The network with its own weights, in ``eval`` mode, as its own library loads it."""
        if self.source is not None:
            network = self._of_trunk(load_native(self.source), head=head)
            self._fill_head(network)
            return network
        if self.builder is not None:
            return self._filled(self._of_file(self.builder().eval()))
        if self.module is None:
            raise LinkError(
                f"{self.name} is a checkpoint without a network: nothing can be run beside the target. "
                "Hand over the network as well: a module, or file:PATH with builder="
            )
        # In eval mode without touching the caller's module: a second object that shares its tensors.
        memo = {id(tensor): tensor for tensor in [*self.module.parameters(), *self.module.buffers()]}
        return self._of_module(copy.deepcopy(self.module, memo).eval())

    def _of_trunk(self, trunk: Trunk, *, head: bool) -> Network:
        assert self.source is not None
        keys = {f"trunk.network.{name}": key for name, key in self._keys(trunk.network).items()}
        own = self._head(trunk.width) if head else None
        if own is not None:
            native = self.source.heads[0]
            keys["head.weight"] = native.weight
            if native.bias:
                keys["head.bias"] = native.bias
        example = Call((example_batch(self.source),))
        return Network(
            Whole(trunk, own).eval(),
            keys,
            example,
            lambda name: "head" if name.startswith("head.") else trunk.block_of(_local(name)),
        )

    def _keys(self, network: nn.Module) -> dict[str, str]:
        """Names in the network to names in the checkpoint, which may have a prefix before each."""
        weights = self.weights()
        offered = {name: weights.shape(name) for name in weights.names()}
        state = tensors_in(network)
        wanted = {name: tuple(value.shape) for name, value in state.items()}
        found = {name: match.source for name, match in match_names(wanted, offered).items()}
        # A checkpoint may hold tensors that modules share only once.
        shared: dict[int, str] = {}
        for name, tensor in state.items():
            if name in found:
                shared.setdefault(id(tensor), found[name])
        for name, tensor in state.items():
            if name not in found and id(tensor) in shared:
                found[name] = shared[id(tensor)]
        return {name: found[name] for name in wanted if name in found}

    def _head(self, width: int) -> nn.Module | None:
        assert self.source is not None
        if not self.source.heads:
            return None
        native, weights = self.source.heads[0], self.weights()
        if native.weight not in weights or weights.shape(native.weight)[1:] != (width,):
            return None
        with torch.device("meta"):
            return nn.Linear(width, weights.shape(native.weight)[0], bias=bool(native.bias))

    def _fill_head(self, network: Network) -> None:
        assert isinstance(network.module, Whole)
        head = network.module.head
        if head is None:
            return
        weights = self.weights()
        head.to_empty(device="cpu")
        with torch.no_grad():
            for name, parameter in head.named_parameters():
                parameter.copy_(weights.read(network.keys[f"head.{name}"]))

    def _of_file(self, module: nn.Module) -> Network:
        """The network of the file; its names lead to the file's."""
        return replace(self._of_module(module), keys=self._keys(module))

    def _filled(self, network: Network) -> Network:
        """With the file's tensors in the network. One that the file lacks would be made up: it is refused."""
        weights, state = self.weights(), tensors_in(network.module)
        parameters = {name for name, tensor in state.items() if tensor.is_floating_point()}
        missing = sorted(parameters - set(network.keys))
        if missing:
            raise LinkError(
                f"{self.name} lacks {len(missing)} tensors of the network that its builder gives: "
                f"{', '.join(missing[:10])}{', ..' if len(missing) > 10 else ''}"
            )
        torn = [
            f"  {key} has shape {weights.shape(key)}, the network's {name} {tuple(state[name].shape)}"
            for name, key in network.keys.items()
            if weights.shape(key) != tuple(state[name].shape)
        ]
        if torn:
            raise LinkError(f"{self.name} is no checkpoint of what its builder gives:\n" + "\n".join(torn))
        with torch.no_grad():
            for name, key in network.keys.items():
                state[name].copy_(weights.read(key))
        return network

    def _of_module(self, module: nn.Module) -> Network:
        from regraft.linking.examples import example_call

        names = {name: name for name in tensors_in(module)}
        return Network(module, names, example_call(module, self.given), block_of_name)


def _local(name: str) -> str:
    return name.removeprefix("trunk.network.")
