"""Pairs of libraries' networks, each proven or refused, and never silently wrong.

Every pair is ``benchmarks/link_pairs.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
VISION = (
    "torchvision resnet18 -> timm resnet18",
    "torchvision mobilenet_v3_large -> timm mobilenetv3_large_100",
    "torchvision regnet_y_400mf -> timm regnety_004",
    "torchvision efficientnet_v2_s -> timm efficientnetv2_rw_s",
    "HF ViT (classes) -> timm vit",
    "timm vit -> HF ViT (classes)",
    "HF DINOv2 -> timm dinov2, same grid",
    "HF DINOv2, grid 4x4 -> timm dinov2, 6x6",
    "HF Swin -> timm swin",
    "HF ConvNeXt -> timm convnext",
    "packaged:efficientnet-lite0 -> timm efficientnet_lite0",
    "its .pth file alone -> tf_efficientnet_lite0",
)
TEXTS = (
    "HF BERT -> own TransformerEncoder",
    "own TransformerEncoder -> HF BERT",
    "HF BERT -> own, with relu",
    "HF DistilBERT -> own TransformerEncoder",
    "HF RoBERTa -> own TransformerEncoder",
    "HF RoBERTa -> own, that knows no padding",
    "HF RoBERTa -> HF BERT (positions begin at 2)",
    "HF GPT-2 -> own GPT (linear, q k v apart)",
    "own GPT -> HF GPT-2",
    "own CNN with batch norm -> folded",
    "own CNN folded -> with batch norm",
)


@pytest.fixture(scope="module")
def pairs() -> Iterator[ModuleType]:
    """The benchmark as a module; its files import each other by their bare names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import link_pairs

        yield link_pairs
        for name in [name for name in sys.modules if name.startswith("link_") or name == "common"]:
            del sys.modules[name]


@pytest.mark.parametrize("name", TEXTS)
def test_texts_and_folded_norms(pairs: ModuleType, name: str) -> None:
    _check(pairs, name)


@pytest.mark.vision
@pytest.mark.parametrize("name", VISION)
def test_libraries(pairs: ModuleType, name: str) -> None:
    _check(pairs, name)


def _check(pairs: ModuleType, name: str) -> None:
    (case,) = [case for case in pairs.every_case() if case.name == name]
    outcome = pairs.measure(case)
    assert outcome.met, outcome
    assert not outcome.wrong
    if outcome.verdict.startswith("proven"):
        assert outcome.said <= pairs.TOLERANCE
    if outcome.resampling is not None:
        assert outcome.resampling <= 1e-6
    if case.names:
        assert all(word in outcome.why for word in case.names)


def test_what_regraft_calls_proven_is_compared_anew(
    pairs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verify that always agrees has to be caught."""
    from regraft.linking import Link

    verify = Link.verify
    monkeypatch.setattr(Link, "verify", lambda *given: replace(verify(*given), proven=True))
    (case,) = [case for case in pairs.every_case() if case.name == "HF BERT -> own, with relu"]
    outcome = pairs.measure(case)
    assert outcome.wrong
    assert not outcome.met
