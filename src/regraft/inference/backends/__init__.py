"""Backends: what runs the frozen prefix of a network, and how one is chosen."""

from regraft.inference.backends.backend import TOLERANCES, Backend, Prefix
from regraft.inference.backends.choice import BACKENDS, wanted_backend
from regraft.inference.backends.eager import EagerBackend
from regraft.inference.backends.for_inputs import choose_backend, open_for
from regraft.inference.backends.opening import open_backend, versions_of
from regraft.inference.backends.work import Work, most_work, work_of

__all__ = [
    "BACKENDS",
    "TOLERANCES",
    "Backend",
    "EagerBackend",
    "Prefix",
    "Work",
    "choose_backend",
    "most_work",
    "open_backend",
    "open_for",
    "versions_of",
    "wanted_backend",
    "work_of",
]
