"""What `link_adversarial.py` does to sources: other names, other order, parts missing, doubled or swapped."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from link_names import (
    other_library,
    random_leaves,
    random_words,
    shuffled,
    shuffled_and_renamed,
    unique_words,
)
from link_networks import Architecture, Sizes
from link_pair_models import randomise
from torch import Tensor, nn
from torch.nn import functional

Tensors = dict[str, Tensor]
SIZES = Sizes()


@dataclass(frozen=True)
class Altered:
    """A source after an alteration.

    Attributes
    ----------
    network
        The source's network, which says what is true.
    tensors
        Its checkpoint; where None, the network's own.
    target
        Builds the target.
    """

    network: nn.Module
    target: Callable[[], nn.Module]
    tensors: Tensors | None = None


@dataclass(frozen=True)
class Alteration:
    """One way to make linking hard.

    Attributes
    ----------
    make
        Alters; None where the architecture has nothing of the kind.
    linkable
        Whether the right link exists: with the network at hand it should be proven.
    """

    name: str
    make: Callable[[Architecture, random.Random], Altered | None]
    linkable: bool = False


def _plain(architecture: Architecture, chance: random.Random, sizes: Sizes = SIZES) -> nn.Module:
    return randomise(architecture.build(sizes), chance.randrange(1 << 20))


def _target(architecture: Architecture) -> Callable[[], nn.Module]:
    return lambda: architecture.build(SIZES)


def _changed(change: Callable[[nn.Module, random.Random], bool | None]) -> Callable[..., Altered | None]:
    """An alteration of the network itself; a change that gives False finds nothing to do."""

    def make(architecture: Architecture, chance: random.Random) -> Altered | None:
        network = _plain(architecture, chance)
        done = change(network, chance)
        return None if done is False else Altered(network.eval(), _target(architecture))

    return make


def _sized(**sizes: Any) -> Callable[..., Altered | None]:
    """A source of other sizes."""

    def make(architecture: Architecture, chance: random.Random) -> Altered | None:
        return Altered(_plain(architecture, chance, SIZES.but(**sizes)), _target(architecture))

    return make


class Outer(nn.Module):
    """A network inside another one."""

    def __init__(self, inner: nn.Module, **more: nn.Module):
        super().__init__()
        self.network = nn.ModuleDict({"model": inner, **more})

    def forward(self, given: Tensor) -> Any:
        return self.network["model"](given)


def _prefixed(architecture: Architecture, chance: random.Random) -> Altered:
    return Altered(Outer(_plain(architecture, chance)).eval(), _target(architecture))


def _averaged(architecture: Architecture, chance: random.Random) -> Altered:
    """A second copy beside the one that runs, a little off: an average, or a teacher."""
    network, other = _plain(architecture, chance), _plain(architecture, chance)
    with torch.no_grad():
        for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
            theirs.mul_(0.1).add_(0.9 * mine)
    name = chance.choice(["ema", "teacher", "before"])
    return Altered(Outer(network, **{name: other}).eval(), _target(architecture))


def _doubled(module: nn.Module, chance: random.Random) -> bool:
    """Parameters that nothing reads, of the shapes of those that are read."""
    own = [(name, tensor) for name, tensor in module.named_parameters() if tensor.ndim > 0]
    for name, tensor in chance.sample(own, min(4, len(own))):
        spare = nn.Parameter(torch.randn(tensor.shape))
        owner, _, leaf = name.rpartition(".")
        module.get_submodule(owner).register_parameter(f"{leaf}_{chance.choice(['copy', 'old', '2'])}", spare)
    return bool(own)


# Swaps ------------------------------------------------------------------------------------------------------


def _signature(module: nn.Module) -> tuple[object, ...]:
    return (
        type(module).__name__,
        *((name, tuple(value.shape)) for name, value in module.state_dict().items()),
    )


def _twins(module: nn.Module) -> list[tuple[nn.Module, list[str]]]:
    """Children of one module that look alike: the module and their names."""
    found = []
    for part in module.modules():
        groups: dict[tuple[object, ...], list[str]] = {}
        for name, child in part._modules.items():
            if child is not None and child.state_dict():
                groups.setdefault(_signature(child), []).append(name)
        found += [(part, names) for names in groups.values() if len(names) > 1]
    return found


def _attends(names: Sequence[str]) -> bool:
    return {"query", "key", "value"} <= set(names)


def _exchange(part: nn.Module, names: Sequence[str], changed: Sequence[str]) -> None:
    new = dict(zip(names, changed, strict=True))
    kept = {new.get(old, old): child for old, child in part._modules.items()}
    part._modules.clear()
    part._modules.update(kept)


def _swapped(
    *, every: bool, silent: bool = False, among: str = ""
) -> Callable[[Architecture, random.Random], Altered | None]:
    """Both networks get names of their own words; then, in the source, those of twins change places.

    ``among`` "qkv": only those of the projections of an attention.
    """

    def make(architecture: Architecture, chance: random.Random) -> Altered | None:
        words = random.Random(chance.randrange(1 << 20))
        seed = words.random()
        network = _plain(architecture, chance)
        chosen = {id(part) for part, names in _twins(network) if _attends(names) or not among}
        random_words(network, random.Random(seed))
        twins = [(part, names) for part, names in _twins(network) if id(part) in chosen]
        if not twins:
            return None
        for part, names in twins if every else [chance.choice(twins)]:
            pair = names if every else chance.sample(names, 2)
            _exchange(part, pair, [*pair[1:], pair[0]])
        if silent:
            _silence(architecture, network)

        def target() -> nn.Module:
            built = architecture.build(SIZES)
            random_words(built, random.Random(seed))
            return built

        return Altered(network.eval(), target)

    return make


def _silence(architecture: Architecture, network: nn.Module) -> None:
    """A head of zeros: the outputs are the same whatever comes before."""
    with torch.no_grad():
        for tensor in getattr(network, architecture.head).parameters():
            tensor.zero_()


def _values_swapped(architecture: Architecture, chance: random.Random) -> Altered | None:
    """Right names, and the values of two tensors of equal shape changed places in the checkpoint."""
    network = _plain(architecture, chance)
    tensors = {name: value.clone() for name, value in network.state_dict().items()}
    shapes: dict[tuple[int, ...], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.ndim > 0:
            shapes.setdefault(tuple(tensor.shape), []).append(name)
    one, other = chance.sample(chance.choice([names for names in shapes.values() if len(names) > 1]), 2)
    tensors[one], tensors[other] = tensors[other], tensors[one]
    return Altered(network, _target(architecture), tensors)


# Layouts ----------------------------------------------------------------------------------------------------


class InputsFirst(nn.Module):
    """A linear layer that is stored the other way round."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous())
        self.bias = linear.bias

    def forward(self, given: Tensor) -> Tensor:
        return given @ self.weight + self.bias


