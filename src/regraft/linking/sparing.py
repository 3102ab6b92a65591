"""Building a network with memory only for what keeps the values that the network itself initialises."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from regraft.sources.skeleton import replace_registration, weightless

Built = TypeVar("Built", bound=nn.Module)


def build_sparing(build: Callable[[], Built], kept: Collection[str]) -> Built:
    """The network that ``build`` builds, where of all parameters only those named ``kept`` have memory.

    Initialising what is overwritten afterwards is most of the time that building takes. So the network is
    built twice: without memory, to see which parameter in the order of their registration gets which name,
    and then with memory for those. Where the order does not say it, because modules are copied or one
    parameter is made of another, all parameters have memory.
    """
    with _spared(()) as registered:
        first = build()
    numbers = {id(parameter): number for number, parameter in enumerate(registered)}
    state = first.state_dict(keep_vars=True)
    wanted = [state[name] for name in kept if isinstance(state.get(name), nn.Parameter)]
    if any(id(parameter) not in numbers for parameter in wanted):
        return build()
    try:
        with _spared({numbers[id(parameter)] for parameter in wanted}) as again:
            model = build()
    except (NotImplementedError, RuntimeError):  # as torch raises where values are read that are not there
        return build()
    same = [parameter.shape for parameter in registered] == [parameter.shape for parameter in again]
    lacking = [name for name, tensor in model.state_dict(keep_vars=True).items() if tensor.is_meta]
    return model if same and not set(lacking) & set(kept) else build()


@contextmanager
def _spared(numbers: Collection[int]) -> Iterator[list[nn.Parameter]]:
    """Inside the block parameters have no memory, but for those with these numbers; gives all, in order."""
    register = nn.Module.register_parameter
    registered: list[nn.Parameter] = []
    known: set[int] = set()
    real: dict[int, nn.Parameter] = {}

    def put(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        spare(module, name, parameter)
        placed = module._parameters[name]
        if placed is None or parameter is None:
            return
        if id(placed) not in known:
            known.add(id(placed))
            if len(registered) in numbers:
                real[id(placed)] = parameter
            registered.append(placed)
        if id(placed) in real:
            known.add(id(parameter))
            register(module, name, real[id(placed)])

    with weightless():
        spare: Any = nn.Module.register_parameter
        replace_registration(put)
        try:
            yield registered
        finally:
            replace_registration(spare)
