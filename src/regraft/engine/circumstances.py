"""Circumstances: what the bits of a run depend on beside its plan and its data."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

import torch

from regraft.engine.settings import Settings

_PACKAGES = (
    *("regraft", "torch", "numpy", "scipy", "scikit-learn", "pillow", "tokenizers", "openvino"),
    *("transformers", "timm", "torchvision"),
)
# The device and the threads are looked up; on the others no bit depends.
_NOT_BITS = ("device", "threads", "checkpoint_seconds", "workers", "loggers", "cache_limit")


def circumstances(settings: Settings, device: torch.device) -> dict[str, str]:
    """Packages, processor, threads and settings, as text by name."""
    found = {name: version for name in _PACKAGES if (version := _version(name))}
    chosen = {name: str(value) for name, value in asdict(settings).items() if name not in _NOT_BITS}
    return {
        **found,
        "processor": _processor(device),
        "threads": str(torch.get_num_threads()),
        **chosen,
    }


def circumstances_changed(then: Mapping[str, str], now: Mapping[str, Any]) -> list[str]:
    """What is no longer as it was, one phrase each: ``torch 2.5.1 then, 2.6.0 now``."""
    none = "none"
    # What one of both versions of regraft does not know of is covered by naming the versions.
    names = [name for name in then if name in now or name in _PACKAGES]
    names += [name for name in now if name not in then and name in _PACKAGES]
    return [
        f"{name} {then.get(name, none)} then, {now.get(name, none)} now"
        for name in names
        if then.get(name, none) != now.get(name, none)
    ]


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