class Pointwise(nn.Module):
    """A linear layer that is stored as a convolution of one pixel."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach()[:, :, None])
        self.bias = linear.bias

    def forward(self, given: Tensor) -> Tensor:
        if given.ndim == 2:
            return functional.conv1d(given[:, :, None], self.weight, self.bias).squeeze(2)
        return functional.conv1d(given.transpose(1, 2), self.weight, self.bias).transpose(1, 2)


def _replaced(kind: type[nn.Module], *, squares: bool) -> Callable[..., bool]:
    def change(module: nn.Module, chance: random.Random) -> bool:
        done = False
        for part in list(module.modules()):
            for name, child in list(part._modules.items()):
                if type(child) is nn.Linear and (not squares or child.in_features == child.out_features):
                    part._modules[name] = kind(child)
                    done = True
        return done

    return change


def _reordered(architecture: Architecture, chance: random.Random) -> Altered | None:
    """q, k and v in another order: of the rows of one layer, or of the names of three."""
    if not architecture.fused:
        return _swapped(every=False, among="qkv")(architecture, chance)
    order = chance.choice(["kqv", "vkq", "qvk", "vqk"])
    return Altered(_plain(architecture, chance, SIZES.but(order=order)), _target(architecture))


# Parts missing, broken, or of another kind ------------------------------------------------------------------


def _without_bias(module: nn.Module, chance: random.Random) -> bool:
    """One layer does without its bias."""
    layers = [part for part in module.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    biased = [part for part in layers if part.bias is not None]
    if biased:
        chance.choice(biased).bias = None
    return bool(biased)


def _truncated(architecture: Architecture, chance: random.Random) -> Altered:
    """A checkpoint that lacks a few tensors."""
    network = _plain(architecture, chance)
    tensors = dict(network.state_dict())
    floats = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    for name in chance.sample(floats, chance.randint(1, 3)):
        del tensors[name]
    return Altered(network, _target(architecture), tensors)


def _cut_off(architecture: Architecture, chance: random.Random) -> Altered:
    """A checkpoint that ends in the middle."""
    network = _plain(architecture, chance)
    state = network.state_dict()
    count = chance.randint(len(state) // 3, len(state) - 2)
    return Altered(network, _target(architecture), dict(list(state.items())[:count]))


def _headless(architecture: Architecture, chance: random.Random) -> Altered:
    """A source without its last layer."""
    network = _plain(architecture, chance)
    setattr(network, architecture.head, nn.Identity())
    return Altered(network, _target(architecture))


def _broken(module: nn.Module, chance: random.Random) -> None:
    """One value that is no number."""
    tensor = chance.choice([one for one in module.parameters() if one.ndim > 0])
    with torch.no_grad():
        tensor.view(-1)[chance.randrange(tensor.numel())] = chance.choice([float("nan"), float("inf")])


def _cast(dtype: torch.dtype) -> Callable[[nn.Module, random.Random], None]:
    return lambda module, chance: [module.to(dtype), None][1]


def _silenced(every: bool) -> Callable[..., Altered | None]:
    return _swapped(every=every, silent=True)


ALTERATIONS = (
    Alteration("unchanged", _changed(lambda module, chance: None), linkable=True),
    Alteration("renamed: words", _changed(random_words), linkable=True),
    Alteration("renamed: words and leaves", _changed(random_leaves), linkable=True),
    Alteration("renamed: each module", _changed(unique_words), linkable=True),
    Alteration("renamed: other library", _changed(other_library), linkable=True),
    Alteration("prefixed", _prefixed, linkable=True),
    Alteration("order", _changed(shuffled), linkable=True),
    Alteration("order and names", _changed(shuffled_and_renamed), linkable=True),
    Alteration("a second copy", _averaged, linkable=True),
    Alteration("doubled tensors", _changed(_doubled), linkable=True),
    Alteration("names of two swapped", _swapped(every=False), linkable=True),
    Alteration("names of all swapped", _swapped(every=True), linkable=True),
    Alteration("swapped, head of zeros", _silenced(every=True)),
    Alteration("values swapped", _values_swapped),
    Alteration("squares transposed", _changed(_replaced(InputsFirst, squares=True)), linkable=True),
    Alteration("linear layers transposed", _changed(_replaced(InputsFirst, squares=False)), linkable=True),
    Alteration("linear as 1x1", _changed(_replaced(Pointwise, squares=False)), linkable=True),
    Alteration("q, k, v in other order", _reordered, linkable=True),
    Alteration("a bias missing", _changed(_without_bias), linkable=True),
    Alteration("tensors missing", _truncated),
    Alteration("cut off", _cut_off),
    Alteration("no head", _headless),
    Alteration("other head", _sized(classes=7)),
    Alteration("wider", _sized(width=24)),
    Alteration("narrower", _sized(width=8)),
    Alteration("deeper", _sized(depth=4)),
    Alteration("shallower", _sized(depth=2)),
    Alteration("other epsilon", _sized(eps=1e-2), linkable=True),
    Alteration("other activation", _sized(activation="silu"), linkable=True),
    Alteration("half precision", _changed(_cast(torch.float16))),
    Alteration("double precision", _changed(_cast(torch.float64))),
    Alteration("not a number", _changed(_broken)),
)
