"""Opening a backend: compiled where that was chosen and holds, eager everywhere else, never silently."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from regraft.core.console import say
from regraft.core.errors import MissingPackageError
from regraft.core.hashing import hash_json
from regraft.core.inputs import Batch
from regraft.inference.backends.backend import TOLERANCES, Backend, Prefix
from regraft.inference.backends.checked import CheckedBackend
from regraft.inference.backends.eager import EagerBackend
from regraft.inference.backends.inductor import CompileBackend, cpp_compiler
from regraft.inference.backends.kept import Kept
from regraft.inference.backends.openvino import IMAGES_AT_ONCE, OpenVINOBackend
from regraft.sources import Trunk

Store = OrderedDict[Any, Any]
_STORES = 3  # prefixes whose compiled models are held in this process


def open_backend(
    name: str,
    trunk: Trunk,
    cut: int,
    batch: Batch,
    device: torch.device,
    *,
    dtype: torch.dtype = torch.float32,
    facts: Mapping[str, object] | None = None,
    several: bool = False,
    instead: Callable[[], tuple[str, ...]] = tuple,
) -> Backend:
    """The backend of that name, checked on a real batch; eager, aloud, where it cannot be had.

    Parameters
    ----------
    dtype
        What is multiplied: float32, or bfloat16 or float16 by choice. Activations are float32.
    facts
        What the prefix is: the hash of its weights, its network and blocks. With them compiled models are
        shared within this process and kept between runs; without them nothing is kept.
    several
        Whether batches of more shapes than this one will come.
    instead
        Gives other compiled backends to try before eager; called only where this one cannot be had.
    """
    case = _Case(trunk, cut, batch, device, dtype, facts, several)
    opened = None if name == "eager" else _open(name, case)
    others = iter(() if name == "eager" or opened is not None else instead())
    while opened is None and (other := next(others, None)) is not None:
        opened = _open(other, case)
    return opened or EagerBackend(trunk, cut, device, dtype)


@dataclass(frozen=True)
class _Case:
    """What is to be opened; see :func:`open_backend`."""

    trunk: Trunk
    cut: int
    batch: Batch
    device: torch.device
    dtype: torch.dtype
    facts: Mapping[str, object] | None
    several: bool

    def about(self, name: str) -> dict[str, object]:
        """Everything that compiled models of this prefix depend on beside their shapes."""
        versions = [versions_of(name), torch.__version__, torch.get_num_threads()]
        return {
            **(self.facts or {}),
            "compiled": [*versions, str(self.dtype), self.several, self.device.type],
        }


def _open(name: str, case: _Case) -> Backend | None:
    """The compiled backend; None, after a sentence, where it cannot be had or departs from eager."""
    if name == "openvino" and case.device.type != "cpu":
        say(
            f"OpenVINO runs on a CPU, and the device is {case.device.type}; "
            "running the frozen layers eagerly."
        )
        return None
    if name == "compile" and case.device.type == "cpu" and not cpp_compiler():
        say(
            "torch.compile needs a C++ compiler: install g++, or name one with the variable CXX. "
            "Running the frozen layers eagerly."
        )
        return None
    about = case.about(name)
    store: Store = OrderedDict() if case.facts is None else _store(hash_json(about))
    if "given up" in store:
        return None  # said before, in this process
    # Conversion runs foreign code over any network a person may bring: whatever it raises, eager still works.
    try:
        opened, difference = _checked(name, case, store, Kept(about) if case.facts is not None else None)
    except MissingPackageError:
        raise
    except Exception as error:  # noqa: BLE001
        say(f"The frozen layers cannot be compiled ({type(error).__name__}); running them eagerly.")
    else:
        if difference <= TOLERANCES[case.dtype]:
            return opened
        say(f"The compiled layers depart from eager by {difference:.1e} (relative); running them eagerly.")
    store["given up"] = True
    return None


def _checked(name: str, case: _Case, store: Store, kept: Kept | None) -> tuple[Backend, float]:
    eager = EagerBackend(case.trunk, case.cut, case.device)
    prefix = Prefix(case.trunk, case.cut, tuple(case.batch)).eval()
    if name == "compile":
        opened = CheckedBackend(CompileBackend(prefix, case.device, case.dtype, store), eager, case.dtype)
        return opened, opened.check(case.batch)
    backend = OpenVINOBackend(prefix, dtype=case.dtype, store=store, kept=kept, several=case.several)
    opened = CheckedBackend(backend, eager, case.dtype)
    difference = opened.check(case.batch)
    if not difference <= TOLERANCES[case.dtype] and backend.forget(case.batch):
        # What was kept may be of code that has changed since: the network's classes are not among the facts.
        difference = opened.check(case.batch)
    return opened, difference


_stores: OrderedDict[str, Store] = OrderedDict()


def _store(key: str) -> Store:
    """The compiled models of one prefix; the least recently used prefix's are let go."""
    store = _stores.setdefault(key, OrderedDict())
    _stores.move_to_end(key)
    while len(_stores) > _STORES:
        _stores.popitem(last=False)
    return store


def versions_of(backend: str) -> str:
    """The backend's name, version and what else its last bits depend on: part of every cache key."""
    if backend == "openvino":
        import openvino

        return f"openvino {openvino.__version__}, {IMAGES_AT_ONCE} images at a time"
    return f"{backend} {torch.__version__}"
